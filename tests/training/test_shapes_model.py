"""The shipped model `shapes`."""

from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from latentloom.training.detector import Detector
from latentloom.training.export import load_model
from latentloom.training.pictures import Painter
from latentloom.training.sample import Model
from latentloom.training.scenes import test_scenes as held_out_scenes
from latentloom.training.scenes import training_scenes, words
from latentloom.training.score import score, score_scenes, summarise
from latentloom.training.vae import round_trip

FOLDER = Path(str(files("latentloom.nodes"))) / "embedded" / "checkpoints" / "shapes"


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(FOLDER)


def test_the_folder_is_small_and_complete() -> None:
    sizes = [file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(sizes) <= 12_000_000
    assert (FOLDER / "README.md").exists()


def test_diffusers_loads_the_folder() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER, local_files_only=True, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline(
        "a large red circle", 128, 128, num_inference_steps=2, generator=torch.Generator().manual_seed(1)
    ).images[0]
    assert picture.size == (128, 128)


def test_its_tokenizer_knows_the_grammar(model: Model) -> None:
    assert all(len(model.captions.tokenizer.tokenize(word)) == 1 for word in words())


def test_the_end_mark_pools_the_caption(model: Model) -> None:
    tokens = model.captions.tokens(["a red circle", "a large red circle above a small blue square"])
    output = model.encoder(tokens)
    end = (tokens == model.captions.tokenizer.eos_token_id).int().argmax(dim=1)
    assert torch.equal(output.pooler_output, output.last_hidden_state[torch.arange(2), end])


def test_the_vae_keeps_what_the_detector_reads(model: Model) -> None:
    rng, painter, detector = np.random.default_rng(11), Painter(), Detector()
    drawn = list(islice(training_scenes(rng), 200))
    again = [round_trip(model.vae, [painter.paint(scene, rng)])[0] for scene in drawn]
    right = [detector.judge(picture / 255, scene).right for picture, scene in zip(again, drawn, strict=True)]
    assert np.mean(right) >= 0.99


def test_it_follows_held_out_captions(model: Model) -> None:
    scenes = held_out_scenes(1000, 1, 30) + held_out_scenes(1000, 2, 30)
    assert summarise(score_scenes(model, scenes, cfg=5)).right >= 0.94


@pytest.mark.full
def test_it_scores_what_its_page_says(model: Model) -> None:
    scores = score(model, cfg=5)
    assert scores["one object"].right >= 0.97
    assert scores["two objects"].right >= 0.915
