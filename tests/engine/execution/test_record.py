"""The seeds that a saved picture's record tells."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL.PngImagePlugin import PngImageFile

from latentloom.api import Session, load_workflow
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import Target
from latentloom.engine.document.writing import to_json
from latentloom.engine.files.pictures import RECORD_CHUNK
from latentloom.engine.settings import load_settings


def records(result: Any) -> list[dict[str, Any]]:
    return [json.loads(PngImageFile(file).text[RECORD_CHUNK]) for file in result.files]


@pytest.fixture
def session(tmp_path: Path) -> Any:
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


def test_each_picture_of_a_batch_records_its_own_seed(session: Session) -> None:
    found = records(session.run("txt2img", seed=7, batch=3, steps=1))
    assert [(record["item"], record["seed"], record["seeds"]) for record in found] == [
        (i, 7 + i, {"sample": 7 + i}) for i in range(3)
    ]


def test_a_seed_that_comes_over_an_edge_counts_items_too(session: Session) -> None:
    document = to_json(load_workflow("txt2img"))
    document["inputs"] = []
    document["nodes"]["number"] = {"type": "SeedNumber", "inputs": {"seed": 40}}
    document["nodes"]["sample"]["inputs"] |= {"seed": {"node": "number", "output": "value"}, "steps": 1}
    document["nodes"]["empty"]["inputs"]["batch"] = 2
    found = records(session.run(document))
    assert [record["seeds"] for record in found] == [{"number": 40}, {"number": 41}]


def test_under_the_comfyui_rule_every_picture_has_the_one_seed(session: Session) -> None:
    workflow = from_json(to_json(load_workflow("txt2img")))
    workflow = workflow.with_values({Target("sample", "noise_rule"): "comfyui"})
    found = records(session.run(workflow, seed=7, batch=2, steps=1))
    assert [record["seed"] for record in found] == [7, 7]


def test_the_record_names_model_device_dtype_and_versions(session: Session) -> None:
    (record,) = records(session.run("txt2img", seed=1, steps=1))
    assert (record["device"], record["dtype"], record["cache_hits"]) == ("cpu", "fp32", 0)
    assert list(record["models"]) == ["shapes"]
    assert len(record["models"]["shapes"]) == 64
    assert {"torch", "diffusers", "transformers", "latentloom", "python"} <= record.keys()
    assert set(record["seconds"]) >= {"sample", "decode"}
