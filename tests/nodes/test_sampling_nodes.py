"""The sampling nodes on a random UNet: what must hold whatever the weights are."""

import shutil
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentloom.api import Session
from latentloom.engine import Vae
from latentloom.engine.errors import BadValueError, NodeError, WorkflowError
from latentloom.engine.events import NodePreview, NodeProgress
from latentloom.engine.settings import load_settings
from latentloom.engine.types import values
from latentloom.nodes.vae import vae_encode

BASE = {
    "checkpoint": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "tiny"}},
    "positive": {
        "type": "CLIPEncode",
        "inputs": {"clip": {"node": "checkpoint", "output": "clip"}, "text": "a red circle"},
    },
    "negative": {"type": "CLIPEncode", "inputs": {"clip": {"node": "checkpoint", "output": "clip"}, "text": ""}},
    "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64, "batch": 1}},
}
WIRES = {
    "model": {"node": "checkpoint", "output": "model"},
    "positive": {"node": "positive", "output": "conditioning"},
    "negative": {"node": "negative", "output": "conditioning"},
    "latent": {"node": "empty", "output": "latent"},
}


def sampler(type: str = "KSampler", **inputs: Any) -> dict[str, Any]:
    return {"type": type, "inputs": {**WIRES, "steps": 4, "seed": 5, **inputs}}


def document(nodes: dict[str, Any], output: str = "sample", port: str = "latent", **base: Any) -> dict[str, Any]:
    every = {**{id: {**node, "inputs": {**node["inputs"], **base.get(id, {})}} for id, node in BASE.items()}, **nodes}
    return {
        "format": "latentloom/1",
        "name": "test",
        "nodes": every,
        "outputs": [{"name": "out", "from": {"node": output, "output": port}}],
    }


def sample(session: Session, base: dict[str, Any] | None = None, **inputs: Any) -> np.ndarray:
    return session.run(document({"sample": sampler(**inputs)}, **(base or {})))["out"].numpy()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(session: Session) -> None:
    first = session.run(document({"sample": sampler()}), cache=False)["out"].numpy()
    again = session.run(document({"sample": sampler()}), cache=False)["out"].numpy()
    other = sample(session, seed=6)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=0.1)


@pytest.mark.parametrize("name", ["euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde"])
def test_item_i_of_a_batch_is_the_picture_of_seed_plus_i(session: Session, name: str) -> None:
    batch = sample(session, {"empty": {"batch": 3}}, seed=40, sampler=name)
    alone = [sample(session, seed=40 + i, sampler=name)[0] for i in range(3)]
    assert distance(batch, np.stack(alone)) < 1e-4


def test_under_the_comfyui_rule_a_batch_is_one_draw(session: Session) -> None:
    batch = sample(session, {"empty": {"batch": 2}}, seed=40, noise_rule="comfyui")
    alone = sample(session, seed=41, noise_rule="comfyui")
    assert np.abs(batch[1] - alone[0]).max() > 0.5


def test_denoise_zero_returns_the_latent_and_less_denoise_keeps_more_of_it(session: Session) -> None:
    start = sample(session)
    assert np.array_equal(sample(session, denoise=0.0), np.zeros_like(start))
    few, many = (np.abs(sample(session, denoise=d)).mean() for d in (0.2, 0.9))
    assert few < many


def test_cfg_one_ignores_the_negative_and_cfg_zero_the_positive(session: Session) -> None:
    other = {"negative": {"text": "a small blue square"}}
    assert np.array_equal(sample(session, cfg=1.0), sample(session, other, cfg=1.0))
    assert not np.array_equal(sample(session, cfg=3.0), sample(session, other, cfg=3.0))
    changed = {"positive": {"text": "a large green star"}}
    assert np.array_equal(sample(session, cfg=0.0), sample(session, changed, cfg=0.0))


def test_two_advanced_samplers_that_share_the_steps_equal_one(session: Session) -> None:
    whole = sample(session, sampler="euler", steps=6)
    nodes = {
        "first": sampler("KSamplerAdvanced", sampler="euler", steps=6, end_step=3, leftover_noise=True),
        "sample": sampler(
            "KSamplerAdvanced",
            sampler="euler",
            steps=6,
            start_step=3,
            add_noise=False,
            latent={"node": "first", "output": "latent"},
        ),
    }
    shared = session.run(document(nodes))["out"].numpy()
    assert distance(shared, whole) < 1e-5


def test_only_the_masked_part_changes_and_the_rest_is_the_latent_bit_for_bit(session: Session) -> None:
    rng = np.random.default_rng(0)
    session.settings.input.mkdir(parents=True)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(session.settings.input / "picture.png")
    half = np.zeros((64, 64), np.uint8)
    half[:32] = 255
    Image.fromarray(half).save(session.settings.input / "half.png")
    nodes = {
        "picture": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "mask": {"type": "LoadMask", "inputs": {"image": "half.png", "channel": "luminance"}},
        "encode": {
            "type": "VAEEncode",
            "inputs": {"vae": {"node": "checkpoint", "output": "vae"}, "image": {"node": "picture", "output": "image"}},
        },
        "masked": {
            "type": "SetLatentMask",
            "inputs": {"latent": {"node": "encode", "output": "latent"}, "mask": {"node": "mask", "output": "mask"}},
        },
        "sample": sampler(latent={"node": "masked", "output": "latent"}),
    }
    found = session.run(document(nodes))["out"].numpy()
    start = session.run(document(nodes, "encode"))["out"].numpy()
    assert np.array_equal(found[:, :, 4:], start[:, :, 4:])
    assert (found[:, :, :4] != start[:, :, :4]).mean() > 0.9


def test_progress_counts_every_step_and_a_run_that_nobody_watches_makes_no_previews(session: Session) -> None:
    events: list[Any] = []
    session.run(document({"sample": sampler(steps=10)}), on_event=events.append)
    steps = [(e.step, e.total) for e in events if isinstance(e, NodeProgress) and e.node == "sample"]
    assert steps == [(n, 10) for n in range(1, 11)]
    assert not [e for e in events if isinstance(e, NodePreview)]


def test_a_stream_shows_what_the_model_sees_of_the_first_picture(session: Session) -> None:
    events = session.stream(document({"sample": sampler()}, empty={"batch": 2}))
    shown = [event for event in events if isinstance(event, NodePreview)]
    assert shown[0].step == 1
    assert {event.image.shape for event in shown} == {(1, 64, 64, 3)}


def test_previews_never_change_the_result(session: Session) -> None:
    watched = session.stream(document({"sample": sampler()}), cache=False).result()["out"].numpy()
    assert np.array_equal(watched, sample(session))


def test_a_cancelled_run_stops_within_one_step_and_keeps_what_was_done(session: Session) -> None:
    cancelled, seen = threading.Event(), []

    def listen(event: Any) -> None:
        if isinstance(event, NodeProgress) and event.node == "sample":
            seen.append(event.step)
            if event.step == 2:
                cancelled.set()

    job = session.prepare(document({"sample": sampler(steps=50)}))
    outcome = session.run_job(job, listen=listen, cancelled=cancelled)
    assert (outcome.status, seen) == ("cancelled", [1, 2])
    again = session.run(document({"sample": sampler(steps=2)}))
    assert {id for id, node in again.nodes.items() if node.status == "cached"} == {
        "checkpoint",
        "positive",
        "negative",
        "empty",
    }


def test_an_unknown_sampler_is_refused_with_the_nearest_name(session: Session) -> None:
    with pytest.raises(WorkflowError) as caught:
        session.run(document({"sample": sampler(sampler="dpmpp2m")}))
    (problem,) = caught.value.problems
    assert (problem.code, problem.node, problem.input, problem.nearest) == (
        "unknown_choice",
        "sample",
        "sampler",
        "dpmpp_2m",
    )


def test_a_picture_whose_sides_do_not_fit_is_refused_before_the_vae_is_loaded(session: Session) -> None:
    vae = Vae("diffusers", [], {"component": "vae", "downscale": 8})
    with pytest.raises(BadValueError, match=r"the picture's sides are not multiples of 8") as caught:
        vae_encode(None, vae, values.Image(np.zeros((1, 60, 64, 3), np.float32)))
    assert (caught.value.problem.got, caught.value.problem.expected) == ("64x60", "for example 64x56")


def test_the_vae_gives_back_pictures_of_the_size_that_it_was_given(session: Session) -> None:
    nodes = {
        "decode": {
            "type": "VAEDecode",
            "inputs": {"vae": {"node": "checkpoint", "output": "vae"}, "latent": WIRES["latent"]},
        }
    }
    image = session.run(document(nodes, "decode", "image"))["out"]
    assert image.shape == (1, 64, 64, 3)


def test_a_folder_that_lost_its_unet_fails_with_its_name(session: Session, tmp_path: Any, tiny_models: Any) -> None:
    broken = tmp_path / "models" / "checkpoints" / "broken"
    shutil.copytree(tiny_models / "checkpoints" / "tiny", broken)
    (broken / "unet" / "config.json").unlink()
    settings = load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    with Session(settings) as own, pytest.raises(NodeError) as caught:
        own.run(document({"sample": sampler()}, checkpoint={"checkpoint": "broken"}))
    assert "'unet/config.json' of the model cannot be read" in str(caught.value)
    assert caught.value.problem.node == "checkpoint"
