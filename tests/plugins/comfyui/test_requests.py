"""Requests of AUTOMATIC1111's web API as workflows: ControlNet units, second seeds, LoRAs in saved workflows."""

from collections.abc import Iterator
from typing import Any

import pytest

from latentloom.api import Session
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import Edge
from latentloom.engine.settings import load_settings
from latentloom.plugins.comfyui.generation import Control, Parameters, document_of, with_loras
from latentloom.plugins.comfyui.report import Report
from latentloom.plugins.comfyui.sdapi import Request
from latentloom.plugins.comfyui.sdapi_control import control_of, units_of


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session(load_settings({}, {"LATENTLOOM_HOME": str(tmp_path_factory.mktemp("requests"))})) as made:
        yield made


def test_units_act_one_after_the_other(session: Session) -> None:
    script = {"args": [
        {"model": "canny [0123abcd]", "image": "1", "module": "canny", "weight": 0.5, "guidance_end": 0.8,
         "resize_mode": "Resize and Fill", "pixel_perfect": True, "control_mode": 2},
        {"model": "None", "image": "2"},
        {"model": "depth", "input_image": "3", "processor_res": 512},
    ]}  # fmt: skip
    request = Request({"alwayson_scripts": {"controlnet": script, "seed": {"args": [1]}, "empty": {"args": []}}})
    units, unused = units_of(request)
    assert unused == ["alwayson_scripts.seed"]
    made = [control_of(unit, "a.png", ("sd/canny.safetensors", "depth.safetensors")) for unit in units]
    assert made == [
        (Control("a.png", "sd/canny.safetensors", 0.5, 0.0, 0.8, "pad", "CannyEdges"),
         ["alwayson_scripts.controlnet.control_mode"]),
        (Control("a.png", "depth.safetensors"), []),
    ]  # fmt: skip
    parameters = Parameters("", model="shapes", controls=[control for control, _ in made])
    document = document_of(parameters, Report(""))
    nodes = from_json(document).nodes
    assert nodes["control-1"].inputs["image"] == Edge("control-1-prepared", "image")
    assert nodes["control-2"].inputs["positive"] == Edge("control-1", "positive")
    assert nodes["sample"].inputs["negative"] == Edge("control-2", "negative")
    assert {problem.code for problem in session.validate(document)} == {"missing_file"}


def test_two_noises_are_mixed(session: Session) -> None:
    document = document_of(Parameters("", model="shapes", seed=3, variation=(4, 0.25)), Report(""))
    assert session.validate(document) == []
    nodes = from_json(document).nodes
    assert (nodes["noise"].type, nodes["noise"].inputs["amount"]) == ("NoiseBlend", 0.25)
    assert nodes["sample"].inputs["noise"] == Edge("noise", "latent")


def test_loras_go_behind_the_checkpoint_of_a_workflow(session: Session) -> None:
    document: dict[str, Any] = document_of(Parameters("", model="shapes"), Report(""))
    made = with_loras(document, [("a.safetensors", 0.5), ("b.safetensors", 1.0)])
    assert made is not None
    nodes = from_json(made).nodes
    assert nodes["checkpoint-lora-1"].inputs["model"] == Edge("checkpoint", "model")
    assert nodes["checkpoint-lora-2"].inputs["clip"] == Edge("checkpoint-lora-1", "clip")
    assert nodes["sample"].inputs["model"] == Edge("checkpoint-lora-2", "model")
    assert nodes["positive"].inputs["clip"] == Edge("checkpoint-lora-2", "clip")
    assert nodes["decode"].inputs["vae"] == Edge("checkpoint", "vae")
    assert {problem.code for problem in session.validate(made)} == {"missing_file"}
    assert with_loras({"nodes": {}}, [("a", 1.0)]) is None
