"""How a shortage of memory is told from other errors, and how much memory there is."""

import errno
from pathlib import Path

import pytest
import torch

from latentloom.engine.models.device import default_budget, is_out_of_memory
from latentloom.engine.models.host_memory import _group_limits, machine_bytes

TEXTS = [
    "MPS backend out of memory (MPS allocated: 5.1 GB, max allowed: 9.0 GB). Tried to allocate 1.2 GB on private pool.",
    "Invalid buffer size: 18.63 GiB",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "HIP out of memory. Tried to allocate 2.00 GiB.",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
    "CUDA driver error: cudaErrorMemoryAllocation",
    "HIP error: hipErrorOutOfMemory",
    "rocBLAS error: rocblas_status_memory_error",
    "miopenStatusAllocFailed",
    "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
    "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes.",
    "Unable to mmap 123 bytes from file: Cannot allocate memory (12)",
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
]


@pytest.mark.parametrize("text", TEXTS)
def test_every_way_to_say_it_is_understood(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(torch.OutOfMemoryError(text))
    assert not is_out_of_memory(ValueError(text))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
        "mat1 and mat2 shapes cannot be multiplied (77x768 and 1024x320)",
    ],
)
def test_other_errors_of_a_card_are_no_shortage(text: str) -> None:
    assert not is_out_of_memory(RuntimeError(text))


def test_a_shortage_behind_another_error_is_one_too() -> None:
    wrapped = ValueError("the picture could not be made")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert not is_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))
    ring = ValueError("in a circle")
    ring.__cause__ = ring
    assert not is_out_of_memory(ring)


def group(root: Path, name: str, **files: str) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (root / name / file.replace("_max", ".max")).write_text(text)


def test_the_limits_of_all_groups_around_a_process_count(tmp_path: Path) -> None:
    group(tmp_path, "", memory_max="max\n")
    group(tmp_path, "service", memory_max="8000000000\n")
    group(tmp_path, "service/worker", memory_max="max\n")
    (tmp_path / "membership").write_text("0::/service/worker\n")
    assert list(_group_limits(tmp_path / "membership", tmp_path)) == [8_000_000_000]


def test_version_1_of_control_groups_and_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "memory/docker/abc").mkdir(parents=True)
    (tmp_path / "memory/docker/abc/memory.limit_in_bytes").write_text("500000000\n")
    (tmp_path / "membership").write_text("11:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n0::/docker/abc\n")
    assert list(_group_limits(tmp_path / "membership", tmp_path)) == [500_000_000]
    assert list(_group_limits(tmp_path / "nothing", tmp_path)) == []


def test_the_default_budget_of_a_processor_is_half_of_what_there_is() -> None:
    assert 0 < default_budget("cpu") == machine_bytes() // 2
