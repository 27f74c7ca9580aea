"""A device for tests: processor memory with a limit of its own, and an eye on the order of copies and computation."""

import weakref
from dataclasses import dataclass, field

import torch
from torch import Tensor


class OrderError(AssertionError):
    """Memory was written to while somebody might still read it, or read before it was written."""


@dataclass
class _Memory:
    state: str = "stale"  # free -> copying -> ready -> read, and free again when copies wait for the reading
    event: int = -1
    fetched: bool = False  # whether anything was copied into it from staging


@dataclass
class FakeDevice:
    """Counts bytes by storage, refuses what is over `limit`, and checks what a card would not forgive.

    Copies from staging into a buffer of bytes are as if they ran later: computation that does not wait for them, and
    copies that do not wait for the computation that reads what they overwrite, raise OrderError. New memory may still
    be read by earlier computation, as an allocator's is. `failures` are the numbers of the allocations that fail in
    any case; `others` the bytes that other programs hold.
    """

    limit: int = 2**62
    host: bool = False
    name: str = "cpu"
    failures: set[int] = field(default_factory=set)
    allocations: int = 0
    copies: int = 0
    copied_bytes: int = 0
    released: int = 0
    live: dict[int, tuple[weakref.ref[Tensor], int]] = field(default_factory=dict)
    buffers: dict[int, _Memory] = field(default_factory=dict)
    clock: int = 0
    others: int = 0
    high: int = 0

    @property
    def used(self) -> int:
        """Bytes of live storages."""
        self.live = {key: item for key, item in self.live.items() if item[0]() is not None}
        return sum(nbytes for _, nbytes in self.live.values())

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        self.allocations += 1
        tensor = torch.empty(shape, dtype=dtype)
        if self.allocations in self.failures or self.used + self.others + tensor.nbytes > self.limit:
            raise torch.OutOfMemoryError(f"tried to allocate {tensor.nbytes} bytes")
        self.live[self.allocations] = (weakref.ref(tensor), tensor.nbytes)
        self.high = max(self.high, self.used)
        self.buffers.pop(tensor.data_ptr(), None)  # of a buffer that stood there and is gone
        if dtype == torch.uint8:
            self.buffers[tensor.data_ptr()] = _Memory()
        return tensor

    def staging(self, nbytes: int, /) -> Tensor | None:
        return torch.empty(nbytes, dtype=torch.uint8)

    def copy(self, target: Tensor, source: Tensor, staging: Tensor | None = None, /) -> None:
        self.copies += 1
        self.copied_bytes += target.nbytes
        memory = self._memory(target)
        if memory is not None and staging is not None:
            if memory.state in ("stale", "ready", "read"):
                raise OrderError(f"a buffer is overwritten that is {memory.state}")
            memory.state, memory.fetched = "copying", True
        target.copy_(source)

    def _memory(self, tensor: Tensor) -> _Memory | None:
        return self.buffers.get(tensor.untyped_storage().data_ptr())

    def copied(self) -> int:
        self.clock += 1
        for memory in self.buffers.values():
            if memory.state == "copying":
                memory.state, memory.event = "copied", self.clock
        return self.clock

    def computed(self) -> int:
        self.clock += 1
        for memory in self.buffers.values():
            if memory.state in ("stale", "ready"):
                memory.state, memory.event = "read", self.clock
        return self.clock

    def copies_wait(self, event: int, /) -> None:
        for memory in self.buffers.values():
            if memory.state == "read" and event >= memory.event:
                memory.state = "free"

    def computation_waits(self, event: int, /) -> None:
        for memory in self.buffers.values():
            if memory.state == "copied" and event >= memory.event:
                memory.state = "ready"

    def host_waits(self, event: int, /) -> None:
        pass

    def check_reading(self, tensor: Tensor) -> None:
        """Called by a test's layer when it computes with a weight."""
        memory = self._memory(tensor)
        if memory is None or not memory.fetched:  # what computation itself wrote is there when it goes on
            return
        if memory.state not in ("ready", "read"):
            raise OrderError(f"a weight is read that is {memory.state}")
        memory.state = "ready"

    def release(self) -> None:
        self.released += 1

    def free(self) -> int:
        return self.limit - self.others - self.used

    def reset_peak(self) -> None:
        self.high = self.used

    def peak(self) -> int:
        return self.high
