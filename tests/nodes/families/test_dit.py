"""The family of `shapes-flow`, which ships: what is taken for one, and how it reads a prompt."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latentloom.api import Session
from latentloom.api.worker_queries import WorkerQueries
from latentloom.engine.settings import load_settings

EMBEDDED = Path(__file__).parents[3] / "nodes" / "embedded" / "checkpoints"
FOLDER = EMBEDDED / "shapes-flow"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})) as made:
        yield made


def changed(folder: Path, file: str, **values: Any) -> Path:
    """A copy of the model whose configuration differs."""
    shutil.copytree(FOLDER, folder)
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**config, **values}))
    return folder


def test_its_facts_are_those_of_its_configurations(session: Session, tmp_path: Path) -> None:
    folder = changed(tmp_path / "other", "scheduler/scheduler_config.json", shift=3.0)
    kind, facts = session.engine.recognise(folder) or ("", {})
    assert (kind, facts["about"]) == ("dit", "DiT with a CLIP (folder)")
    unet, vae = facts["unet"], json.loads((FOLDER / "vae" / "config.json").read_text())
    assert (unet["shift"], unet["scaling_factor"], unet["preview"]) == ({"shift": 3.0}, vae["scaling_factor"], True)
    assert (unet["size"], unet["context"], facts["clip"]["width"]) == (16, 128, 128)


def test_one_that_was_trained_otherwise_is_not_taken_for_one(session: Session, tmp_path: Path) -> None:
    folder = changed(tmp_path / "other", "scheduler/scheduler_config.json", _class_name="DDIMScheduler")
    assert session.engine.recognise(folder) is None


def test_its_prompts_are_counted_by_its_own_tokenizer(session: Session) -> None:
    found = WorkerQueries(session, lambda _: None).tokenize(
        "a red circle", "models/checkpoints", "shapes-flow", "plain", 20
    )
    assert (found["length"], [token["known"] for token in found["parts"][0]["tokens"]]) == (32, [True] * 3)


def test_the_parts_that_it_shares_with_shapes_are_the_same_files() -> None:
    shared = [
        path.relative_to(FOLDER) for part in ("vae", "text_encoder", "tokenizer") for path in (FOLDER / part).iterdir()
    ]
    assert all((FOLDER / path).read_bytes() == (EMBEDDED / "shapes" / path).read_bytes() for path in shared)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 8_000_000
