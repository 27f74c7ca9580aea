"""The Python door, with the built-in nodes that need no model."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from latentloom import api
from latentloom.engine.document.workflow import RESERVED_INPUTS
from latentloom.engine.errors import Cancelled, MissingFileError, SettingsError, WorkflowError
from latentloom.engine.settings import load_settings

SCALE = {
    "format": "latentloom/1",
    "name": "scale",
    "inputs": [
        {"name": "image", "to": [{"node": "load", "input": "image"}]},
        {"name": "width", "to": [{"node": "scale", "input": "width"}]},
    ],
    "outputs": [{"name": "image", "from": {"node": "save", "output": "images"}}],
    "nodes": {
        "load": {"type": "LoadImage"},
        "scale": {
            "type": "ImageScale",
            "inputs": {"image": {"node": "load", "output": "image"}, "width": 32, "height": 16},
        },
        "save": {"type": "SaveImage", "inputs": {"images": {"node": "scale", "output": "image"}}},
    },
}


@pytest.fixture
def session(tmp_path: Path) -> Any:
    with api.Session(load_settings({"device": "cpu"}, {"LATENTLOOM_HOME": str(tmp_path / "home")})) as made:
        yield made


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.new("RGB", (64, 32), (255, 0, 0)).save(path)
    return path


def test_run_takes_named_inputs_and_gives_outputs_files_and_reports(session: api.Session, picture: Path) -> None:
    result = session.run(SCALE, image=picture, width=48)
    assert result["image"].shape == (1, 16, 48, 3)
    assert [file.parent for file in result.files] == [session.settings.output]
    assert Image.open(result.files[0]).size == (48, 16)
    assert result.pictures[0].getpixel((0, 0)) == (255, 0, 0)
    assert {id: node.status for id, node in result.nodes.items()} == {"load": "done", "scale": "done", "save": "done"}


def test_out_changes_the_folder_and_the_second_run_is_cached(
    session: api.Session, picture: Path, tmp_path: Path
) -> None:
    session.run(SCALE, image=str(picture))
    result = session.run(SCALE, image=str(picture), out=tmp_path / "elsewhere")
    assert [node.status for node in result.nodes.values()] == ["cached", "cached", "done"]
    assert result.files[0].parent == tmp_path / "elsewhere"


def test_a_path_is_copied_by_hash_so_that_the_document_outlives_the_file(session: api.Session, picture: Path) -> None:
    result = session.run(SCALE, image=picture)
    name = result.workflow.nodes["load"].inputs["image"]
    picture.unlink()
    assert name.startswith("by-hash/")
    assert session.run(result.workflow).nodes["load"].status == "cached"


def test_a_saved_picture_runs_again(session: api.Session, picture: Path) -> None:
    first = session.run(SCALE, image=picture, width=40)
    again = session.run(first.files[0])
    assert again["image"].shape == first["image"].shape


def test_without_metadata_a_picture_carries_its_colour_space_alone(picture: Path, tmp_path: Path) -> None:
    with api.Session(load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)}), metadata=False) as session:
        result = session.run(SCALE, image=picture)
    assert Image.open(result.files[0]).info.keys() == {"icc_profile"}


def test_stream_yields_the_events_and_then_the_result(session: api.Session, picture: Path) -> None:
    running = session.stream(SCALE, image=picture)
    events = list(running)
    assert [event.number for event in events] == list(range(len(events)))
    assert (events[0].name, events[-1].name) == ("run_started", "run_finished")
    assert running.result()["image"].shape == (1, 16, 32, 3)


def test_a_cancelled_stream_ends_and_its_result_raises(session: api.Session, picture: Path) -> None:
    running = session.stream(SCALE, image=picture)
    running.cancel()
    last = list(running)[-1]
    if last.status == "cancelled":
        with pytest.raises(Cancelled):
            running.result()
    else:  # the run was through before the cancel came
        assert last.status == "done"


def test_validate_lists_problems_and_names_the_input_to_give(session: api.Session) -> None:
    (problem,) = session.validate(SCALE)
    assert str(problem) == (
        "node 'load', input 'image': needs a value (expected a value)\n  hint: set the workflow's input 'image'"
    )
    assert session.validate("txt2img", steps=0)[0].code == "out_of_range"
    assert session.validate("txt2img") == []


def test_an_unknown_input_is_refused_with_the_nearest(session: api.Session) -> None:
    with pytest.raises(WorkflowError) as caught:
        session.run("txt2img", promt="a red circle")
    assert str(caught.value) == (
        "the workflow has no input 'promt' (expected prompt, negative, seed, steps, cfg, sampler, schedule, width, "
        "height, batch, checkpoint). Did you mean 'prompt'?"
    )


def test_an_unknown_workflow_is_refused_with_the_nearest(session: api.Session) -> None:
    with pytest.raises(MissingFileError) as caught:
        session.run("txt2imf")
    assert caught.value.problem.nearest == "txt2img"


def test_explain_tells_hits_and_changes(session: api.Session, picture: Path) -> None:
    before = session.explain(SCALE, image=picture)
    session.run(SCALE, image=picture)
    after = session.explain(SCALE, image=picture)
    changed = session.explain(SCALE, image=picture, width=40)
    assert [e.status for e in before] == ["run", "unknown", "run"]
    assert [e.status for e in after] == ["hit", "hit", "run"]
    assert [e.reason for e in changed][1] == "changed: input 'width'"


def test_open_session_refuses_a_device_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTLOOM_HOME", str(tmp_path))
    with (
        api.open_session(device="cuda:7") as session,
        pytest.raises(SettingsError, match="there is no device 'cuda:7'"),
    ):
        session.run("txt2img")


@pytest.mark.parametrize("method", [api.Session.run, api.Session.stream])
def test_no_workflow_input_may_be_called_like_an_argument_of_run(method: Any) -> None:
    own = {name.replace("_", "-") for name in inspect.signature(method).parameters} - {"self", "inputs"}
    assert own <= set(RESERVED_INPUTS)


def test_every_shipped_workflow_is_listed(session: api.Session) -> None:
    assert {"txt2img", "img2img", "inpaint"} <= set(api.workflow_names())
