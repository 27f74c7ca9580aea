import pytest
import torch
from torch import Tensor

from latentloom.engine.models.packed import Packed
from latentloom.nodes.families.packing.scaled import Scaled, finite

BYTES = torch.arange(256, dtype=torch.uint8)
E4M3 = BYTES.view(torch.float8_e4m3fn)


def packed(numbers: Tensor, scale: float | None) -> Packed:
    parts = (numbers,) if scale is None else (numbers, torch.tensor(scale))
    return Packed(Scaled(), parts, tuple(numbers.shape))


@pytest.mark.parametrize("scale", [None, 0.0, 1e-38, 0.0123, 1.0, 3.7, -300.1, 3e38])
def test_e4m3_is_rounded_to_bfloat16_as_from_float32(scale: float | None) -> None:
    numbers = E4M3[E4M3.float().isfinite()].view(2, 127)
    found = packed(numbers, scale).decoded(torch.bfloat16)
    assert torch.equal(found, (numbers.float() * (1.0 if scale is None else torch.tensor(scale))).bfloat16())
    assert torch.equal(found, packed(numbers, scale).decoded(torch.float32).bfloat16())


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_bytes_that_are_no_numbers_are_found(dtype: torch.dtype) -> None:
    numbers = BYTES.view(dtype)
    for number, good in zip(numbers, numbers.float().isfinite(), strict=True):
        assert finite(torch.stack([torch.ones((), dtype=dtype), number])) == bool(good)


def test_looking_for_nan_takes_no_memory() -> None:
    numbers = torch.ones(2**22).to(torch.float8_e4m3fn)
    with torch.profiler.profile(profile_memory=True) as seen:
        assert finite(numbers)
    assert max((event.self_cpu_memory_usage for event in seen.key_averages()), default=0) < 1024
