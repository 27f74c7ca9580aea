"""Turns on an accelerator within one session."""

import threading
from pathlib import Path

import pytest

from latentloom.api.device_turns import DeviceTurns
from latentloom.engine.errors import Cancelled
from latentloom.engine.files.lock import Lock


def test_a_run_that_waits_behind_another_run_of_its_session_can_be_cancelled(tmp_path: Path) -> None:
    elsewhere = Lock(tmp_path / "device-cuda-0.lock")
    waits, first, second, had = threading.Event(), threading.Event(), threading.Event(), threading.Event()
    turns = DeviceTurns(tmp_path, lambda _text: waits.set())

    def run() -> None:
        with turns.of("cuda:0", first):
            had.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert waits.wait(60)
    second.set()
    with pytest.raises(Cancelled, match="cancelled while it waited for cuda:0"), turns.of("cuda:0", second):
        pass
    assert not had.is_set()
    elsewhere.close()
    thread.join(60)
    assert had.is_set()
