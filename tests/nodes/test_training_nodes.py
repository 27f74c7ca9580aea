"""TrainLora: what it learns, that it goes on to the same bits, that others read its files, and what it refuses."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hearts
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from latentloom.api import Session, load_workflow
from latentloom.engine.document.writing import to_json
from latentloom.engine.errors import NodeError
from latentloom.engine.events import Event, NodeProgress, NodeWarning
from latentloom.engine.settings import load_settings
from latentloom.nodes.families.lora.deltas import changed as delta_of
from latentloom.nodes.learning.batches import Batches
from latentloom.nodes.learning.objective import Noise, Velocity, drawn

SMALL = {"steps": 20, "layers": "attention", "rank": 2, "batch": 2, "rate": 1e-3, "noise_shift": 3.0}
KILLED = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_training_nodes as test
with test.opened(Path(sys.argv[2])) as session:
    test.cancelled_at(session, test.training(**json.loads(sys.argv[3])), 10)
"""


def opened(home: Path, **flags: Any) -> Session:
    settings = load_settings({"device": "cpu", "dtype": "fp32", **flags}, {"LATENTLOOM_HOME": str(home)})
    return Session(settings)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with opened(tmp_path / "home") as made:
        yield made


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def training(checkpoint: str = "shapes", pictures: str = "hearts.zip", **inputs: Any) -> dict[str, Any]:
    """A small training on the five hearts; its LoRA is saved and applied."""
    parts = {name: edge("load", name) for name in ("model", "clip", "vae")}
    both = {name: edge("load", name) for name in ("model", "clip")}
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": checkpoint}},
        "hearts": {"type": "LoadDataset", "inputs": {"folder": pictures, "size": 128}},
        "train": {
            "type": "TrainLora",
            "inputs": {**parts, "dataset": edge("hearts", "dataset"), **SMALL, **inputs},
        },
        "apply": {"type": "ApplyLora", "inputs": {**both, "lora": edge("train", "lora")}},
        "save": {"type": "SaveLora", "inputs": {"lora": edge("train", "lora"), "name": "heart", "dtype": "fp32"}},
    }
    ends = {
        "lora": ("train", "lora"),
        "losses": ("train", "losses"),
        "model": ("apply", "model"),
        "file": ("save", "value"),
    }
    outputs = [{"name": name, "from": edge(*end)} for name, end in ends.items()]
    return {"format": "latentloom/1", "nodes": nodes, "outputs": outputs}


def digest(session: Session, lora: Any) -> str:
    kind = session.engine.registry.type_of("LORA")
    assert kind is not None
    return str(kind.digest(lora))


def trained(session: Session, document: dict[str, Any], events: list[Event] | None = None) -> Any:
    return session.run(document, outputs=["lora"], on_event=(events if events is not None else []).append).outputs[
        "lora"
    ]


def cancelled_at(session: Session, document: dict[str, Any], step: int) -> None:
    cancelled = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, NodeProgress) and event.node == "train" and event.total == 20 and event.step == step:
            cancelled.set()

    job = session.prepare(document, outputs=["lora"])
    assert session.run_job(job, cancelled=cancelled, listen=listen).status == "cancelled"


def steps_of(events: list[Event]) -> list[int]:
    return [e.step for e in events if isinstance(e, NodeProgress) and e.node == "train" and "loss" in e.figures]


def went_on(events: list[Event]) -> bool:
    """Whether the training began in the middle and left no step out; a slow machine keeps earlier steps too."""
    steps = steps_of(events)
    return 1 < steps[0] <= 12 and steps == list(range(steps[0], 21))


# What it learns


def test_a_heart_is_learnt_from_five_pictures_and_nothing_is_forgotten(session: Session) -> None:
    document = to_json(load_workflow("train-lora"))
    document = {**document, "outputs": [{"name": "lora", "from": edge("train", "lora")}]}
    document["nodes"]["train"]["inputs"] |= {"sample_prompts": "", "sample_every": 0}
    events: list[Event] = []
    model = hearts.fused({name: array.tensor() for name, array in trained(session, document, events).tensors.items()})
    right, _ = hearts.concept(model, 24, 12)
    known = hearts.prior(model, 24, 12)
    assert right >= 0.8 and known >= 0.85, (right, known)
    figures = [e.figures for e in events if isinstance(e, NodeProgress) and e.figures]
    assert figures[-1]["loss"] < figures[5]["loss"] / 2


# Going on


def test_ten_and_ten_steps_are_twenty_to_the_bit_over_a_cancel_and_over_a_kill(tmp_path: Path) -> None:
    document = training(sample_prompts="a small heart", sample_every=15)
    with opened(tmp_path / "whole") as session:
        wanted = session.run(document, outputs=["lora", "losses"]).outputs
        whole = digest(session, wanted["lora"])
    with opened(tmp_path / "cancelled") as session:
        cancelled_at(session, document, 10)
        events: list[Event] = []
        assert digest(session, trained(session, document, events)) == whole
        assert went_on(events)
        again = session.run(document, outputs=["losses"]).outputs["losses"]
        assert (again.numpy() == wanted["losses"].numpy()).all(), "the curve is that of the whole training"
    inputs = json.dumps({"sample_prompts": "a small heart", "sample_every": 15})
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path / "killed"), inputs]
    environment = {
        **os.environ,
        "LATENTLOOM_FAILPOINT": "cache.kept.renamed:kill",
        "PYTHONPATH": str(Path(hearts.__file__).parent),
    }
    assert subprocess.run(command, env=environment, capture_output=True).returncode == -9
    with opened(tmp_path / "killed") as session:
        events = []
        assert digest(session, trained(session, document, events)) == whole
        assert went_on(events)


def test_the_order_of_pictures_comes_from_the_number_of_the_step() -> None:
    shapes = [(1, 4, 8, 8)] * 5 + [(1, 4, 4, 8)] * 2
    first = [Batches(shapes, [1, 1, 1, 1, 3, 1, 1], 3, [7, 1]).at(step) for step in range(20)]
    again = Batches(shapes, [1, 1, 1, 1, 3, 1, 1], 3, [7, 1])
    assert [again.at(step) for step in reversed(range(20))][::-1] == first
    assert all(len({shapes[n] for n in batch}) == 1 and len(batch) == 3 for batch in first)
    passed = [n for batch in first[: again.per_pass] for n in batch]
    assert all(passed.count(n) >= (3 if n == 4 else 1) for n in range(7))


# Objectives


@pytest.mark.parametrize("kind", ["epsilon", "v", "sample"])
def test_what_is_learnt_is_what_sampling_reads(kind: Any) -> None:
    """A network that answers with the target gives back the latent, whatever the level."""
    from latentloom.nodes.diffusion.prediction import prediction
    from latentloom.nodes.diffusion.timeline import Moment

    table = torch.linspace(0.1, 20, 100, dtype=torch.float64)
    latents, (noise, shares) = torch.randn(1, 4, 4, 4), drawn((1, 4, 4, 4), [1])
    made = Noise(table.float(), kind, 5.0)(latents, noise, shares)
    sigma = float(table[made.time[0]])
    x = latents + sigma * noise

    def network(x: torch.Tensor, time: torch.Tensor, /, **_: torch.Tensor) -> torch.Tensor:
        assert torch.allclose(x, made.x, atol=1e-5) and (time == made.time).all()
        return made.target

    found = prediction(network, kind, table)(x, Moment(sigma, 0, 1), {})
    assert torch.allclose(found, latents, atol=1e-4)


def test_the_velocity_leads_from_noise_to_the_latent() -> None:
    latents, (noise, shares) = torch.randn(8, 4, 4, 4), drawn((8, 4, 4, 4), [1])
    made = Velocity()(latents, noise, shares)
    level = made.time[:, None, None, None]
    assert torch.allclose(made.x - level * made.target, latents, atol=1e-5)
    assert 0 < made.time.min() < made.time.max() < 1


# Files


def test_a_saved_lora_is_read_by_our_loader_and_by_diffusers_alike(session: Session) -> None:
    from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers

    outcome = session.run(training(layers="all", steps=3, rate=0.01))
    outputs = outcome.outputs
    path = Path(outcome.files[0])
    ours = session.engine.models.unplaced(outputs["model"]).state_dict()
    base = hearts.load_model(hearts.SHAPES_FOLDER).unet.state_dict()
    state, alphas = _convert_non_diffusers_lora_to_diffusers(load_file(path))
    changed = 0
    for name in (name for name in state if name.endswith("lora.down.weight")):
        start = name.removesuffix(".lora.down.weight").removesuffix("_lora.down.weight")
        layer = start.removeprefix("unet.").replace(".processor.", ".")
        layer += ".0" if layer.endswith("to_out") else ""
        down, up = state[name], state[f"{name.removesuffix('down.weight')}up.weight"]
        alpha = alphas.get(f"{start}.alpha", alphas.get(f"{name}.alpha"))
        scale = alpha / down.shape[0]
        weight = base[f"{layer}.weight"]
        wanted = weight + scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        factors = {"down": down, "up": up, "alpha": torch.tensor(scale * down.shape[0])}
        assert (delta_of(weight, factors, 1.0) - wanted).abs().max() < 1e-5
        assert torch.allclose(ours[f"{layer}.weight"].float(), wanted.half().float(), atol=1e-3), "rounded to fp16"
        changed += 1
    assert changed == len([name for name in outputs["lora"].tensors if name.endswith(".lora_down.weight")]) > 50
    folder = session.engine.settings.models[0] / "loras"
    folder.mkdir(parents=True)
    path.rename(folder / "heart.safetensors")
    loading = training(steps=3)
    loading["nodes"]["apply"] = {
        "type": "LoadLora",
        "inputs": {
            "model": edge("load", "model"),
            "clip": edge("load", "clip"),
            "lora": "heart.safetensors",
        },
    }
    loaded = session.run(loading, outputs=["model"]).outputs["model"]
    again = session.engine.models.unplaced(loaded).state_dict()
    assert all(torch.equal(again[name], ours[name]) for name in ours)


def test_the_header_tells_the_base_the_settings_and_the_data_set(session: Session) -> None:
    outcome = session.run(training(steps=1))
    with safe_open(outcome.files[0], "pt") as file:
        header, names = file.metadata(), list(file.keys())
    base = session.engine.catalog.identify("models/checkpoints", "shapes").sha256
    assert header["latentloom.base_sha256"] == base
    assert (header["ss_network_dim"], header["ss_network_alpha"]) == ("2", "8")
    assert header["ss_network_module"] == "networks.lora" and len(header["latentloom.dataset"]) == 64
    assert header["modelspec.architecture"].endswith("/lora")
    assert all(name.startswith("lora_unet_") for name in names)


def test_a_lora_of_another_base_is_told(session: Session) -> None:
    document = training(steps=1)
    document["nodes"]["apply"]["inputs"] |= {name: edge("other", name) for name in ("model", "clip")}
    document["nodes"]["other"] = {"type": "LoadCheckpoint", "inputs": {"checkpoint": "shapes-flow"}}
    events: list[Event] = []
    session.run(document, outputs=["model"], on_event=events.append)
    (warning,) = [event for event in events if isinstance(event, NodeWarning) and event.code == "lora_other_base"]
    assert "was trained on 'shapes' with other weights than 'shapes-flow'" in warning.message


# Other models, other ways


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ({"checkpoint": "shapes-flow"}, ("transformer.",)),
        ({"train_text": True}, ("lora_te_", "lora_unet_")),
        ({"min_snr": 0.0, "schedule": "linear", "caption_dropout": 1.0}, ("lora_unet_",)),
    ],
)
def test_other_ways_of_training_learn_too(session: Session, inputs: Any, names: tuple[str, ...]) -> None:
    checkpoint = inputs.pop("checkpoint", "shapes")
    document = training(checkpoint, steps=4, **inputs)
    found = session.run(document, outputs=["lora", "model"]).outputs
    tensors = found["lora"].tensors
    assert sorted({next(begin for begin in names if name.startswith(begin)) for name in tensors}) == sorted(names)
    ups = [array.numpy() for name, array in tensors.items() if name.endswith(("lora_up.weight", "lora_B.weight"))]
    assert sum(bool(np.abs(up).max() > 0) for up in ups) > 0.9 * len(ups)
    assert session.engine.models.unplaced(found["model"]) is not None


def test_a_training_goes_on_from_a_lora(session: Session) -> None:
    document = training(steps=2)
    document["nodes"]["more"] = json.loads(json.dumps(document["nodes"]["train"]))
    document["nodes"]["more"]["inputs"] |= {"start_from": edge("train", "lora"), "rate": 1e-7, "seed": 5}
    document["outputs"] = [{"name": name, "from": edge(name, "lora")} for name in ("train", "more")]
    found = session.run(document).outputs
    for name, array in found["train"].tensors.items():
        assert np.abs(array.numpy() - found["more"].tensors[name].numpy()).max() < 1e-5
    document["nodes"]["more"]["inputs"]["rank"] = 3
    with pytest.raises(NodeError, match="the training cannot go on from the layer") as caught:
        session.run(document)
    assert caught.value.problem.expected == "a LoRA of rank 3"


def test_held_out_pictures_are_measured_and_samples_are_drawn(session: Session) -> None:
    document = training(steps=4, sample_prompts="a heart\n\na red circle", sample_every=2)
    document["nodes"]["split"] = {
        "type": "SplitDataset",
        "inputs": {"dataset": edge("hearts", "dataset"), "share": 0.2},
    }
    document["nodes"]["train"]["inputs"] |= {
        "dataset": edge("split", "dataset"),
        "held_out": edge("split", "held_out"),
    }
    document["outputs"] = [{"name": name, "from": edge("train", name)} for name in ("samples", "losses")]
    found = session.run(document).outputs
    assert found["samples"].shape[2] == 2 * 128 + 3 * 8 and found["samples"].shape[1] > 2 * 128
    assert found["losses"].shape == (1, 420, 800, 3)


# What it refuses


@pytest.mark.parametrize(
    ("inputs", "message", "hint"),
    [
        ({"rank": 100}, "TrainLora: the rank 100 is larger than the layer", "a rank of 4 to 32 is usual"),
        (
            {"rate": 1.0, "steps": 60, "schedule": "constant"},
            "TrainLora: the training diverged at step",
            "use a lower rate, such as 0.1; if the first loss is NaN, try --dtype fp32",
        ),
        ({"sample_prompts": "a heart\n" * 17}, "TrainLora: too many sample prompts", None),
    ],
)
def test_settings_that_cannot_work_are_told(session: Session, inputs: Any, message: str, hint: str | None) -> None:
    with pytest.raises(NodeError) as caught:
        session.run(training(**inputs), outputs=["lora"])
    assert caught.value.problem.message.startswith(message)
    assert caught.value.problem.hint == hint
    assert not list((session.engine.settings.output).rglob("*"))


def test_the_loaded_model_is_left_as_it_was(session: Session) -> None:
    loading = {
        "format": "latentloom/1",
        "nodes": {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "shapes"}}},
        "outputs": [{"name": "model", "from": edge("load", "model")}],
    }
    model = session.run(loading).outputs["model"]
    unet = session.engine.models.unplaced(model)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    session.run(training(steps=2), outputs=["lora"])
    assert all(torch.equal(before[name], tensor) for name, tensor in unet.state_dict().items())
    assert all(weight.grad is None for weight in unet.parameters())
    assert not any(part._forward_hooks for part in unet.modules())


def test_a_full_disk_stops_no_training(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    document = training(steps=20)
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", "cache.kept.written:enospc")
    cancelled_at(session, document, 3)
    monkeypatch.delenv("LATENTLOOM_FAILPOINT")
    kept = session.engine.settings.cache / "kept"
    assert list(kept.iterdir()) == [], "no half file"
    assert trained(session, document) is not None
