"""What numeric results depend on beside code: device class, dtype, library versions. Found without importing torch."""

import platform
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from latentloom.engine.errors import SettingsError
from latentloom.engine.settings import Settings

LIBRARIES = ("torch", "diffusers", "transformers")
Dtype = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True, slots=True)
class Environment:
    """Where and how models compute."""

    device: str  # "cpu", "cuda:0", "mps": as torch names it
    device_class: str  # "cpu", or the model of the accelerator
    dtype: Dtype
    versions: tuple[tuple[str, str], ...]

    @property
    def slow(self) -> bool:
        """Whether the type is one that the device has no fast arithmetic for: fp16 on a processor."""
        return self.device == "cpu" and self.dtype == "fp16"

    def record(self) -> dict[str, str]:
        """The part of a key, and of a picture's record."""
        return {"device": self.device_class, "dtype": self.dtype, **dict(self.versions)}


def probe(settings: Settings) -> Environment:
    """The environment that the settings ask for. Raises SettingsError for a device that is not there."""
    versions = tuple((name, _version(name)) for name in LIBRARIES)
    device = _device(settings.device, dict(versions)["torch"])
    return Environment(device, _device_class(device), _dtype(settings.dtype, device), versions)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def accelerators(torch_version: str) -> list[str]:
    """The devices beside the processor that this PyTorch build can use."""
    if "+cpu" in torch_version:
        return []
    if sys.platform == "darwin":
        return ["mps"] if platform.machine() == "arm64" else []
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    if cards or Path("/dev/kfd").exists() or Path("/dev/nvidia0").exists():
        return [f"cuda:{n}" for n in range(max(1, len(cards)))]
    return []


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
            hint=f"the installed PyTorch is {torch_version}; README tells how to choose a build for your card",
        )
    return device


def _device_class(device: str) -> str:
    if device == "cpu":
        return "cpu"
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    index = int(device.partition(":")[2] or 0)
    if index >= len(cards):
        return device.partition(":")[0]
    lines = cards[index].read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model")), "cuda")


def _dtype(wanted: str, device: str) -> Dtype:
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    if device == "cpu":
        return "bf16" if _fast_bf16() else "fp32"
    return "fp16" if device == "mps" else "bf16"


@lru_cache(maxsize=1)
def _fast_bf16() -> bool:
    """Whether the processor multiplies bf16 itself (AMX or AVX512-BF16): about three times as fast as fp32."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
