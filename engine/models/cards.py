"""Finds the graphics cards through the driver's library, without an import of PyTorch.

The order of the cards and the effect of CUDA_VISIBLE_DEVICES are the same as in PyTorch, which uses the same library.
The library also exists on Windows and WSL2, which have no system files about cards. No CUDA context is created.
"""

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")
NAME_BYTES = 256


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card."""

    name: str
    capability: tuple[int, int]
    """CUDA compute capability, or the number of an AMD architecture (gfx1100: 11.0)."""


@lru_cache(maxsize=2)
def cards(rocm: bool) -> tuple[Card, ...]:
    """Return the cards that PyTorch will see, in its order. Cached: the driver reads its environment once, too."""
    return next((tuple(found) for found in _asked(rocm, cards_of)), ())


def driver_fault(rocm: bool) -> str | None:
    """Return why an installed driver reports no card; None if it reports one, or if no driver is installed."""
    return next(_asked(rocm, fault_of), None)


def _asked(rocm: bool, question: Callable[[Any, str], Answer]) -> Iterator[Answer]:
    """Yield the answer of each of the driver's libraries that can be loaded and has the functions."""
    prefix, names = ("hip", _hip_names()) if rocm else ("cu", [_cuda_name()])
    for name in names:
        with contextlib.suppress(OSError, AttributeError):
            yield question(ctypes.CDLL(name), prefix)


def _cuda_name() -> str:
    return "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def _hip_names() -> list[str]:
    """Return the names of ROCm's library: the one that PyTorch contains, then the system's."""
    spec = find_spec("torch")
    own = [Path(spec.origin).parent / "lib" / "libamdhip64.so"] if spec is not None and spec.origin else []
    return [*map(str, own), "libamdhip64.so"]


def cards_of(library: Any, prefix: str) -> list[Card]:
    """Return the cards that a driver's library reports; none if it cannot be initialised."""
    count = ctypes.c_int()
    counted = getattr(library, "hipGetDeviceCount" if prefix == "hip" else "cuDeviceGetCount")
    if getattr(library, f"{prefix}Init")(0) or counted(ctypes.byref(count)):
        return []
    return [_card(library, prefix, n) for n in range(count.value)]


def fault_of(library: Any, prefix: str) -> str | None:
    """Return why a driver's library reports no card; None if it reports one."""
    code = getattr(library, f"{prefix}Init")(0)
    if code:
        return f"{prefix}Init of the driver returned the error {code}"
    return None if cards_of(library, prefix) else "the driver reports no card"


def _card(library: Any, prefix: str, n: int) -> Card:
    device, major, minor = ctypes.c_int(n), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(NAME_BYTES)
    getattr(library, f"{prefix}DeviceGet")(ctypes.byref(device), n)
    getattr(library, f"{prefix}DeviceGetName")(name, NAME_BYTES, device)
    getattr(library, f"{prefix}DeviceComputeCapability")(ctypes.byref(major), ctypes.byref(minor), device)
    return Card(name.value.decode("utf-8", "replace").strip(), (major.value, minor.value))
