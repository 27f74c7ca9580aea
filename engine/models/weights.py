"""The weights of a loaded model by layer, so that each layer can be moved to a device and back."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from latentloom.engine.files.opened import Opened
from latentloom.engine.models.load_warnings import LoadWarning
from latentloom.engine.models.packed import Packed, aligned

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module

    Stored = Tensor | tuple[Tensor, ...]
    """A stored weight: a plain tensor, or the parts of a packed one."""

SMALL_BYTES = 64 * 1024  # smaller layers are not streamed
Key = tuple[int, Any]  # of a slot: id of its host tensor, and its fixed dtype or "packed"


def in_float32(model: Module) -> Module:
    """Make a model compute in float32, independent of the device's dtype, and return it."""
    import torch

    for part in model.modules():
        part.computes_in = torch.float32
    return model


def not_in_float16(model: Module) -> Module:
    """Mark a model that overflows in float16 and return it: where models compute in float16, it uses float32."""
    model.overflows_in_float16 = True
    return model


def widened(content: Any, dtype: str) -> Any:
    """Return a loaded model whose marked modules compute in float32 if `dtype`, that of the run, is "fp16"."""
    if dtype == "fp16":
        for part in modules_of(content):
            for module in list(part.modules()):
                if getattr(module, "overflows_in_float16", False):
                    in_float32(module)
    return content


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One weight: its place in a module, and its host tensor in the dtype of the file."""

    module: Module
    name: str
    buffer: bool
    host: Tensor
    fixed: torch.dtype | None = None
    """The fixed dtype of the weight in computation: `computes_in` of its module, which kinds and patches set."""
    packed: Packed | None = None
    """The packed form, if the weight is stored packed and decoded at each call."""

    @property
    def key(self) -> Key:
        """The key of a copy: two models may share a host tensor and compute with it in different dtypes."""
        return id(self.host), self.fixed if self.packed is None else "packed"

    def put(self, tensor: Tensor) -> None:
        """Set the tensor that the module computes with."""
        if self.buffer:
            self.module._buffers[self.name] = tensor
            return
        from torch.nn import Parameter

        self.module._parameters[self.name] = Parameter(tensor, requires_grad=False)

    def dtype(self, compute: torch.dtype) -> torch.dtype:
        """Return the dtype of the weight in computation. Integers are not converted."""
        return (self.fixed or compute) if self.host.is_floating_point() else self.host.dtype

    def stored_shape(self, channels_last: bool) -> tuple[int, ...]:
        """Return the shape of a copy in memory: [out, height, width, in] for convolutions with channels last."""
        shape = tuple(self.host.shape)
        return (shape[0], *shape[2:], shape[1]) if channels_last and len(shape) == 4 else shape

    def seen(self, stored: Tensor, channels_last: bool) -> Tensor:
        """View a copy in the weight's own shape."""
        return stored.permute(0, 3, 1, 2) if channels_last and stored.ndim == 4 else stored

    def view(self, memory: Tensor, compute: torch.dtype, channels_last: bool) -> Tensor:
        """View bytes as the weight in the computing dtype."""
        dtype = self.dtype(compute)
        numbers = memory[: self.host.numel() * dtype.itemsize].view(dtype)
        return self.seen(numbers.view(self.stored_shape(channels_last)), channels_last)

    def nbytes(self, compute: torch.dtype) -> int:
        """Return the aligned bytes of a copy in the computing dtype."""
        return aligned(self.host.numel() * self.dtype(compute).itemsize)

    @property
    def host_bytes(self) -> int:
        """Bytes of the weight in host memory or in mapped file pages."""
        return self.host.nbytes if self.packed is None else self.packed.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """The weights of a module, without those of its submodules."""

    slots: tuple[Slot, ...]
    streams: bool
    """Whether the layer can be streamed: the module uses its weights only while it is called."""

    @property
    def module(self) -> Module:
        """The module that the weights belong to."""
        return self.slots[0].module

    @property
    def packed(self) -> bool:
        """Whether any of its weights is decoded at each call."""
        return any(slot.packed is not None for slot in self.slots)

    def put(self, tensors: Sequence[Tensor]) -> None:
        """Set the tensors that the module computes with, one for each slot."""
        for slot, tensor in zip(self.slots, tensors, strict=True):
            slot.put(tensor)


@dataclass(eq=False)
class HostModel:
    """A model with its weights in host memory: mapped from a file, or made by patches."""

    content: Any
    """What nodes get: a module, or an object whose attributes are modules."""
    name: str = "model"
    files: tuple[Opened, ...] = ()
    """The files that the weights are mapped from or were made from."""
    warnings: tuple[LoadWarning, ...] = ()
    """Warnings that every run that uses the model reports."""
    layers: tuple[Layer, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.layers = tuple(_layers(self.content))

    def slots(self) -> Iterator[Slot]:
        """Iterate over all weights."""
        return (slot for layer in self.layers for slot in layer.slots)

    def clone(self) -> HostModel:
        """Return a copy of the model: new modules, the same weight tensors."""
        shared: dict[int, Any] = {id(slot.host): slot.host for slot in self.slots()}
        return HostModel(copy.deepcopy(self.content, shared), self.name, self.files, self.warnings)

    def own_bytes(self, base: HostModel) -> int:
        """Return the bytes of the weights that `base` does not have."""
        known = {id(slot.host) for slot in base.slots()}
        return sum(slot.host.nbytes for slot in self.slots() if id(slot.host) not in known)


def modules_of(content: Any) -> list[Module]:
    """Return the modules of a loaded model: itself, or its attributes that are modules."""
    from torch.nn import Module

    parts = [content] if isinstance(content, Module) else list(vars(content).values())
    return [part for part in parts if isinstance(part, Module)]


def _layers(content: Any) -> Iterator[Layer]:
    from torch import nn

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Embedding)
    modules = dict.fromkeys(module for part in modules_of(content) for module in part.modules())
    found = {module: slots for module in modules if (slots := tuple(_slots(module)))}
    uses = Counter(id(slot.host) for slots in found.values() for slot in slots)
    for module, slots in found.items():
        # no subclasses: their weights may be read from outside, as in nn.MultiheadAttention
        alone = type(module) in kinds and all(uses[id(slot.host)] == 1 for slot in slots)
        streams = alone and sum(slot.host.nbytes for slot in slots) >= SMALL_BYTES
        yield Layer(tuple(_kept_packed(slot) for slot in slots) if streams else slots, streams)


def _kept_packed(slot: Slot) -> Slot:
    """Return a slot whose weight is stored packed, for a layer that uses its weights only while it is called."""
    return replace(slot, packed=getattr(slot.host, "packed", None))


def _slots(module: Module) -> Iterator[Slot]:
    for buffer, found in ((False, module._parameters), (True, module._buffers)):
        for name, tensor in found.items():
            if tensor is not None:
                yield Slot(module, name, buffer, tensor, getattr(module, "computes_in", None))
