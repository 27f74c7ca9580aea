"""`loom import` and the commands that take another program's workflow."""

import json
from pathlib import Path

import pytest

from latentloom.cli.main import main

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0], "strange": 1}},
}
LINE = "node '2': lost: 'strange' (1) has no counterpart\n"


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATENTLOOM_HOME", str(tmp_path))
    path = tmp_path / "comfy.json"
    path.write_text(json.dumps(GRAPH))
    return path


def test_the_workflow_goes_to_a_new_file_and_the_report_to_stderr(
    graph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = graph.with_name("out.json")
    assert main(["import", str(graph), "-o", str(out)]) == 0
    assert capsys.readouterr() == ("", LINE)
    assert json.loads(out.read_text())["nodes"]["2"]["inputs"] == {"images": {"node": "1", "output": "image"}}
    before = out.read_bytes()
    assert main(["import", str(graph), "-o", str(out)]) == 2
    assert out.read_bytes() == before


def test_a_command_that_takes_a_workflow_takes_comfyui_s_and_says_that_it_changed(
    graph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(graph)]) == 2
    told = capsys.readouterr().err
    assert f"imported from ComfyUI, API format and changed: `loom import {graph}` lists 1 remark\n" in told
    assert "node '1', input 'image'" in told  # the picture is not here


def test_a_workflow_goes_back_as_a_graph(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(graph)]) == 0
    out, told = capsys.readouterr()
    assert json.loads(out) == {
        "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    assert told == ""
