"""Layers that are fetched when they are called: two buffers in turn, the next layer's copy beside this one's work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from latentloom.engine.models.device import Device, channels_last
from latentloom.engine.models.weights import Layer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class _Buffer:
    memory: Tensor
    staging: Tensor | None
    layer: Layer | None = None
    copied: Any = None
    computed: Any = None


class LayerStream:
    """Two buffers on a device and the layers that share them.

    A buffer is written to again only after the computation that read it (see `Device.copies_wait`). Which layer comes
    next is learnt from the first pass; a wrong guess costs a copy, never a wrong weight.
    """

    def __init__(self, device: Device, dtype: Any, layers: Sequence[Layer], nbytes: int) -> None:
        """`nbytes`: of one buffer. Raises what `is_out_of_memory` knows."""
        import torch

        self._device, self._dtype = device, dtype
        self._channels_last = channels_last(device, dtype)
        self._buffers = [_Buffer(device.empty((nbytes,), torch.uint8), device.staging(nbytes)) for _ in range(2)]
        device.copies_wait(device.computed())  # an allocator hands out memory that earlier computation still reads
        self._next: dict[Layer, Layer] = {}
        self._before: Layer | None = None
        self._holes = {layer: self._hole(layer) for layer in layers}
        self._hooks: list[Any] = []
        for layer in layers:
            self._hooks.append(layer.module.register_forward_pre_hook(partial(self._enter, layer)))
            self._hooks.append(layer.module.register_forward_hook(partial(self._leave, layer), always_call=True))
            layer.put(self._holes[layer])

    def close(self) -> None:
        """Leave the layers with their host tensors, and let go of the buffers once nothing is copied into them."""
        for hook in self._hooks:
            hook.remove()
        for layer in self._holes:
            layer.put([slot.host for slot in layer.slots])
        for buffer in self._buffers:
            if buffer.copied is not None:
                self._device.host_waits(buffer.copied)
        self._hooks, self._buffers = [], []

    def _enter(self, layer: Layer, *_: Any) -> None:
        buffer = next((item for item in self._buffers if item.layer is layer), None) or self._fetch(layer)
        self._device.computation_waits(buffer.copied)
        layer.put(self._views(buffer.memory, layer))
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
        layer.put(self._holes[layer])

    def _fetch(self, layer: Layer, beside: _Buffer | None = None) -> _Buffer:
        """Start to copy a layer into the buffer whose layer ran longest ago."""
        recent = beside or next((item for item in self._buffers if item.layer is self._before), self._buffers[1])
        buffer = next(item for item in self._buffers if item is not recent)
        if buffer.computed is not None:
            self._device.copies_wait(buffer.computed)
        if buffer.staging is not None and buffer.copied is not None:
            self._device.host_waits(buffer.copied)
        buffer.layer, buffer.computed = layer, None
        staging = [None] * len(layer.slots) if buffer.staging is None else self._parts(buffer.staging, layer)
        views = self._views(buffer.memory, layer)
        for slot, view, part in zip(layer.slots, views, staging, strict=True):
            self._device.copy(view, slot.host, part)
        buffer.copied = self._device.copied()
        return buffer

    def _parts(self, memory: Tensor, layer: Layer) -> list[Tensor]:
        """The bytes of each of a layer's weights in a buffer."""
        sizes = [slot.nbytes(self._dtype) for slot in layer.slots]
        return list(memory[: sum(sizes)].split(sizes))

    def _views(self, memory: Tensor, layer: Layer) -> list[Tensor]:
        views = []
        for slot, part in zip(layer.slots, self._parts(memory, layer), strict=True):
            dtype = slot.dtype(self._dtype)
            numbers = part[: slot.host.numel() * dtype.itemsize].view(dtype)
            stored = numbers.view(slot.stored_shape(self._channels_last))
            views.append(slot.seen(stored, self._channels_last))
        return views

    def _hole(self, layer: Layer) -> list[Tensor]:
        """NaN in the shape of a layer's weights, for while they are not there: who reads them uncalled shall notice."""
        import torch

        nan = torch.full((1,), torch.nan, dtype=self._dtype, device=self._device.name)
        return [nan.to(slot.dtype(self._dtype)).expand(slot.host.shape) for slot in layer.slots]
