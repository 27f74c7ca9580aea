"""What is on a device: a ledger of bytes, eviction, and the placement of the models that are in use."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import OutOfMemoryError
from latentloom.engine.models.device import Device, channels_last, is_out_of_memory
from latentloom.engine.models.placement import Placement, place
from latentloom.engine.models.streaming import LayerStream
from latentloom.engine.models.weights import HostModel, Slot

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class _Copy:
    """A weight on the device; models over the same host tensor share it."""

    tensor: Tensor
    nbytes: int
    users: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Known:
    """A model that has copies on the device, or is in use."""

    model: HostModel
    pins: int = 0


class DevicePool:
    """The models on one device. One thread computes there at a time; what is in use stays, the rest makes room."""

    def __init__(self, device: Device, dtype: Any, budget: int) -> None:
        """`dtype`: what floating-point weights become; `budget`: bytes that weights and working memory may take."""
        self._device, self._dtype = device, dtype
        self._channels_last = channels_last(device, dtype)
        self.budget = budget
        self.headroom = 0
        """Bytes left to computation, beside what nodes ask for: grows when a node ran out of memory."""
        self._lock = threading.RLock()
        self._copies: dict[int, _Copy] = {}
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._streams: list[tuple[LayerStream, int]] = []
        self.evictions = 0  # models that were dropped to make room

    @property
    def held_bytes(self) -> int:
        """Bytes of weights and buffers on the device."""
        return sum(item.nbytes for item in list(self._copies.values())) + sum(
            nbytes for _, nbytes in list(self._streams)
        )

    @contextlib.contextmanager
    def use(self, models: Sequence[HostModel], working: int = 0) -> Iterator[None]:
        """Have models ready to compute for the time of a with-block, all of them or none.

        `working`: bytes that the computation needs beside the weights. Raises BudgetError or OutOfMemoryError.
        """
        with self._lock:
            rings = len(self._streams)
            fresh = self._pin(models)
            try:
                self._ready(fresh, working)
                yield
            finally:
                for stream, _ in self._streams[rings:]:
                    stream.close()
                del self._streams[rings:]
                for model in models:
                    self._known[id(model)].pins -= 1

    def plan(self, models: Sequence[HostModel], working: int = 0) -> Placement:
        """Where the layers of models would be, if they were used now. Raises BudgetError."""
        return place([layer for model in models for layer in model.layers], self._room(models, working), self._bytes)

    def forget(self, model: HostModel) -> None:
        """Drop a model from the device; one that is in use stays."""
        with self._lock:
            known = self._known.get(id(model))
            if known is not None and not known.pins:
                self._evict(model)

    def clear(self) -> None:
        """Drop every model that is not in use."""
        with self._lock:
            for known in list(self._known.values()):
                self.forget(known.model)
            self._device.release()

    # Pins

    def _pin(self, models: Sequence[HostModel]) -> list[HostModel]:
        """Pin models; those that were not pinned, each once."""
        fresh = [m for m in dict.fromkeys(models) if id(m) not in self._known or not self._known[id(m)].pins]
        for model in models:
            self._known.setdefault(id(model), _Known(model)).pins += 1
            self._known.move_to_end(id(model))
        return fresh

    # Room

    def _bytes(self, slot: Slot) -> int:
        """Bytes that a weight takes on the device: none where its host tensor serves as it is."""
        serves = self._device.host and slot.host.dtype == slot.dtype(self._dtype)
        return 0 if serves else slot.nbytes(self._dtype)

    def _room(self, models: Sequence[HostModel], working: int) -> int:
        """Bytes for models, were all others that are not in use gone."""
        mine = {id(model) for model in models}
        pinned = {name for name, known in self._known.items() if known.pins and name not in mine}
        taken = sum(item.nbytes for item in self._copies.values() if item.users & pinned)
        return self.budget - self.headroom - working - taken - sum(nbytes for _, nbytes in self._streams)

    def _ready(self, models: Sequence[HostModel], working: int) -> None:
        """Place models; where memory runs out although the ledger says otherwise, once more with all else gone."""
        if not models:
            return
        placement = self.plan(models, working)
        for patience in (True, False):
            try:
                self._make_room(models, placement, working)
                self._put(models, placement)
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if not patience:
                    raise self._exhausted(placement) from None
            for known in [known for known in self._known.values() if not known.pins]:
                self._evict(known.model)
            self._device.release()

    def _exhausted(self, placement: Placement) -> OutOfMemoryError:
        return OutOfMemoryError(
            f"{self._device.name} has less free memory than its budget says",
            expected=f"{placement.nbytes} bytes for weights",
            got=f"a budget of {self.budget} bytes, which other programs may share",
            hint="close other programs that use the device, or lower --vram-budget",
        )

    def _make_room(self, models: Sequence[HostModel], placement: Placement, working: int) -> None:
        """Drop copies that the placement does not want, then models that were used longest ago."""
        wanted = {id(slot.host): self._bytes(slot) for layer in placement.resident for slot in layer.slots}
        missing = sum(nbytes for host, nbytes in wanted.items() if host not in self._copies)
        limit = self.budget - self.headroom - working - missing - 2 * placement.buffer_bytes
        for known in [known for known in self._known.values() if not known.pins]:
            if self.held_bytes <= limit:
                return
            self._evict(known.model)
        if self.held_bytes > limit:
            for model in models:
                self._thin(model, wanted)

    def _thin(self, model: HostModel, wanted: dict[int, int]) -> None:
        for slot in model.slots():
            if id(slot.host) not in wanted:
                self._drop(model, slot)

    def _evict(self, model: HostModel) -> None:
        self.evictions += 1
        for slot in model.slots():
            self._drop(model, slot)
        self._known.pop(id(model), None)

    def _drop(self, model: HostModel, slot: Slot) -> None:
        """Weights are only read, so that nothing is copied back."""
        item = self._copies.get(id(slot.host))
        if item is None or id(model) not in item.users:
            return
        slot.put(slot.host)
        item.users.discard(id(model))
        if not item.users:
            del self._copies[id(slot.host)]

    # Weights

    def _put(self, models: Sequence[HostModel], placement: Placement) -> None:
        owners = {layer: model for model in models for layer in model.layers}
        for layer in placement.resident:
            layer.put([self._tensor(owners[layer], slot) for slot in layer.slots])
        if placement.streamed:
            for layer in placement.streamed:
                for slot in layer.slots:
                    self._drop(owners[layer], slot)
            stream = LayerStream(self._device, self._dtype, placement.streamed, placement.buffer_bytes)
            self._streams.append((stream, 2 * placement.buffer_bytes))

    def _tensor(self, model: HostModel, slot: Slot) -> Tensor:
        """A weight as the device computes with it; copied unless it is there."""
        if not self._bytes(slot):
            return slot.host
        item = self._copies.get(id(slot.host))
        if item is None:
            stored = self._device.empty(slot.stored_shape(self._channels_last), slot.dtype(self._dtype))
            tensor = slot.seen(stored, self._channels_last)
            self._device.copy(tensor, slot.host)
            item = self._copies[id(slot.host)] = _Copy(tensor, slot.nbytes(self._dtype))
        item.users.add(id(model))
        return item.tensor
