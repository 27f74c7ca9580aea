"""The weights of a loaded model, layer by layer, so that each can be put elsewhere and back."""

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
    """A weight where it is kept: plain, or the parts of a packed one."""

SMALL_BYTES = 64 * 1024  # layers below this are not worth fetching again and again
Key = tuple[int, Any]  # of a slot: its host tensor, and the type of its own that it computes in, or "packed"


def in_float32(model: Module) -> Module:
    """A model that computes in float32 whatever the device computes in, for kinds that lose by less; the same one."""
    import torch

    for part in model.modules():
        part.computes_in = torch.float32
    return model


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One weight: where it belongs, and the host tensor that it comes from, in the type of its file."""

    module: Module
    name: str
    buffer: bool
    host: Tensor
    fixed: torch.dtype | None = None
    """The type that the weight computes in, whatever the others do: its module's `computes_in`, which patches set."""
    packed: Packed | None = None
    """The bytes that it is kept as on the device, where it is decoded at each call."""

    @property
    def key(self) -> Key:
        """What tells copies apart: two models may share a host tensor and compute with it in different types."""
        return id(self.host), self.fixed if self.packed is None else "packed"

    def put(self, tensor: Tensor) -> None:
        """Let the module compute with a tensor in this place."""
        if self.buffer:
            self.module._buffers[self.name] = tensor
            return
        from torch.nn import Parameter

        self.module._parameters[self.name] = Parameter(tensor, requires_grad=False)

    def dtype(self, compute: torch.dtype) -> torch.dtype:
        """The type that the weight has where it computes: whole numbers stay whole."""
        return (self.fixed or compute) if self.host.is_floating_point() else self.host.dtype

    def stored_shape(self, channels_last: bool) -> tuple[int, ...]:
        """How a copy lies in memory: a convolution's weight [out, height, width, in] with channels last."""
        shape = tuple(self.host.shape)
        return (shape[0], *shape[2:], shape[1]) if channels_last and len(shape) == 4 else shape

    def seen(self, stored: Tensor, channels_last: bool) -> Tensor:
        """A copy in the weight's own shape; no data moves."""
        return stored.permute(0, 3, 1, 2) if channels_last and stored.ndim == 4 else stored

    def view(self, memory: Tensor, compute: torch.dtype, channels_last: bool) -> Tensor:
        """Some bytes as the weight in the computing type."""
        dtype = self.dtype(compute)
        numbers = memory[: self.host.numel() * dtype.itemsize].view(dtype)
        return self.seen(numbers.view(self.stored_shape(channels_last)), channels_last)

    def nbytes(self, compute: torch.dtype) -> int:
        """Bytes of a copy in the computing type, aligned."""
        return aligned(self.host.numel() * self.dtype(compute).itemsize)

    @property
    def host_bytes(self) -> int:
        """Bytes of the host's memory, or of pages of a file, that the weight takes."""
        return self.host.nbytes if self.packed is None else self.packed.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A module's own weights, without those of modules inside it."""

    slots: tuple[Slot, ...]
    streams: bool
    """Whether the module uses its weights only while it is called, so that they can be fetched for that time."""

    @property
    def module(self) -> Module:
        """The module that the weights belong to."""
        return self.slots[0].module

    @property
    def packed(self) -> bool:
        """Whether weights of it are decoded at each call."""
        return any(slot.packed is not None for slot in self.slots)

    def put(self, tensors: Sequence[Tensor]) -> None:
        """Let the module compute with these, one for each slot."""
        for slot, tensor in zip(self.slots, tensors, strict=True):
            slot.put(tensor)


@dataclass(eq=False)
class HostModel:
    """A model whose weights are in the host's memory: mapped from their file, or made by patches."""

    content: Any
    """What nodes get: a module, or an object whose attributes are modules."""
    name: str = "model"
    files: tuple[Opened, ...] = ()
    """The files that weights may be mapped from, or were made from."""
    warnings: tuple[LoadWarning, ...] = ()
    """What is to be told of it, whenever it is used."""
    layers: tuple[Layer, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.layers = tuple(_layers(self.content))

    def slots(self) -> Iterator[Slot]:
        """Every weight."""
        return (slot for layer in self.layers for slot in layer.slots)

    def clone(self) -> HostModel:
        """A model of modules of its own over the same weights."""
        shared: dict[int, Any] = {id(slot.host): slot.host for slot in self.slots()}
        return HostModel(copy.deepcopy(self.content, shared), self.name, self.files, self.warnings)

    def own_bytes(self, base: HostModel) -> int:
        """Bytes of weights that `base` does not have."""
        known = {id(slot.host) for slot in base.slots()}
        return sum(slot.host.nbytes for slot in self.slots() if id(slot.host) not in known)


def modules_of(content: Any) -> list[Module]:
    """The modules of a loaded model: itself, or its attributes that are modules."""
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
        # exactly these kinds: a subclass may be read from outside, as in nn.MultiheadAttention
        alone = type(module) in kinds and all(uses[id(slot.host)] == 1 for slot in slots)
        streams = alone and sum(slot.host.nbytes for slot in slots) >= SMALL_BYTES
        yield Layer(tuple(_kept_packed(slot) for slot in slots) if streams else slots, streams)


def _kept_packed(slot: Slot) -> Slot:
    """A slot of a module that is whole while it is called only, so that a packed weight may stay packed meanwhile."""
    return replace(slot, packed=getattr(slot.host, "packed", None))


def _slots(module: Module) -> Iterator[Slot]:
    for buffer, found in ((False, module._parameters), (True, module._buffers)):
        for name, tensor in found.items():
            if tensor is not None:
                yield Slot(module, name, buffer, tensor, getattr(module, "computes_in", None))
