"""The workflows in the box: canonical, complete, laid out, and run with the embedded model."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from latentloom.api import Session, block_names, load_workflow, workflow_names
from latentloom.engine.document.interfaces import node_types, registered, spec_of_node
from latentloom.engine.document.reading import read
from latentloom.engine.document.workflow import Workflow, edges_in
from latentloom.engine.document.writing import to_json, write
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Registration, Registry
from latentloom.engine.types.spec import NodeSpec
from latentloom.plugins.discovery import discover
from latentloom.plugins.snapshots import Snapshots

NAMES = workflow_names()
STEPS = 4

# Width and height of the saved picture, 128 pixels a side unless the workflow is about something else.
SIZES = {
    "cfg-sweep": (688, 166),
    "denoising-steps": (280, 332),
    "edges": (128, 128),
    "flow": (128, 128),
    "forward-noising": (824, 166),
    "hires": (128, 128),
    "img2img": (128, 128),
    "inpaint": (128, 128),
    "inpaint-detail": (128, 128),
    "iterative-upscale": (128, 128),
    "latent-channels": (552, 362),
    "outpaint": (192, 128),
    "prompt-to-prompt": (280, 144),
    "regions": (128, 128),
    "sampler-grid": (824, 956),
    "schedules": (900, 560),
    "seeds": (128, 128),
    "tokens": (396, 440),
    "train-lora": (552, 213),
    "txt2img": (128, 128),
    "upscale": (256, 256),
    "vae-round-trip": (416, 166),
}
NEEDS_FILES = {  # workflows for models that do not ship, and how many files of these they name
    "chroma": 3,
    "flux-dev": 4,
    "flux-fill": 4,
    "flux-kontext": 4,
    "flux-redux": 6,
    "flux-turbo": 5,
    "flux2-dev": 3,
    "flux2-klein": 3,
    "flux2-klein-edit": 3,
    "krea-2": 3,
    "qwen-image": 3,
    "qwen-image-21": 3,
    "qwen-image-21-edit": 3,
    "qwen-image-edit": 3,
    "qwen-image-edit-lightning": 4,
    "qwen-image-lightning": 4,
    "sd3": 4,
    "z-image": 3,
    "z-image-edges": 4,
}
each_workflow = pytest.mark.parametrize("name", NAMES)
each_that_runs = pytest.mark.parametrize("name", sorted(set(NAMES) - NEEDS_FILES.keys()))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The built-in nodes, watched as a plugin's are: one that wrote into an input would fail."""
    home = tmp_path_factory.mktemp("home")
    snapshots = Snapshots(home / "specs")
    builtin = discover(snapshots, only=[]).registry.distributions["builtin"]
    registration = snapshots.read(builtin)
    assert registration is not None
    watched = Registration.from_record(replace(builtin, builtin=False), registration.record())
    flags = load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})
    with Session(flags, Registry([watched])) as made:
        yield made


@pytest.fixture(scope="module")
def pictures(session: Session) -> dict[str, Path]:
    """What the workflows that start from a picture need: a picture of the embedded model's, and a mask."""
    (image,) = session.run("txt2img", steps=STEPS, seed=7).files
    mask = Image.new("L", (128, 128))
    ImageDraw.Draw(mask).rectangle((0, 64, 127, 127), fill=255)
    mask.save(image.with_name("mask.png"))
    return {"image": image, "mask": image.with_name("mask.png")}


def values(workflow: Workflow, pictures: dict[str, Path]) -> dict[str, Any]:
    """A quick run's value for each named input that needs one."""
    quick = {"steps": STEPS, "seed": 7, "at": [0, STEPS - 1], **pictures}
    return {named.name: quick[named.name] for named in workflow.inputs if named.name in quick}


def needed(workflow: Workflow) -> set[str]:
    """The nodes that the named outputs need."""
    found: set[str] = set()
    stack = [named.source.node for named in workflow.outputs]
    while stack:
        id = stack.pop()
        found.add(id)
        stack += [edge.node for value in workflow.nodes[id].inputs.values() for edge in edges_in(value)]
    return found


@pytest.mark.parametrize("path", [*NAMES, *(f"blocks/{name}" for name in block_names())])
def test_its_text_is_canonical(session: Session, path: str) -> None:
    text = (files("latentloom.workflows") / f"{path}.json").read_text(encoding="utf-8")
    assert write(read(text), registered(session.engine.registry)) == text


@each_workflow
def test_nothing_is_wrong_with_it_but_pictures_that_are_not_given(session: Session, name: str) -> None:
    problems = [
        problem for problem in session.validate(name) if name not in NEEDS_FILES or problem.code != "missing_file"
    ]
    assert {problem.code for problem in problems} <= {"missing_input"}
    wanting = {(problem.node, problem.input) for problem in problems}
    named = load_workflow(name).inputs
    assert wanting == {target[:2] for item in named if item.name in ("image", "mask") for target in item.to}


@each_workflow
def test_each_named_input_sets_a_value_that_an_output_needs(session: Session, name: str) -> None:
    workflow = load_workflow(name)
    for node, port, _ in (target for named in workflow.inputs for target in named.to):
        assert node in needed(workflow)
        assert spec_at(session, workflow, node).by_name[port].literal
        assert not list(edges_in(workflow.nodes[node].inputs.get(port)))


@pytest.mark.parametrize("name", [*NAMES, *block_names()])
def test_every_node_has_a_place_and_covers_no_other(session: Session, name: str) -> None:
    workflow = load_workflow(name)
    places = workflow.layout["nodes"]
    assert places.keys() == workflow.nodes.keys()
    boxes = {id: (place["x"], place["y"], *size(session, workflow, id)) for id, place in places.items()}
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        apart = a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
        assert apart, f"{one} covers {other}"


def spec_at(session: Session, workflow: Workflow, id: str) -> NodeSpec:
    node = workflow.nodes[id]
    return spec_of_node(node_types(workflow, session.engine.registry)[node.type].spec, node)


def size(session: Session, workflow: Workflow, id: str) -> tuple[int, int]:
    """The pixels that a node takes in the editor: a title, a line for each port, more for long texts and pictures."""
    spec = spec_at(session, workflow, id)
    tall = {"multiline": 90, "FILE": 220}
    more = sum(tall.get(port.widget or port.kind, 0) for port in spec.inputs)
    return 268, 44 + 28 * (len(spec.inputs) + len(spec.outputs)) + more


def test_the_grid_shows_the_samplers_and_the_plot_every_schedule(session: Session) -> None:
    nodes = load_workflow("sampler-grid").nodes
    decoded = [nodes[edge.node].inputs["latent"].node for edge in edges_in(nodes["grid"].inputs["images"])]
    shown = [nodes[id].inputs["sampler"] for id in decoded]
    known = list(session.engine.registry.extensions("sampler"))
    assert shown == nodes["grid"].inputs["labels"] == known
    schedules = load_workflow("schedules").nodes["plot"].inputs["schedules"]
    assert schedules == list(session.engine.registry.extensions("schedule"))


def test_every_workflow_has_an_expected_size() -> None:
    assert sorted([*SIZES, *NEEDS_FILES]) == NAMES


@pytest.mark.parametrize("name", NEEDS_FILES)
def test_nothing_is_wrong_with_it_but_files_that_its_note_names(session: Session, name: str) -> None:
    workflow = load_workflow(name)
    problems = [problem for problem in session.validate(name) if problem.code != "missing_input"]
    assert [problem.code for problem in problems] == ["missing_file"] * NEEDS_FILES[name]
    (note,) = workflow.layout["notes"]
    named = {target[:2] for item in workflow.inputs for target in item.to}
    for problem in problems:
        assert (problem.node, problem.input) in named
        (line,) = [
            line for line in note["text"].split("\n") if workflow.nodes[problem.node].inputs[problem.input] in line
        ]
        assert " in models/" in line
    (source,) = [line for line in note["text"].split("\n") if line.startswith("Download from huggingface.co: ")]
    assert re.fullmatch(r"([\w.-]+/[\w.-]+( \([^)]+\))?(, |$))+", source.partition(": ")[2])


@each_that_runs
def test_it_runs_with_the_embedded_model(session: Session, pictures: dict[str, Path], name: str) -> None:
    workflow = load_workflow(name)
    result = session.run(name, **values(workflow, pictures))
    assert list(result.outputs) == [named.name for named in workflow.outputs]
    saved = [file for file in result.files if file.suffix != ".safetensors"]
    for file, pixels in zip(saved, result["image"].numpy(), strict=True):
        with Image.open(file) as picture:
            assert picture.size == SIZES[name] == pixels.shape[1::-1]
            assert len(picture.getcolors(2**24) or []) > 10


def test_a_batch_of_seeds_comes_with_its_grid(session: Session) -> None:
    result = session.run("seeds", steps=STEPS, seed=7, batch=4)
    assert (len(result.files), result["grid"].shape) == (4, (1, 280, 280, 3))


@pytest.mark.parametrize("name", block_names())
def test_a_block_lacks_only_what_its_inputs_get_by_edges(session: Session, name: str) -> None:
    problems = session.validate(name)
    named = {target[:2] for item in load_workflow(name).inputs for target in item.to}
    assert {problem.code for problem in problems} == {"missing_input"}
    assert {(problem.node, problem.input) for problem in problems} <= named


SMALL = {"steps": 2, "width": 64, "height": 64}
LOADED = {port: {"node": "checkpoint", "output": port} for port in ("model", "clip", "vae")}
READ = {"positive": {"node": "core", "output": "positive"}, "negative": {"node": "core", "output": "negative"}}
DRAWN = {"image": {"node": "core", "output": "image"}, "mask": {"node": "mask", "output": "mask"}}
WITHOUT_CLIP = {port: LOADED[port] for port in ("model", "vae")}
BLOCKS: dict[str, dict[str, Any]] = {
    "detailer": {**WITHOUT_CLIP, **READ, **DRAWN, **SMALL, "seed": 1, "context": 8, "feather": 0, "grow": 0},
    "hires-pass": {**WITHOUT_CLIP, **READ, "latent": {"node": "core", "output": "latent"}, "steps": 2, "seed": 1},
    "inpaint-crop-stitch": {**LOADED, **DRAWN, **SMALL, "prompt": "a blue star", "seed": 1, "context": 8},
    "text-to-image-core": {**LOADED, **SMALL, "prompt": "a red circle", "seed": 1},
}


def test_every_block_is_run_in_another_workflow(session: Session) -> None:
    assert sorted(BLOCKS) == block_names()
    core = session.run(around("text-to-image-core"))["picture"].numpy()
    larger = session.run(around("hires-pass", width=96, height=80))["picture"].numpy()
    assert (core.shape, larger.shape) == ((1, 64, 64, 3), (1, 80, 96, 3))
    for name in ("detailer", "inpaint-crop-stitch"):
        changed = (session.run(around(name))["picture"].numpy() != core).any(axis=-1)[0]
        assert changed[16:48, 16:48].any()
        assert not changed[:, :12].any()  # what the mask does not cover is kept to the bit


def around(name: str, **inputs: Any) -> Workflow:
    """A workflow that makes a picture with the core and, if another block is meant, changes it with that."""
    used = {"core": "text-to-image-core", "block": name} if name != "text-to-image-core" else {"core": name}
    uses = {
        id: {"type": f"graph/{block}", "version": 1, "inputs": BLOCKS[block] | (inputs if id == "block" else {})}
        for id, block in used.items()
    }
    others = {
        "checkpoint": {"type": "LoadCheckpoint", "version": 1, "inputs": {"checkpoint": "shapes"}},
        "mask": {
            "type": "MaskRectangle",
            "version": 1,
            "inputs": {"width": 64, "height": 64, "x": 16, "y": 16, "box_width": 32, "box_height": 32},
        },
    }
    graphs = {block: to_json(load_workflow(block)) for block in used.values()}
    document = {
        "format": "latentloom/1",
        "nodes": {**others, **uses},
        "graphs": {block: {key: graph[key] for key in graph if key != "format"} for block, graph in graphs.items()},
        "outputs": [{"name": "picture", "from": {"node": list(uses)[-1], "output": "image"}}],
    }
    return load_workflow(document)
