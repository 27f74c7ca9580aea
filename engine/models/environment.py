"""The environment that numeric results depend on: device class, dtype, library versions. Does not import torch."""

import os
import platform
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from latentloom.engine.errors import SettingsError
from latentloom.engine.models.cards import Card, cards, driver_fault
from latentloom.engine.settings import Settings

INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
BF16_CAPABILITY = (8, 0)  # NVIDIA Ampere: older cards compute in fp16; AMD's numbers start at 9.0
LIBRARIES = ("torch", "diffusers", "transformers")
Dtype = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True, slots=True)
class Environment:
    """The device and dtype of models, and the versions of libraries."""

    device: str  # the name in torch: "cpu", "cuda:0", "mps"
    device_class: str  # "cpu", or the model of the accelerator
    dtype: Dtype
    versions: tuple[tuple[str, str], ...]
    arithmetic: str = ""
    """What affects rounding in dtypes below fp32 on a CPU: its instruction set and the number of threads."""

    @property
    def slow(self) -> bool:
        """Whether the device has no fast arithmetic for the dtype: fp16 on a CPU."""
        return self.device == "cpu" and self.dtype == "fp16"

    def record(self) -> dict[str, str]:
        """Return the environment as a part of cache keys and of a picture's record."""
        arithmetic = {"arithmetic": self.arithmetic} if self.arithmetic else {}
        return {"device": self.device_class, "dtype": self.dtype, **arithmetic, **dict(self.versions)}


def probe(settings: Settings) -> Environment:
    """Return the environment for the settings. Raises SettingsError if the device does not exist."""
    versions = tuple((name, _version(name)) for name in LIBRARIES)
    torch = dict(versions)["torch"]
    device = _device(settings.device, torch)
    card = _card(device, torch)
    dtype = _dtype(settings.dtype, device, card)
    return Environment(
        device,
        card.name if card is not None else device.partition(":")[0],
        dtype,
        versions,
        _arithmetic() if device == "cpu" and dtype != "fp32" else "",
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def accelerators(torch_version: str) -> list[str]:
    """Return the devices besides the CPU that this PyTorch build can use."""
    if "+cpu" in torch_version:
        return []
    if sys.platform == "darwin":
        return ["mps"] if platform.machine() == "arm64" else []
    count = len(cards("+rocm" in torch_version)) or ("+rocm" in torch_version and Path("/dev/kfd").exists())
    return [f"cuda:{n}" for n in range(count)]


def named_cards(torch_version: str) -> dict[str, Card]:
    """Return the cards that the driver reports to this PyTorch build, by their names in torch."""
    known = cards("+rocm" in torch_version) if "+cpu" not in torch_version else ()
    return dict(zip(accelerators(torch_version), known, strict=False))


def card_fault(torch_version: str) -> str | None:
    """Return why there is no card although a driver is installed for this PyTorch build; else None."""
    return None if "+cpu" in torch_version else driver_fault("+rocm" in torch_version)


def _device(wanted: str, torch_version: str) -> str:
    there = accelerators(torch_version)
    if wanted == "auto":
        return there[0] if there else "cpu"
    device = "cuda:0" if wanted == "cuda" else wanted
    if device != "cpu" and device not in there:
        raise SettingsError(
            f"there is no device '{wanted}'",
            expected=", ".join(["auto", "cpu", *there]),
            got=wanted,
            hint=f"the installed PyTorch is {torch_version}; the README explains how to choose a build for your GPU",
        )
    return device


def _card(device: str, torch_version: str) -> Card | None:
    """Return the card of a device; None if it is not a card, or the driver does not report it."""
    kind, _, index = device.partition(":")
    found = cards("+rocm" in torch_version) if kind == "cuda" else ()
    return found[int(index or 0)] if int(index or 0) < len(found) else None


def _dtype(wanted: str, device: str, card: Card | None) -> Dtype:
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    if device == "cpu":
        return "bf16" if _fast_bf16() else "fp32"
    before_ampere = card is not None and card.capability < BF16_CAPABILITY
    return "fp16" if device == "mps" or before_ampere else "bf16"


def _arithmetic() -> str:
    """Return the CPU's best instruction set and the number of threads. Both affect how bf16 sums are rounded."""
    capable = next((name for name in INSTRUCTIONS if name in _flags()), platform.machine())
    limits = [os.environ.get(name, "") for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")]
    threads = os.environ.get("OMP_NUM_THREADS") or str(_processors())
    return " ".join(filter(None, [capable, *limits, f"x{threads}"]))


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def _fast_bf16() -> bool:
    """Whether the CPU has bf16 instructions (AMX or AVX512-BF16), about three times as fast as fp32."""
    return not _flags().isdisjoint(("amx_bf16", "avx512_bf16"))


@lru_cache(maxsize=1)
def _flags() -> frozenset[str]:
    """Return the CPU flags that Linux reports; none on other systems."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())
