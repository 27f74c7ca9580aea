"""Devices: allocation of memory for weights, and synchronisation of copies and computation."""

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
VRAM_SHARE = 0.85  # of an accelerator's memory; the rest is for computation
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt, see malloc.h


class Device(Protocol):
    """A device. Copies may overlap computation. Events order them: one operation waits until another has ended."""

    name: str
    """The name in torch: "cpu", "cuda:0", "mps"."""
    host: bool
    """Whether it computes in host memory, so that a weight of the right dtype needs no copy."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        """Allocate memory on the device. Raises an error that `is_out_of_memory` recognises."""

    def staging(self, nbytes: int, /) -> Tensor | None:
        """Allocate page-locked host memory, from which copies overlap computation. None if the device cannot use it."""

    def copy(self, target: Tensor, source: Tensor, staging: Tensor | None = None, /) -> None:
        """Start to copy a host tensor to the device and convert it. With `staging`, the copy overlaps computation."""

    def copied(self) -> Any:
        """Return an event for the end of all copies started so far."""

    def computed(self) -> Any:
        """Return an event for the end of all computation started so far."""

    def copies_wait(self, event: Any, /) -> None:
        """Make all later copies wait for an event."""

    def computation_waits(self, event: Any, /) -> None:
        """Make all later computation wait for an event."""

    def host_waits(self, event: Any, /) -> None:
        """Block until an event has happened."""

    def release(self) -> None:
        """Return unused memory to the system."""

    def free(self) -> int | None:
        """Return the bytes that can be allocated now. None if only the budget limits them."""

    def reset_peak(self) -> None:
        """Reset the measurement of `peak`."""

    def peak(self) -> int | None:
        """Return the peak of bytes allocated by this process since `reset_peak`. None if it is not measured."""


class PlainDevice:
    """A device with synchronous copies: the CPU, or Metal."""

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
    """Make glibc keep freed memory for reuse: returning it causes page faults at the next use (docs/memory.md)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


class CudaDevice:
    """An NVIDIA or AMD card. Copies use their own stream and page-locked memory."""

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
        """See `Device.staging`. None if no memory can be page-locked: copies then do not overlap computation."""
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
        """See `Device.free`: the driver's free memory, and the memory that PyTorch has reserved but does not use."""
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
    """Disable TF32, with which fp32 convolutions on Ampere and later use 10 mantissa bits instead of 23."""
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def channels_last(device: Device, dtype: Any) -> bool:
    """Whether copies of convolution weights use the channels-last layout, which is faster on CPUs in bf16."""
    import torch

    return device.host and dtype == torch.bfloat16


def open_device(name: str) -> Device:
    """Return the device with this name in torch."""
    return CudaDevice(name) if name.startswith("cuda") else PlainDevice(name)


def default_budget(name: str) -> int:
    """Return the default budget in bytes: half of the machine's memory, or 85 % of a card's."""
    if name.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(name).total_memory * VRAM_SHARE)
    return (machine_bytes() or 16 * GIB) // 2


SHORTAGES = (
    "out of memory",  # CUDA, HIP, MPS
    "invalid buffer size",  # Metal, for a request above its maximum
    "can't allocate memory",  # PyTorch on the CPU
    "cannot allocate memory",  # the system's ENOMEM, as text
    "not enough memory",  # PyTorch on the CPU, on Windows
    "_alloc_failed",  # the status of cuBLAS, cuDNN, cuSOLVER, cuSPARSE, cuFFT, hipBLAS
    "allocation_failed",  # cuDNN 9
    "errormemoryallocation",  # the code's name in CUDA
    "erroroutofmemory",  # the code's name in HIP and Metal
    "rocblas_status_memory_error",
    "miopenstatusallocfailed",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, is an out-of-memory error."""
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
