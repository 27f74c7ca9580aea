"""Where models compute: memory to put weights into, and the order of copies and computation."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import sys
from typing import TYPE_CHECKING, Any, Protocol

from latentloom.engine.models.host_memory import machine_bytes

if TYPE_CHECKING:
    from torch import Tensor

GIB = 2**30
VRAM_SHARE = 0.85  # of an accelerator's memory: the rest is left to computation
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt, malloc.h


class Device(Protocol):
    """One device. Copies may run beside computation; events say what must have ended before something else begins."""

    name: str
    """As torch names it: "cpu", "cuda:0", "mps"."""
    host: bool
    """Whether it computes in the host's own memory, so that a weight of the right type is used where it is."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        """Memory on the device. Raises what `is_out_of_memory` knows."""

    def staging(self, nbytes: int, /) -> Tensor | None:
        """Page-locked bytes of the host, from which copies run beside computation; None where that is of no use."""

    def copy(self, target: Tensor, source: Tensor, staging: Tensor | None = None, /) -> None:
        """Start to copy a host tensor to the device, converting it; with staging, beside the computation."""

    def copied(self) -> Any:
        """An event: the copies that were started up to now have ended."""

    def computed(self) -> Any:
        """An event: the computation that was started up to now has ended."""

    def copies_wait(self, event: Any, /) -> None:
        """Copies started from now on wait for an event."""

    def computation_waits(self, event: Any, /) -> None:
        """Computation started from now on waits for an event."""

    def host_waits(self, event: Any, /) -> None:
        """Return when an event has happened."""

    def release(self) -> None:
        """Give memory that nothing uses back to the system."""

    def free(self) -> int | None:
        """Bytes that could be allocated now, whoever has the rest; None where the budget alone says."""

    def reset_peak(self) -> None:
        """Measure from now on; see `peak`."""

    def peak(self) -> int | None:
        """The most bytes that this process had allocated at once since `reset_peak`; None where nobody counts."""


class PlainDevice:
    """A device whose copies have ended when they return: a processor, or Metal."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = name == "cpu"
        if self.host:
            _keep_freed_memory()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        """See `Device.empty`."""
        import torch

        return torch.empty(shape, dtype=dtype, device=self.name)

    def staging(self, _nbytes: int, /) -> Tensor | None:
        """See `Device.staging`."""
        return None

    def copy(self, target: Tensor, source: Tensor, _staging: Tensor | None = None, /) -> None:
        """See `Device.copy`."""
        target.copy_(source)

    def copied(self) -> Any:
        """See `Device.copied`."""

    def computed(self) -> Any:
        """See `Device.computed`."""

    def copies_wait(self, _event: Any, /) -> None:
        """See `Device.copies_wait`."""

    def computation_waits(self, _event: Any, /) -> None:
        """See `Device.computation_waits`."""

    def host_waits(self, _event: Any, /) -> None:
        """See `Device.host_waits`."""

    def release(self) -> None:
        """See `Device.release`."""
        gc.collect()
        with contextlib.suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)
        if self.name == "mps":
            import torch

            torch.mps.empty_cache()

    def free(self) -> int | None:
        """See `Device.free`."""
        if self.host:
            return None
        import torch

        return max(int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()), 0)

    def reset_peak(self) -> None:
        """See `Device.reset_peak`."""

    def peak(self) -> int | None:
        """See `Device.peak`."""
        return None


def _keep_freed_memory() -> None:
    """Let glibc use freed memory again instead of giving it back at once and faulting it in anew (docs/memory.md)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


class CudaDevice:
    """An NVIDIA or AMD card: a stream of its own for copies, page-locked memory to copy from."""

    host = False

    def __init__(self, name: str) -> None:
        import torch

        self.name = name
        exact_fp32()
        self._stream = torch.cuda.Stream(name)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        """See `Device.empty`."""
        import torch

        return torch.empty(shape, dtype=dtype, device=self.name)

    def staging(self, nbytes: int, /) -> Tensor | None:
        """See `Device.staging`; without page-locked memory copies work too, only not beside computation."""
        import torch

        with contextlib.suppress(RuntimeError):
            return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
        return None

    def copy(self, target: Tensor, source: Tensor, staging: Tensor | None = None, /) -> None:
        """See `Device.copy`."""
        import torch

        if staging is None:
            target.copy_(source)
            return
        staged = staging[: target.nbytes].view(target.dtype).view(target.shape)
        staged.copy_(source)
        with torch.cuda.stream(self._stream):
            target.copy_(staged, non_blocking=True)

    def copied(self) -> Any:
        """See `Device.copied`."""
        return self._stream.record_event()

    def computed(self) -> Any:
        """See `Device.computed`."""
        import torch

        return torch.cuda.current_stream(self.name).record_event()

    def copies_wait(self, event: Any, /) -> None:
        """See `Device.copies_wait`."""
        self._stream.wait_event(event)

    def computation_waits(self, event: Any, /) -> None:
        """See `Device.computation_waits`."""
        import torch

        torch.cuda.current_stream(self.name).wait_event(event)

    def host_waits(self, event: Any, /) -> None:
        """See `Device.host_waits`."""
        event.synchronize()

    def release(self) -> None:
        """See `Device.release`."""
        import torch

        gc.collect()
        torch.cuda.synchronize(self.name)
        torch.cuda.empty_cache()

    def free(self) -> int | None:
        """See `Device.free`: what the driver has left, and what PyTorch keeps without using it."""
        import torch

        kept = torch.cuda.memory_reserved(self.name) - torch.cuda.memory_allocated(self.name)
        return int(torch.cuda.mem_get_info(self.name)[0] + kept)

    def reset_peak(self) -> None:
        """See `Device.reset_peak`."""
        import torch

        torch.cuda.reset_peak_memory_stats(self.name)

    def peak(self) -> int | None:
        """See `Device.peak`."""
        import torch

        return int(torch.cuda.max_memory_allocated(self.name))


def exact_fp32() -> None:
    """Have fp32 be fp32: left alone, convolutions compute in TF32 on Ampere and later, with 10 bits instead of 23."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def channels_last(device: Device, dtype: Any) -> bool:
    """Whether copies of convolutions' weights lie with channels last: processors compute faster so in bf16."""
    import torch

    return device.host and dtype == torch.bfloat16


def open_device(name: str) -> Device:
    """The device that torch knows by a name."""
    return CudaDevice(name) if name.startswith("cuda") else PlainDevice(name)


def default_budget(name: str) -> int:
    """Bytes that weights may take: half of the machine's memory, or 85 % of an accelerator's."""
    if name.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(name).total_memory * VRAM_SHARE)
    return (machine_bytes() or 16 * GIB) // 2


SHORTAGES = (
    "out of memory",  # CUDA, HIP, MPS
    "invalid buffer size",  # Metal, asked for more than it has
    "can't allocate memory",  # PyTorch on the processor
    "cannot allocate memory",  # the system's ENOMEM, as text
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "hipblas_status_alloc_failed",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that memory is at its end."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if _is_shortage(error):
            return True
        seen.add(id(error))
        error = error.__cause__
    return False


def _is_shortage(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    kinds = (MemoryError, torch.OutOfMemoryError) if torch is not None else MemoryError
    if isinstance(error, kinds) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return any(words in text for words in SHORTAGES)
