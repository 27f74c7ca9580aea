"""Which layers stay on a device and which are fetched each time, so that a model larger than the budget runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latentloom.engine.errors import BudgetError

if TYPE_CHECKING:
    from latentloom.engine.models.weights import Key, Layer, Slot


@dataclass(frozen=True, slots=True)
class Placement:
    """Layers that stay, layers that are fetched through two buffers in turn, and what that takes."""

    resident: tuple[Layer, ...]
    streamed: tuple[Layer, ...] = ()
    resident_bytes: int = 0
    streamed_bytes: int = 0
    in_place_bytes: int = 0
    """Of weights that serve where they are in the host's memory: pages of their file."""
    buffer_bytes: int = 0
    """Of one of the two buffers."""

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self.resident_bytes + 2 * self.buffer_bytes


def place(layers: Sequence[Layer], room: int, bytes_of: Callable[[Slot], int], spare: int = 0) -> Placement:
    """The placement of layers in `room` bytes; `bytes_of` a slot is 0 where its host tensor serves as it is.

    All of them stay if they fit. Otherwise the layers that run first stay, as many as there is room for beside the
    buffers, and the others are fetched. `spare` bytes of the room stay free as far as the smallest placement lets them.
    Raises BudgetError where not even that fits.
    """
    sizes = _sizes(layers, bytes_of)
    total = sum(sizes.values())
    in_place = sum(slot.host.nbytes for layer in layers for slot in layer.slots if not bytes_of(slot))
    fetched = [layer for layer in layers if layer.streams and sizes[layer]]
    buffer = max((sizes[layer] for layer in fetched), default=0)
    smallest = 2 * buffer + total - sum(sizes[layer] for layer in fetched)
    if total <= room - spare or total <= min(room, smallest):
        return Placement(tuple(layers), resident_bytes=total, in_place_bytes=in_place)
    if room < smallest:
        raise BudgetError(
            "the model does not fit into the memory that it may take",
            expected=f"at least {smallest} bytes",
            got=f"{max(room, 0)} bytes",
            hint="raise --vram-budget, or --ram-budget on a processor",
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
    return Placement(
        resident,
        tuple(streamed),
        sum(sizes[layer] for layer in resident),
        sum(sizes[layer] for layer in streamed),
        in_place,
        max(sizes[layer] for layer in streamed),
    )


def _sizes(layers: Sequence[Layer], bytes_of: Callable[[Slot], int]) -> dict[Layer, int]:
    """Bytes of each layer; what stays anyway counts once where several layers share it."""
    seen: set[Key] = set()
    sizes = {}
    for layer in layers:
        sizes[layer] = sum(bytes_of(slot) for slot in layer.slots if layer.streams or slot.key not in seen)
        seen.update(slot.key for slot in layer.slots)
    return sizes
