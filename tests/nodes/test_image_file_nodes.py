"""Pictures read, shown and saved, through a session."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from drawings import batch_node, edge, names, noise, put, workflow
from PIL import Image as Pil
from profiles import DISPLAY_P3, rgb_profile

from latentloom.api import Session, load_workflow
from latentloom.engine.errors import NodeError
from latentloom.engine.events import FileSaved, NodePreview, NodeWarning
from latentloom.engine.failpoints import POINTS
from latentloom.engine.files.encoding import SUFFIXES
from latentloom.engine.files.pictures import (
    RECORD_CHUNK,
    WORKFLOW_CHUNK,
    as_rgb,
    encode_png,
    read_making,
    read_picture,
    read_pixels,
)
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Distribution, Registration
from latentloom.plugins.discovery import discover

SAVE_POINTS = [point for point in POINTS if point.startswith("save.")]


def saving(template="{name}-{counter}", name="test", picture="cat.png"):
    """LoadImage -> SaveImage."""
    nodes = {
        "load": ("LoadImage", {"image": picture}),
        "save": ("SaveImage", {"images": edge("load"), "name": template}),
    }
    return workflow(nodes, name)


# Reading pictures


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"no picture at all"])
def test_a_file_that_is_no_picture_fails_at_its_node(data, plain):
    put(plain, "cat.png").write_bytes(data)
    with pytest.raises(NodeError) as caught:
        plain.run(saving())
    assert caught.value.problem.node == "load"
    assert caught.value.problem.message == "LoadImage: 'cat.png' is not a picture that can be read"
    assert names(plain.settings.output) == []


def test_half_a_picture_fails_at_its_node(plain):
    path = put(plain, "cat.png", noise(1, 64, 64))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(NodeError, match=r"LoadImage: 'cat\.png' is not a picture that can be read"):
        plain.run(saving())


@pytest.mark.parametrize("name", ["../cat.png", "/etc/passwd", "C:cat.png", "a\\cat.png", "x/../../cat.png"])
def test_a_picture_outside_of_the_input_folder_is_a_problem(name, plain):
    put(plain, "cat.png")
    assert [(p.code, p.node, p.input) for p in plain.validate(saving(picture=name))] == [
        ("path_refused", "load", "image")
    ]


def test_a_missing_picture_is_a_problem_with_the_nearest_name(plain):
    put(plain, "pets/cat.png")
    (problem,) = plain.validate(saving(picture="pets/cats.jpg"))
    assert (problem.code, problem.node, problem.input) == ("missing_file", "load", "image")
    assert problem.message == "there is no picture 'pets/cats.jpg'"
    assert problem.nearest == "pets/cat.png"


def test_an_opaque_picture_has_an_empty_mask(plain):
    put(plain, "cat.png", noise(1, 6, 8))
    nodes = {"load": ("LoadImage", {"image": "cat.png"})}
    run = plain.run(workflow(nodes, image=edge("load"), mask=edge("load", "mask")))
    assert np.array_equal(run["image"].numpy(), noise(1, 6, 8).numpy())
    assert (run["mask"].shape, run["mask"].numpy().any()) == ((1, 6, 8), False)


def test_what_is_transparent_is_masked(plain):
    put(plain, "cat.png", noise(1, 6, 8, 4))
    nodes = {"load": ("LoadImage", {"image": "cat.png"})}
    run = plain.run(workflow(nodes, image=edge("load"), mask=edge("load", "mask")))
    assert np.array_equal(run["image"].numpy(), noise(1, 6, 8, 4).numpy())
    assert np.array_equal(run["mask"].numpy(), 1 - noise(1, 6, 8, 4).numpy()[..., 3])


def test_a_picture_that_changed_on_the_disk_is_read_again(plain):
    nodes = {"load": ("LoadImage", {"image": "cat.png"})}
    for seed in (1, 2):
        put(plain, "cat.png", noise(seed=seed))
        assert np.array_equal(plain.run(workflow(nodes, image=edge("load")))["image"].numpy(), noise(seed=seed).numpy())


@pytest.mark.parametrize("form", [str, lambda path: path], ids=["text", "path"])
def test_a_picture_given_by_its_path_is_copied_into_the_input_folder(form, plain, tmp_path):
    (tmp_path / "mine.png").write_bytes(encode_png(noise(seed=5).numpy()[0]))
    document = workflow({"load": ("LoadImage", {})}, image=edge("load"))
    document["inputs"] = [{"name": "picture", "to": [{"node": "load", "input": "image"}]}]
    run = plain.run(document, picture=form(tmp_path / "mine.png"))
    assert np.array_equal(run["image"].numpy(), noise(seed=5).numpy())
    (copy,) = names(plain.settings.input)
    assert run.workflow.nodes["load"].inputs["image"] == copy


# Saving pictures


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "C:x", "a\\x", "a/../../x", "a\nb"])
def test_a_name_outside_of_the_output_folder_fails_at_its_node(name, plain, tmp_path):
    put(plain, "cat.png")
    with pytest.raises(NodeError) as caught:
        plain.run(saving(name))
    assert caught.value.problem.node == "save"
    assert caught.value.problem.message.startswith("SaveImage: the name ")
    assert not list(tmp_path.rglob("x*.png"))


def test_a_symlink_out_of_the_output_folder_is_not_followed(plain, tmp_path):
    put(plain, "cat.png")
    (tmp_path / "elsewhere").mkdir()
    plain.settings.output.mkdir()
    (plain.settings.output / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NodeError, match="SaveImage: the name points outside its folder"):
        plain.run(saving("link/x"))
    assert names(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("length", [0, 201])
def test_a_name_of_an_impossible_length_is_a_problem(length, plain):
    put(plain, "cat.png")
    (problem,) = plain.validate(saving("x" * length))
    assert (problem.code, problem.input, problem.expected) == ("out_of_range", "name", "1..200 characters")


def test_a_workflow_whose_name_is_a_path_saves_in_the_output_folder(plain):
    put(plain, "cat.png")
    (path,) = plain.run(saving(name="../../../etc/pass wd\n")).files
    assert path.parent == plain.settings.output
    assert path.name == "_.._.._etc_pass wd_-00001.png"


def test_a_file_where_the_output_folder_should_be_is_told(plain):
    put(plain, "cat.png")
    plain.settings.output.write_bytes(b"")
    with pytest.raises(NodeError) as caught:
        plain.run(saving())
    assert caught.value.problem.message == "SaveImage: the file could not be saved: File exists"
    assert caught.value.problem.hint == "free some space or choose another folder with --out"


def test_an_output_folder_that_is_read_only_is_told(plain, monkeypatch):
    put(plain, "cat.png")
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", "save.claimed:readonly")
    with pytest.raises(NodeError, match="SaveImage: the file could not be saved: Read-only file system"):
        plain.run(saving())
    assert names(plain.settings.output) == []


@pytest.fixture
def with_batches(tmp_path):
    """A session that has the node test/Batch too."""
    plugin = Registration(Distribution("test", "1", "test", "code"))
    plugin.node(batch_node)
    registry = discover().registry
    registry.add(plugin)
    with Session(load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)}), registry) as made:
        yield made


def test_every_item_of_a_batch_gets_a_file_that_knows_its_place(with_batches):
    nodes = {
        "make": ("test/Batch", {"count": 3, "seed": 9}),
        "save": ("SaveImage", {"images": edge("make"), "name": "{seed}-{item}-{counter:2}"}),
    }
    files = with_batches.run(workflow(nodes)).files
    assert [file.name for file in files] == ["9-0-01.png", "9-1-01.png", "9-2-01.png"]
    assert [read_making(file)[1]["item"] for file in files] == [0, 1, 2]
    for file, pixels in zip(files, noise(3, seed=9).numpy(), strict=True):
        assert np.array_equal(as_rgb(read_picture(file)), pixels)


def test_a_cancelled_batch_keeps_the_file_that_is_whole_and_makes_no_more(with_batches):
    nodes = {"make": ("test/Batch", {"count": 50, "seed": 9}), "save": ("SaveImage", {"images": edge("make")})}
    cancelled = threading.Event()
    outcome = with_batches.run_job(
        with_batches.prepare(workflow(nodes)),
        listen=lambda event: cancelled.set() if isinstance(event, FileSaved) else None,
        cancelled=cancelled,
    )
    assert outcome.status == "cancelled"
    assert names(with_batches.settings.output) == ["test-00001.png"]


def test_every_run_saves_anew_and_overwrites_nothing(plain):
    put(plain, "cat.png")
    files = [file for _ in range(3) for file in plain.run(saving()).files]
    assert [file.name for file in files] == [f"test-{n:05d}.png" for n in (1, 2, 3)]
    assert names(plain.settings.output) == [file.name for file in files]


def test_a_template_names_workflow_node_seed_item_and_counter(plain):
    put(plain, "cat.png")
    (path,) = plain.run(saving("{node}/{name}_{seed}_{item}_{counter:3}")).files
    assert path.relative_to(plain.settings.output).as_posix() == "save/test_0_0_001.png"


def test_a_saved_file_is_reported_under_its_final_name(plain):
    put(plain, "cat.png")
    events = []
    run = plain.run(saving(), on_event=events.append)
    assert [event.path for event in events if isinstance(event, FileSaved)] == [str(run.files[0])]


def test_a_saved_picture_holds_the_pixels_and_the_making(plain):
    put(plain, "cat.png", noise(1, 6, 8, 4))
    run = plain.run(saving())
    assert np.array_equal(as_rgb(read_picture(run.files[0]))[None], noise(1, 6, 8, 4).numpy())
    assert {WORKFLOW_CHUNK, RECORD_CHUNK} <= Pil.open(run.files[0]).info.keys()
    text, record = read_making(run.files[0])
    assert json.loads(text)["nodes"]["save"]["inputs"]["name"] == "{name}-{counter}"
    assert (record["format"], record["node"], record["item"]) == ("latentloom-record/1", "save", 0)


@pytest.mark.parametrize("format", SUFFIXES)
def test_a_picture_of_every_format_runs_again(format, plain):
    put(plain, "cat.png", noise(1, 32, 32))
    document = saving()
    document["nodes"]["save"]["inputs"] |= {"format": format, "quality": 95}
    (path,) = plain.run(document).files
    assert path.name == f"test-00001{SUFFIXES[format]}"
    text, record = read_making(path)
    assert json.loads(text)["nodes"]["save"]["inputs"]["format"] == format
    assert (record["node"], record["item"]) == ("save", 0)
    again = plain.run(load_workflow(path)).files[0]
    assert again.name == f"test-00002{SUFFIXES[format]}"
    assert np.array_equal(read_pixels(again).pixels, read_pixels(path).pixels)


def test_a_profile_is_applied_and_one_that_is_broken_is_told(plain):
    path = put(plain, "cat.png")
    picture = Pil.new("RGB", (4, 4), (200, 110, 60))
    nodes = {"load": ("LoadImage", {"image": "cat.png"})}
    for profile, colour, warned in ((rgb_profile(DISPLAY_P3, 2.2), 215, []), (b"broken", 200, ["colour_profile"])):
        picture.save(path, icc_profile=profile)
        events = []
        run = plain.run(workflow(nodes, image=edge("load")), on_event=events.append)
        assert run["image"].numpy()[0, 0, 0, 0] * 255 == pytest.approx(colour, abs=1)
        assert [event.code for event in events if isinstance(event, NodeWarning)] == warned


def test_a_saved_picture_runs_again(plain):
    put(plain, "cat.png")
    (path,) = plain.run(saving()).files
    again = plain.run(load_workflow(path))
    assert again.files[0].name == "test-00002.png"
    assert np.array_equal(as_rgb(read_picture(again.files[0])), as_rgb(read_picture(path)))


def test_what_was_saved_can_be_used_further(plain):
    put(plain, "cat.png")
    nodes = {
        "load": ("LoadImage", {"image": "cat.png"}),
        "save": ("SaveImage", {"images": edge("load")}),
        "crop": ("ImageCrop", {"image": edge("save", "images"), "width": 2, "height": 3}),
    }
    assert plain.run(workflow(nodes, result=edge("crop")))["result"].shape == (1, 3, 2, 3)


def test_a_preview_is_shown_and_nothing_is_written(plain):
    put(plain, "cat.png")
    nodes = {"load": ("LoadImage", {"image": "cat.png"}), "look": ("PreviewImage", {"images": edge("load")})}
    shown = [event.image for event in plain.stream(workflow(nodes)) if isinstance(event, NodePreview)]
    assert [image.shape for image in shown] == [(1, 6, 8, 3)]
    assert names(plain.settings.output) == []


SCRIPT = """
import json, sys
from latentloom.api import Session
from latentloom.engine.settings import load_settings
with Session(load_settings({}, {"LATENTLOOM_HOME": sys.argv[1]})) as session:
    print(*session.run(json.loads(sys.argv[2])).files)
assert "torch" not in sys.modules and "diffusers" not in sys.modules
"""


def in_a_new_process(session, document, **environment):
    command = [sys.executable, "-c", SCRIPT, str(session.settings.data.parent), json.dumps(document)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_a_new_process_saves_a_picture_without_torch(plain):
    put(plain, "cat.png")
    done = in_a_new_process(plain, saving())
    assert (done.returncode, done.stderr, names(plain.settings.output)) == (0, "", ["test-00001.png"])


@pytest.mark.parametrize("point", SAVE_POINTS)
def test_a_run_that_is_killed_while_it_saves_leaves_nothing_half_done(point, plain):
    put(plain, "cat.png")
    assert in_a_new_process(plain, saving("a/x"), LATENTLOOM_FAILPOINT=f"{point}:kill").returncode == -9
    before = list(plain.settings.output.glob("a/*"))
    assert all(as_rgb(read_picture(path)).shape == (6, 8, 3) for path in before)
    plain.run(saving("a/x"))
    assert names(plain.settings.output) == [f"a/x-0000{n + 1}.png" for n in range(len(before) + 1)]
    assert len(before) == (point == "save.renamed")
