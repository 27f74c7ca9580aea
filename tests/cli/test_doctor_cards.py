"""What `loom doctor` says of cards."""

import pytest

from latentloom.cli import doctor
from latentloom.engine.models import environment
from latentloom.engine.models.cards import Card


def said(monkeypatch: pytest.MonkeyPatch, *cards: Card, fault: str | None = None, torch: str = "2.13.0") -> list[str]:
    monkeypatch.setattr(environment, "cards", lambda rocm: cards)
    monkeypatch.setattr(environment, "driver_fault", lambda rocm: fault)
    return [line for finding in doctor._cards(torch) for line in finding.lines()]


def test_each_card_is_named_with_what_decides_its_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, Card("Tesla T4", (7, 5)), Card("NVIDIA A100", (8, 0))) == [
        "ok      card: cuda:0, Tesla T4, compute capability 7.5",
        "ok      card: cuda:1, NVIDIA A100, compute capability 8.0",
    ]


def test_a_driver_without_a_card_is_told_and_a_machine_without_a_driver_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, fault="cuInit of the driver returned the error 803") == [
        "note    card: none: cuInit of the driver returned the error 803",
        "        tip: docs/gpu.md lists what to check",
    ]
    assert said(monkeypatch) == []
    assert said(monkeypatch, fault="the driver reports no card", torch="2.13.0+cpu") == []
