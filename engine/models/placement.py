"""Placement: which layers stay on a device and which are streamed, so that models larger than the budget run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from latentloom.engine.errors import BudgetError

if TYPE_CHECKING:
    from latentloom.engine.models.weights import Key, Layer, Slot


@dataclass(frozen=True, slots=True)
class Placement:
    """The resident layers, the layers that are streamed through two alternating buffers, and the bytes of both."""

    resident: tuple[Layer, ...]
    streamed: tuple[Layer, ...] = ()
    resident_bytes: int = 0
    streamed_bytes: int = 0
    in_place_bytes: int = 0
    """Bytes of weights that are used where they are in host memory, as mapped pages of their file."""
    buffer_bytes: int = 0
    """Bytes of one of the two buffers."""
    packed_bytes: int = 0
    """Bytes of all packed weights, on the device or not."""
    unpacked_bytes: int = 0
    """Bytes of these weights if all were decoded."""
    decode_bytes: int = 0
    """Bytes of the memory that one layer at a time is decoded into."""

    @property
    def buffers(self) -> int:
        """Bytes of all buffers: for streaming and for decoding."""
        return 2 * self.buffer_bytes + self.decode_bytes

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self.resident_bytes + self.buffers


class Sizes(Protocol):
    """The sizes of weights on a device."""

    def kept(self, slot: Slot, /) -> int:
        """Return the bytes of a weight as it is stored on the device: 0 if its host tensor is used directly."""

    def decoded(self, slot: Slot, /) -> int:
        """Return the bytes of a packed weight while its layer is called; 0 for a plain weight."""


def place(layers: Sequence[Layer], room: int, bytes_of: Sizes, spare: int = 0) -> Placement:
    """Place layers in `room` bytes.

    All layers are resident if they fit. Otherwise the first layers are resident, as many as fit besides the buffers,
    and the others are streamed. `spare` bytes of the room are left free if the smallest placement allows it. Packed
    weights are resident or streamed in packed form; one layer at a time is decoded. Raises BudgetError if even the
    smallest placement does not fit.
    """
    sizes = _sizes(layers, bytes_of.kept)
    packed = [slot for layer in layers for slot in layer.slots if slot.packed is not None]
    decode = max((sum(map(bytes_of.decoded, layer.slots)) for layer in layers), default=0)
    always = Placement(
        (),
        in_place_bytes=sum(slot.host_bytes for layer in layers for slot in layer.slots if not bytes_of.kept(slot)),
        packed_bytes=sum(slot.host_bytes for slot in packed),
        unpacked_bytes=sum(map(bytes_of.decoded, packed)),
        decode_bytes=decode,
    )
    total = decode + sum(sizes.values())
    fetched = [layer for layer in layers if layer.streams and sizes[layer]]
    buffer = max((sizes[layer] for layer in fetched), default=0)
    smallest = 2 * buffer + total - sum(sizes[layer] for layer in fetched)
    if total <= room - spare or total <= min(room, smallest):
        return replace(always, resident=tuple(layers), resident_bytes=total - decode)
    if room < smallest:
        raise BudgetError(
            "the model does not fit into its memory budget",
            expected=f"at least {smallest} bytes",
            got=f"{max(room, 0)} bytes",
            hint="raise --vram-budget, or --ram-budget on a CPU",
        )
    left = max(room - smallest - spare, 0)
    stay = set(layers) - set(fetched)
    streamed: list[Layer] = []
    for layer in fetched:
        if not streamed and sizes[layer] <= left:
            left -= sizes[layer]
            stay.add(layer)
        else:
            streamed.append(layer)
    resident = tuple(layer for layer in layers if layer in stay)
    return replace(
        always,
        resident=resident,
        streamed=tuple(streamed),
        resident_bytes=sum(sizes[layer] for layer in resident),
        streamed_bytes=sum(sizes[layer] for layer in streamed),
        buffer_bytes=max(sizes[layer] for layer in streamed),
    )


def _sizes(layers: Sequence[Layer], bytes_of: Callable[[Slot], int]) -> dict[Layer, int]:
    """Return the bytes of each layer. A weight that non-streamed layers share counts once."""
    seen: set[Key] = set()
    sizes = {}
    for layer in layers:
        sizes[layer] = sum(bytes_of(slot) for slot in layer.slots if layer.streams or slot.key not in seen)
        seen.update(slot.key for slot in layer.slots)
    return sizes
