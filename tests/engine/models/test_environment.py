"""Which device there is and what it computes in, told by a driver without importing PyTorch."""

import ctypes
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from latentloom.engine.errors import SettingsError
from latentloom.engine.files.lock import Lock
from latentloom.engine.models import environment
from latentloom.engine.models.cards import Card, cards_of, fault_of
from latentloom.engine.models.device import exact_fp32
from latentloom.engine.models.environment import Environment, accelerators, probe
from latentloom.engine.settings import load_settings

AMPERE, TURING, VOLTA = (
    Card("NVIDIA GeForce RTX 3060", (8, 6)),
    Card("Tesla T4", (7, 5)),
    Card("Tesla V100", (7, 0)),
)
RADEON = Card("AMD Radeon RX 7900 XTX", (11, 0))


class Driver:
    """A driver's library, as ctypes calls it."""

    def __init__(self, *cards: Card, prefix: str = "cu", starts: bool = True) -> None:
        count = "cuDeviceGetCount" if prefix == "cu" else "hipGetDeviceCount"
        setattr(self, f"{prefix}Init", lambda flags: 0 if starts else 100)
        setattr(self, count, lambda number: self._set(number, len(cards)))
        setattr(self, f"{prefix}DeviceGet", lambda device, n: self._set(device, n))
        setattr(self, f"{prefix}DeviceGetName", lambda name, size, device: self._name(name, cards[device.value]))
        setattr(self, f"{prefix}DeviceComputeCapability", lambda *given: self._capability(cards, *given))

    @staticmethod
    def _set(reference: Any, value: int) -> int:
        reference._obj.value = value
        return 0

    @staticmethod
    def _name(buffer: Any, card: Card) -> int:
        buffer.value = card.name.encode()
        return 0

    def _capability(self, cards: tuple[Card, ...], major: Any, minor: Any, device: ctypes.c_int) -> int:
        self._set(major, cards[device.value].capability[0])
        return self._set(minor, cards[device.value].capability[1])


@pytest.mark.parametrize("prefix", ["cu", "hip"])
def test_a_driver_tells_its_cards_in_its_order(prefix: str) -> None:
    assert cards_of(Driver(TURING, AMPERE, prefix=prefix), prefix) == [TURING, AMPERE]
    assert cards_of(Driver(prefix=prefix), prefix) == []
    assert cards_of(Driver(AMPERE, prefix=prefix, starts=False), prefix) == []


@pytest.mark.parametrize("prefix", ["cu", "hip"])
def test_a_driver_without_a_card_says_why(prefix: str) -> None:
    assert fault_of(Driver(TURING, prefix=prefix), prefix) is None
    assert fault_of(Driver(prefix=prefix), prefix) == "the driver reports no card"
    assert fault_of(Driver(TURING, prefix=prefix, starts=False), prefix) == (
        f"{prefix}Init of the driver returned the error 100"
    )


def found(monkeypatch: pytest.MonkeyPatch, *cards: Card, torch: str = "2.13.0+cu130", **flags: Any) -> Environment:
    """The environment on a machine with these cards and that build of PyTorch."""
    monkeypatch.setattr(environment, "cards", lambda rocm: cards if rocm == ("+rocm" in torch) else ())
    monkeypatch.setattr(environment, "_version", lambda name: torch)
    return probe(load_settings(flags, {"LATENTLOOM_HOME": "/nowhere"}))


@pytest.mark.parametrize(
    ("card", "dtype"), [(AMPERE, "bf16"), (TURING, "fp16"), (VOLTA, "fp16"), (Card("H200", (9, 0)), "bf16")]
)
def test_a_card_computes_in_a_type_that_it_has_arithmetic_for(
    monkeypatch: pytest.MonkeyPatch, card: Card, dtype: str
) -> None:
    made = found(monkeypatch, card)
    assert (made.device, made.device_class, made.dtype) == ("cuda:0", card.name, dtype)
    assert found(monkeypatch, card, dtype="fp32").dtype == "fp32"


def test_each_of_several_cards_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (found(monkeypatch, AMPERE, TURING, device=f"cuda:{n}") for n in range(2))
    assert first.record() != second.record()
    assert (second.device_class, second.dtype) == ("Tesla T4", "fp16")
    assert found(monkeypatch, TURING, AMPERE, device="cuda").device_class == "Tesla T4"
    with pytest.raises(SettingsError, match="there is no device 'cuda:2'"):
        found(monkeypatch, AMPERE, TURING, device="cuda:2")


def test_cards_that_are_hidden_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made = found(monkeypatch)
    assert (made.device, made.device_class) == ("cpu", "cpu")


def test_a_card_of_amd_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made = found(monkeypatch, RADEON, torch="2.13.0+rocm7.1")
    assert (made.device, made.device_class, made.dtype) == ("cuda:0", "AMD Radeon RX 7900 XTX", "bf16")


def test_a_build_for_processors_has_no_card() -> None:
    assert accelerators("2.13.0+cpu") == []


PROBE = """
import sys
from latentloom.engine.models.environment import probe
from latentloom.engine.settings import load_settings
found = probe(load_settings({"device": "cpu", "dtype": sys.argv[1]}))
print("torch" in sys.modules, found.record().get("arithmetic"))
"""


def arithmetic(dtype: str, **variables: str) -> str:
    command = [sys.executable, "-c", PROBE, dtype]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded, _, text = done.stdout.strip().partition(" ")
    assert loaded == "False"
    return text


def test_on_a_processor_short_types_depend_on_its_instructions_and_threads() -> None:
    one = arithmetic("bf16", OMP_NUM_THREADS="1", ATEN_CPU_CAPABILITY="")
    assert one.endswith("x1")
    assert arithmetic("bf16", OMP_NUM_THREADS="1", ATEN_CPU_CAPABILITY="") == one
    others = [
        arithmetic("bf16", OMP_NUM_THREADS="2", ATEN_CPU_CAPABILITY=""),
        arithmetic("bf16", OMP_NUM_THREADS="1", ATEN_CPU_CAPABILITY="default"),
    ]
    assert len({one, *others}) == 3
    assert arithmetic("fp32", OMP_NUM_THREADS="1") == arithmetic("fp32", OMP_NUM_THREADS="2") == "None"


def test_fp32_on_a_card_is_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    exact_fp32()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


def test_a_lock_is_written_where_the_system_has_no_pwrite(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pwrite", raising=False)  # as on Windows
    lock = Lock(tmp_path / "lock")
    lock.write("a longer text")
    lock.write("short")
    assert (tmp_path / "lock").read_text() == "short"
    lock.close()
