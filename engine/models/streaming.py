"""Layers whose weights are present only while they are called: streamed through two buffers, or decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from latentloom.engine.models.device import Device, channels_last
from latentloom.engine.models.weights import Layer, Slot

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.models.weights import Stored


class DecodeMemory:
    """Device memory for the decoded weights of one layer at a time.

    Decoding and computation run on the same stream, so the next decoding starts after the computation that reads this
    memory.
    """

    def __init__(self, device: Device, dtype: Any, nbytes: int) -> None:
        """Raises an error that `is_out_of_memory` recognises."""
        import torch

        self._dtype, self._channels_last = dtype, channels_last(device, dtype)
        self._memory = device.empty((nbytes,), torch.uint8) if nbytes else torch.empty(0, dtype=torch.uint8)

    def tensors(self, layer: Layer, stored: Sequence[Stored]) -> list[Tensor]:
        """Return a layer's weights for computation, given its stored weights. Packed ones are decoded."""
        made, start = list[Any](), 0
        for slot, kept in zip(layer.slots, stored, strict=True):
            if slot.packed is None:
                made.append(kept)
                continue
            end = start + slot.nbytes(self._dtype)
            made.append(slot.view(self._memory[start:end], self._dtype, self._channels_last))
            slot.packed.decode(made[-1], kept)
            start = end
        return made


class CalledLayers(ABC):
    """Layers that get their weights when they are called and release them afterwards."""

    def __init__(self, device: Device, dtype: Any, layers: Sequence[Layer]) -> None:
        self._device, self._dtype = device, dtype
        self._holes = {layer: self._hole(layer) for layer in layers}
        self._hooks: list[Any] = []
        for layer in layers:
            self._hooks.append(layer.module.register_forward_pre_hook(partial(self._enter, layer)))
            self._hooks.append(layer.module.register_forward_hook(partial(self._leave, layer), always_call=True))
            layer.put(self._holes[layer])

    def close(self) -> None:
        """Remove the hooks and restore the host tensors of the layers."""
        for hook in self._hooks:
            hook.remove()
        for layer in self._holes:
            layer.put([slot.host for slot in layer.slots])
        self._hooks = []

    @abstractmethod
    def _enter(self, layer: Layer, *_: Any) -> None:
        """Provide the weights of a layer that is being called."""

    def _leave(self, layer: Layer, *_: Any) -> None:
        layer.put(self._holes[layer])

    def _hole(self, layer: Layer) -> list[Tensor]:
        """Return NaN tensors in the shapes of a layer's weights. They make a read outside a call noticeable."""
        import torch

        nan = torch.full((1,), torch.nan, dtype=self._dtype, device=self._device.name)
        return [nan.to(slot.dtype(self._dtype)).expand(slot.host.shape) for slot in layer.slots]


def needs_calls(module: Any) -> bool:
    """Whether some weights of a module are there only while their layer is called, and not in a backward pass."""
    hooks = (hook for part in module.modules() for hook in part._forward_pre_hooks.values())
    return any(isinstance(getattr(getattr(hook, "func", None), "__self__", None), CalledLayers) for hook in hooks)


class DecodedLayers(CalledLayers):
    """Packed layers that stay on a device and are decoded when they are called."""

    def __init__(
        self, device: Device, dtype: Any, layers: Mapping[Layer, Sequence[Stored]], memory: DecodeMemory
    ) -> None:
        """`layers`: the stored weights of each layer."""
        self._stored, self._memory = layers, memory
        super().__init__(device, dtype, list(layers))

    def _enter(self, layer: Layer, *_: Any) -> None:
        layer.put(self._memory.tensors(layer, self._stored[layer]))


@dataclass(slots=True)
class _Buffer:
    memory: Tensor
    staging: Tensor | None
    layer: Layer | None = None
    copied: Any = None
    computed: Any = None


class LayerStream(CalledLayers):
    """Layers that share two device buffers: the copy of the next layer overlaps the computation of this one.

    A buffer is overwritten only after the computation that reads it (see `Device.copies_wait`). The order of layers is
    learnt in the first pass; a wrong prediction costs one copy and never gives a wrong weight. Packed layers are copied
    in packed form and decoded from their buffer.
    """

    def __init__(
        self,
        device: Device,
        dtype: Any,
        layers: Sequence[Layer],
        nbytes: int,
        kept: Callable[[Slot], int],
        memory: DecodeMemory,
    ) -> None:
        """`nbytes`: size of one buffer; `kept`: bytes of a weight in it, 0 if the host tensor is used directly.

        Raises an error that `is_out_of_memory` recognises.
        """
        import torch

        self._kept, self._memory = kept, memory
        self._channels_last = channels_last(device, dtype)
        self._buffers = [_Buffer(device.empty((nbytes,), torch.uint8), device.staging(nbytes)) for _ in range(2)]
        device.copies_wait(device.computed())  # the allocator may reuse memory that computation still reads
        self._next: dict[Layer, Layer] = {}
        self._before: Layer | None = None
        super().__init__(device, dtype, layers)

    def close(self) -> None:
        """Restore the host tensors of the layers, wait for copies, and release the buffers."""
        super().close()
        for buffer in self._buffers:
            if buffer.copied is not None:
                self._device.host_waits(buffer.copied)
        self._buffers = []

    def _enter(self, layer: Layer, *_: Any) -> None:
        buffer = next((item for item in self._buffers if item.layer is layer), None) or self._fetch(layer)
        self._device.computation_waits(buffer.copied)
        layer.put(self._memory.tensors(layer, self._stored(buffer.memory, layer)))
        if self._before is not None:
            self._next[self._before] = layer
        self._before = layer
        following = self._next.get(layer)
        if following is not None and all(item.layer is not following for item in self._buffers):
            self._fetch(following, beside=buffer)

    def _leave(self, layer: Layer, *_: Any) -> None:
        for buffer in self._buffers:
            if buffer.layer is layer:
                buffer.computed = self._device.computed()
        super()._leave(layer)

    def _fetch(self, layer: Layer, beside: _Buffer | None = None) -> _Buffer:
        """Start to copy a layer into the buffer that was not used last."""
        recent = beside or next((item for item in self._buffers if item.layer is self._before), self._buffers[1])
        buffer = next(item for item in self._buffers if item is not recent)
        if buffer.computed is not None:
            self._device.copies_wait(buffer.computed)
        if buffer.staging is not None and buffer.copied is not None:
            self._device.host_waits(buffer.copied)
        buffer.layer, buffer.computed = layer, None
        start = 0
        for slot in layer.slots:
            if self._kept(slot):
                self._copy(slot, buffer, start)
            start += self._kept(slot)
        buffer.copied = self._device.copied()
        return buffer

    def _copy(self, slot: Slot, buffer: _Buffer, start: int) -> None:
        sources = (slot.host,) if slot.packed is None else slot.packed.parts
        ends = _ends(start, (self._kept(slot),) if slot.packed is None else slot.packed.sizes)
        for source, target, end in zip(sources, self._views(slot, buffer.memory, start), ends, strict=True):
            staging = None if buffer.staging is None else buffer.staging[start:end]
            self._device.copy(target, source, staging)
            start = end

    def _stored(self, memory: Tensor, layer: Layer) -> list[Stored]:
        """Return a layer's stored weights: in a buffer, or the host tensors that are used directly."""
        found, start = list[Any](), 0
        for slot in layer.slots:
            views = self._views(slot, memory, start)
            found.append(views[0] if slot.packed is None else views)
            start += self._kept(slot)
        return found

    def _views(self, slot: Slot, memory: Tensor, start: int) -> tuple[Tensor, ...]:
        """Return views of a weight, or of the parts of a packed one, in a buffer from byte `start`."""
        if not self._kept(slot):
            return (slot.host,) if slot.packed is None else slot.packed.parts
        if slot.packed is None:
            return (slot.view(memory[start:], self._dtype, self._channels_last),)
        starts = [start, *_ends(start, slot.packed.sizes)]
        return tuple(_as(part, memory[first:]) for part, first in zip(slot.packed.parts, starts, strict=False))


def _ends(start: int, sizes: Sequence[int]) -> list[int]:
    return [start + sum(sizes[: n + 1]) for n in range(len(sizes))]


def _as(part: Tensor, memory: Tensor) -> Tensor:
    """View bytes with the dtype and shape of a part."""
    return memory[: part.nbytes].view(part.dtype).view(part.shape)
