"""fp16 on a processor is told once in a run that loads a model, and not otherwise."""

from typing import Any

import pytest

from latentloom.api import Session
from latentloom.engine.settings import load_settings


def warnings(tmp_path: Any, dtype: str, node: str) -> list[str]:
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "shapes"}},
        "read": {"type": "CLIPEncode", "inputs": {"clip": {"node": "load", "output": "clip"}, "text": "a red circle"}},
        "more": {"type": "CLIPEncode", "inputs": {"clip": {"node": "load", "output": "clip"}, "text": "a circle"}},
    }
    output = "model" if node == "load" else "conditioning"
    ends = [
        {"name": id, "from": {"node": id, "output": output}} for id in ([node] if node == "load" else ["read", "more"])
    ]
    settings = load_settings({"device": "cpu", "dtype": dtype}, {"LATENTLOOM_HOME": str(tmp_path)})
    events: list[Any] = []
    with Session(settings) as session:
        session.run({"format": "latentloom/1", "nodes": nodes, "outputs": ends}, on_event=events.append)
    return [f"{event.code}: {event.message}" for event in events if event.name == "node_warning"]


TEXT = "slow_dtype: fp16 is very slow on a CPU: try --dtype fp32 or bf16"


@pytest.mark.parametrize(
    ("dtype", "node", "expected"), [("fp16", "read", [TEXT]), ("fp32", "read", []), ("fp16", "load", [])]
)
def test_a_slow_type_is_told_once(dtype: str, node: str, expected: list[str], tmp_path: Any) -> None:
    assert warnings(tmp_path, dtype, node) == expected
