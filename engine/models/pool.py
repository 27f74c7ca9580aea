"""The device pool: accounts for the bytes on a device, places the models in use and evicts the others."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BudgetError, OutOfMemoryError
from latentloom.engine.models.device import Device, channels_last, is_out_of_memory
from latentloom.engine.models.placement import Placement, place
from latentloom.engine.models.streaming import CalledLayers, DecodedLayers, DecodeMemory, LayerStream
from latentloom.engine.models.weights import HostModel, Key, Layer, Slot

if TYPE_CHECKING:
    from latentloom.engine.models.weights import Stored

BEYOND = 2**62  # more bytes than any device has


@dataclass(slots=True)
class _Copy:
    """A weight on the device, plain or packed. Models with the same host tensor share it."""

    stored: Stored
    nbytes: int
    users: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Known:
    """A model that has copies on the device or is in use."""

    model: HostModel
    pins: int = 0


@dataclass(frozen=True, slots=True)
class _Called:
    """Models whose layers are streamed or decoded when they are called, through shared buffers."""

    layers: tuple[CalledLayers, ...]
    nbytes: int
    models: tuple[HostModel, ...]

    def close(self) -> None:
        """Restore the host tensors of the layers."""
        for part in self.layers:
            part.close()


class DevicePool:
    """The models on one device. Models in use stay; others are evicted if memory is needed.

    Not thread-safe: `ModelStore`, which owns the pool, lets one thread at a time use it.
    """

    def __init__(self, device: Device, dtype: Any, budget: int) -> None:
        """`dtype`: the dtype of floating-point weights; `budget`: bytes for weights and working memory."""
        self._device, self._dtype = device, dtype
        self._channels_last = channels_last(device, dtype)
        self.host = device.host
        self.budget = budget
        self.elsewhere = 0
        """Bytes of the budget that are used outside the pool: on a CPU, weights made by patches."""
        self._copies: dict[Key, _Copy] = {}
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._called: list[_Called] = []
        self.evictions = 0  # number of evicted models

    @property
    def held_bytes(self) -> int:
        """Bytes of weights and buffers on the device."""
        return sum(item.nbytes for item in list(self._copies.values())) + sum(f.nbytes for f in list(self._called))

    @property
    def available(self) -> int | None:
        """Bytes that this process has on the device or could allocate, regardless of the budget. None if unknown."""
        free = self._device.free()
        return None if free is None else self.held_bytes + free

    @property
    def room(self) -> int:
        """Bytes for weights and working memory, limited by the budget and by the device."""
        allowed, available = self.budget - self.elsewhere, self.available
        return allowed if available is None else min(allowed, available)

    @contextlib.contextmanager
    def use(self, models: Sequence[HostModel], working: int = 0, spare: int = 0) -> Iterator[None]:
        """`take` before a with-block and `give_back` after it."""
        self.take(models, working, spare)
        try:
            yield
        finally:
            self.give_back(models)

    def take(self, models: Sequence[HostModel], working: int = 0, spare: int = 0) -> None:
        """Make models ready to compute, all of them or none.

        `working`: bytes that the computation needs besides the weights. `spare`: bytes that it may need; they are left
        free if the models can be placed without them. Raises BudgetError or OutOfMemoryError.
        """
        fresh = self._pin(models)
        try:
            self._ready(fresh, working, spare)
        except BaseException:
            self.give_back(models)
            raise

    def give_back(self, models: Sequence[HostModel]) -> None:
        """End the use of taken models, in any order. Buffers stay while one of their models is in use."""
        for model in models:
            self._known[id(model)].pins -= 1
        for item in list(self._called):
            if not any(self._known[id(model)].pins for model in item.models):
                self._called.remove(item)
                item.close()

    def plan(self, models: Sequence[HostModel], working: int = 0, spare: int = 0) -> Placement:
        """Return the placement of models if they were used now. Raises BudgetError or OutOfMemoryError."""
        layers = [layer for model in models for layer in model.layers]
        taken = self._taken(models) + working
        try:
            return place(layers, self.room - taken, self, spare)
        except BudgetError as error:
            need = place(layers, BEYOND, self, spare=BEYOND).nbytes
            if self.budget - self.elsewhere - taken < need:
                raise
            raise self._exhausted(need) from error

    def whole(self, models: Sequence[HostModel]) -> int:
        """Return the bytes of models on the device if all their layers are resident."""
        return place([layer for model in models for layer in model.layers], BEYOND, self).nbytes

    def holds(self, model: HostModel) -> bool:
        """Whether a model was used and not evicted since."""
        return id(model) in self._known

    def held(self) -> list[HostModel]:
        """Return the models that were used and not evicted since."""
        return [known.model for known in list(self._known.values())]

    def forget(self, model: HostModel) -> bool:
        """Evict a model from the device. Returns False if it is in use."""
        known = self._known.get(id(model))
        if known is not None and known.pins:
            return False
        if known is not None:
            self._evict(model)
        return True

    def clear(self) -> None:
        """Evict all models that are not in use."""
        for known in list(self._known.values()):
            self.forget(known.model)
        self._device.release()

    def measure(self) -> int | None:
        """Return the peak bytes of computation besides the weights since the last call. None if not measured."""
        peak = self._device.peak()
        self._device.reset_peak()
        return None if peak is None else max(0, peak - self.held_bytes)

    # Pins

    def _pin(self, models: Sequence[HostModel]) -> list[HostModel]:
        """Pin models. Returns those that were not pinned before, each once."""
        fresh = [m for m in dict.fromkeys(models) if id(m) not in self._known or not self._known[id(m)].pins]
        for model in models:
            self._known.setdefault(id(model), _Known(model)).pins += 1
            self._known.move_to_end(id(model))
        return fresh

    # Room

    def kept(self, slot: Slot) -> int:
        """See `Sizes.kept`."""
        if slot.packed is not None:
            return 0 if self._device.host else slot.packed.nbytes
        serves = self._device.host and slot.host.dtype == slot.dtype(self._dtype) and not hasattr(slot.host, "packed")
        return 0 if serves else slot.nbytes(self._dtype)

    def decoded(self, slot: Slot) -> int:
        """See `Sizes.decoded`."""
        return 0 if slot.packed is None else slot.nbytes(self._dtype)

    def _taken(self, models: Sequence[HostModel]) -> int:
        """Return the bytes of all other models in use, which cannot be evicted."""
        mine = {id(model) for model in models}
        pinned = {name for name, known in self._known.items() if known.pins and name not in mine}
        copies = sum(item.nbytes for item in self._copies.values() if item.users & pinned)
        return copies + sum(item.nbytes for item in self._called)

    def _ready(self, models: Sequence[HostModel], working: int, spare: int) -> None:
        """Place models. If memory runs out although the accounts say it fits, evict all others and try once more."""
        if not models:
            return
        placement = self.plan(models, working, spare)
        for patience in (True, False):
            try:
                self._make_room(models, placement, self.room - working - spare)
                self._put(models, placement)
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if not patience:
                    raise self._exhausted(placement.nbytes) from None
            for known in [known for known in self._known.values() if not known.pins]:
                self._evict(known.model)
            self._device.release()

    def _exhausted(self, need: int) -> OutOfMemoryError:
        available = self.available
        free = "" if available is None else f"{available} bytes, and "
        return OutOfMemoryError(
            f"{self._device.name} has less free memory than its budget",
            expected=f"{need} bytes for weights",
            got=f"{free}a budget of {self.budget} bytes, which other programs may share",
            hint="close other programs that use the device, or lower --vram-budget",
        )

    def _make_room(self, models: Sequence[HostModel], placement: Placement, room: int) -> None:
        """Evict the least recently used models, then the copies of these models that the placement does not need."""
        wanted = {slot.key: self.kept(slot) for layer in placement.resident for slot in layer.slots}
        missing = sum(nbytes for key, nbytes in wanted.items() if key not in self._copies)
        limit = room - missing - placement.buffers
        for known in [known for known in self._known.values() if not known.pins]:
            if self.held_bytes <= limit:
                return
            self._evict(known.model)
        if self.held_bytes > limit:
            for model in models:
                self._thin(model, wanted)

    def _thin(self, model: HostModel, wanted: dict[Key, int]) -> None:
        for slot in model.slots():
            if slot.key not in wanted:
                self._drop(model, slot)

    def _evict(self, model: HostModel) -> None:
        self.evictions += 1
        for slot in model.slots():
            self._drop(model, slot)
        self._known.pop(id(model), None)

    def _drop(self, model: HostModel, slot: Slot) -> None:
        """Drop a copy. Nothing is copied back, because weights are never modified."""
        item = self._copies.get(slot.key)
        if item is None or id(model) not in item.users:
            return
        slot.put(slot.host)
        item.users.discard(id(model))
        if not item.users:
            del self._copies[slot.key]

    # Weights

    def _put(self, models: Sequence[HostModel], placement: Placement) -> None:
        owners = {layer: model for model in models for layer in model.layers}
        packed: dict[Layer, list[Stored]] = {}
        for layer in placement.resident:
            stored = [self._stored(owners[layer], slot) for slot in layer.slots]
            if layer.packed:
                packed[layer] = stored
            else:
                layer.put(stored)
        for layer in placement.streamed:
            for slot in layer.slots:
                self._drop(owners[layer], slot)
        if placement.buffers:
            self._called.append(_Called(self._calls(placement, packed), placement.buffers, tuple(models)))

    def _calls(self, placement: Placement, packed: Mapping[Layer, list[Stored]]) -> tuple[CalledLayers, ...]:
        """Allocate the buffers, then add hooks to the layers that are streamed or decoded."""
        device, dtype = self._device, self._dtype
        memory = DecodeMemory(device, dtype, placement.decode_bytes)
        made = list[CalledLayers]()
        if placement.streamed:
            made.append(LayerStream(device, dtype, placement.streamed, placement.buffer_bytes, self.kept, memory))
        if packed:
            made.append(DecodedLayers(device, dtype, packed, memory))
        return tuple(made)

    def _stored(self, model: HostModel, slot: Slot) -> Stored:
        """Return a weight on the device. It is copied if it is not there yet."""
        if not self.kept(slot):
            return slot.host if slot.packed is None else slot.packed.parts
        item = self._copies.get(slot.key)
        if item is None:
            item = self._copies[slot.key] = _Copy(self._copy(slot), self.kept(slot))
        item.users.add(id(model))
        return item.stored

    def _copy(self, slot: Slot) -> Stored:
        if slot.packed is not None:
            targets = tuple(self._device.empty(tuple(part.shape), part.dtype) for part in slot.packed.parts)
            for target, part in zip(targets, slot.packed.parts, strict=True):
                self._device.copy(target, part)
            return targets
        stored = self._device.empty(slot.stored_shape(self._channels_last), slot.dtype(self._dtype))
        tensor = slot.seen(stored, self._channels_last)
        self._device.copy(tensor, slot.host)
        return tensor
