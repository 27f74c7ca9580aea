"""A family of models from a third party: the example of docs/plugins.md, installed as a distribution, end to end."""

import ast
import contextlib
import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PathDistribution, entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_transformers import clip, prefixed, randomised, t5, t5_file, write
from torch import Tensor, nn

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeCached, NodeStarted
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.text.clip_tokenizer import clip_tokenizer
from latentloom.plugins.discovery import discover

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Model families\n")[2].partition("\n## ")[0]
NETWORK, FAMILY = re.findall(r"^```python\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
EMBEDDED = Path(__file__).parents[2] / "nodes" / "embedded" / "controlnet" / "shapes-edges"
PUBLIC = dict(re.findall(r"^- `(latentloom\.[a-z0-9_.]+)`: (.*)$", SECTION, re.MULTILINE))
PROMPT, NEGATIVE, SEED, STEPS, CFG, SIDE = "a red fox", "blurry", 5, 4, 3.0, 72
WIDTH, CHANNELS, LAYERS = 128, 4, 3  # as wide as the text of the embedded ControlNet
SHIFT, SCALE = 2.0, 0.18215


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The distribution of a third party on the path, as an editable install is."""
    site = tmp_path / "site"
    (site / "latentloom_ripple").mkdir(parents=True)
    (site / "latentloom_ripple" / "__init__.py").write_text("")
    (site / "latentloom_ripple" / "network.py").write_text(NETWORK)
    (site / "latentloom_ripple" / "family.py").write_text(FAMILY)
    info = site / "latentloom_ripple-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: latentloom-ripple\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[latentloom]\nripple = latentloom_ripple.family\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield site / "latentloom_ripple"
    forget()


def forget() -> None:
    """A process that begins has imported nothing of the plugin."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "latentloom_ripple"]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def network(package: Path) -> nn.Module:
    forget()
    torch.manual_seed(0)
    ripple = importlib.import_module("latentloom_ripple.network").Ripple
    found: nn.Module = randomised(ripple(CHANNELS, 16, WIDTH, LAYERS))
    return found


@pytest.fixture(scope="module")
def text_model() -> Any:
    torch.manual_seed(1)
    return clip(WIDTH)


def authors(name: str) -> str:
    """The name of a weight in a file, by that of the module."""
    name = re.sub(r"^(enter|leave)\.", lambda found: {"enter": "ripple_in.", "leave": "ripple_out."}[found[1]], name)
    return re.sub(r"^layers\.(\d+)\.", r"waves.\1.conv.", re.sub(r"^(time|text)\.", r"\1_in.", name))


@pytest.fixture
def models(tmp_path: Path, network: nn.Module, text_model: Any) -> Path:
    root = tmp_path / "models"
    state = {authors(name): tensor for name, tensor in network.state_dict().items()}
    write(prefixed("model.diffusion_model.", state), root / "unet" / "ripple.safetensors")
    write(text_model.state_dict(), root / "clip" / "clip.safetensors")
    write(clip(64).state_dict(), root / "clip" / "wide.safetensors")
    write(t5_file(t5(WIDTH)), root / "clip" / "t5.safetensors")
    return root


@contextlib.contextmanager
def opened(tmp_path: Path) -> Iterator[Session]:
    """A program that starts with the built-in nodes and the plugin."""
    forget()
    info = tmp_path / "site" / "latentloom_ripple-1.0.dist-info"
    builtin = [point for point in entry_points(group="latentloom") if point.name == "builtin"]
    found = discover(points=[*builtin, *PathDistribution(info).entry_points])
    assert [(record.plugin, record.status) for record in found.records] == [("builtin", "loaded"), ("ripple", "loaded")]
    flags = {"models": [tmp_path / "models"], "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(flags, {"LATENTLOOM_HOME": str(tmp_path / "home")}), found.registry) as session:
        yield session


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    with opened(tmp_path) as made:
        yield made


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(text_encoder: str = "clip.safetensors") -> dict[str, Any]:
    """LoadUNet, LoadCLIP, two prompts and KSampler."""
    sampler = {"seed": SEED, "steps": STEPS, "cfg": CFG, "sampler": "euler", "schedule": "simple"}
    texts = {"positive": PROMPT, "negative": NEGATIVE}
    nodes = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": "ripple.safetensors"}},
        "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": text_encoder, "model": wire("unet", "model")}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": 64}},
        **{
            name: {"type": "CLIPEncode", "inputs": {"clip": wire("clip", "clip"), "text": text}}
            for name, text in texts.items()
        },
        "sample": {
            "type": "KSampler",
            "inputs": {
                "model": wire("unet", "model"),
                "latent": wire("empty", "latent"),
                **{name: wire(name, "conditioning") for name in texts},
                **sampler,
            },
        },
    }
    outputs = [{"name": "out", "from": wire("sample", "latent")}]
    return {"format": "latentloom/1", "name": "ripple", "nodes": nodes, "outputs": outputs}


def latent(session: Session) -> Tensor:
    return torch.tensor(session.run(document())["out"].numpy())


@torch.no_grad()
def read(text_model: Any, text: str) -> Tensor:
    """The last hidden states of transformers' own CLIP."""
    ids = clip_tokenizer("end")(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
    found: Tensor = text_model(ids).last_hidden_state
    return found


@torch.no_grad()
def stepped(network: nn.Module, text_model: Any) -> Tensor:
    """Euler's steps of the network itself: dx = v dsigma from pure noise, sigmas shifted by 2."""
    positive, negative = read(text_model, PROMPT), read(text_model, NEGATIVE)
    times = [1 - n / STEPS for n in range(STEPS)]
    sigmas = [*(SHIFT * t / (1 + (SHIFT - 1) * t) for t in times), 0.0]
    x = first_noise((1, CHANNELS, 8, SIDE // 8), SEED)
    for high, low in pairwise(sigmas):
        v, w = (network(x, torch.tensor([high]), prompt) for prompt in (positive, negative))
        x = x + (w + CFG * (v - w)) * (low - high)
    return x / SCALE


def test_its_pictures_are_those_of_euler_s_steps(session: Session, network: nn.Module, text_model: Any) -> None:
    wanted = stepped(network, text_model)
    assert float((latent(session) - wanted).abs().max() / wanted.abs().max()) <= 1e-5


def test_its_file_is_named_with_what_suits_it(session: Session, models: Path) -> None:
    found = session.engine.recognise(models / "unet" / "ripple.safetensors")
    assert found is not None
    kind, facts = found
    assert (kind, facts["about"]) == ("ripple", "Ripple")
    said = {name: facts["unet"][name] for name in ("family", "prediction", "context", "shift", "reads")}
    assert said == {
        "family": "ripple",
        "prediction": "flow",
        "context": WIDTH,
        "shift": {"shift": SHIFT},
        "reads": "CLIP-L",
    }
    assert facts["unet"]["defaults"] == {"steps": 20, "cfg": 4.0, "sampler": "euler", "schedule": "simple"}


@pytest.mark.parametrize(
    ("file", "message", "expected", "got"),
    [
        ("t5", "LoadCLIP: 't5.safetensors' is not a text encoder of Ripple", "CLIP-L", "T5"),
        (
            "wide",
            "LoadCLIP: the text encoder 'wide.safetensors' does not fit 'ripple.safetensors'",
            "CLIP-L (128 wide)",
            "one 64 wide",
        ),
    ],
)
def test_a_wrong_text_encoder_is_refused_before_anything_is_loaded(
    session: Session, file: str, message: str, expected: str, got: str
) -> None:
    with pytest.raises(NodeError) as caught:
        session.run(document(f"{file}.safetensors"))
    found = caught.value.problem
    assert (found.message, found.expected, found.got, found.node) == (message, expected, got, "clip")
    assert session.engine.figures()["model_loads"] == 0


def test_a_controlnet_of_another_family_is_refused(session: Session, models: Path) -> None:
    shutil.copytree(EMBEDDED, models / "controlnet" / "edges")
    guided = document()
    ends = {name: wire(name, "conditioning") for name in ("positive", "negative")}
    guided["nodes"] |= {
        "net": {"type": "LoadControlNet", "inputs": {"controlnet": "edges"}},
        "picture": {"type": "ColourImage", "inputs": {"width": SIDE, "height": 64}},
        "apply": {
            "type": "ApplyControlNet",
            "inputs": {**ends, "controlnet": wire("net", "controlnet"), "image": wire("picture", "image")},
        },
    }
    guided["nodes"]["sample"]["inputs"] |= {name: wire("apply", name) for name in ends}
    with pytest.raises(NodeError) as caught:
        session.run(guided)
    found = caught.value.problem
    assert found.message == "KSampler: the ControlNet 'edges' does not fit 'ripple.safetensors'"
    assert (found.expected, found.got) == ("one for ripple", "one for SD 1.x")


def test_a_weight_that_no_rule_names_is_told(session: Session, models: Path, network: nn.Module) -> None:
    state = {authors(name): tensor for name, tensor in network.state_dict().items()}
    save_file({**state, "foam.weight": torch.ones(2, 2)}, models / "unet" / "ripple.safetensors")
    heard: list[Any] = []
    session.run(document(), on_event=heard.append)
    assert ["foam" in event.message for event in heard if getattr(event, "code", "") == "not_used"] == [True]


@pytest.mark.parametrize("module", ["network.py", "family.py"])
@pytest.mark.usefixtures("models")
def test_the_plugin_s_code_is_part_of_the_cache_key(tmp_path: Path, package: Path, module: str) -> None:
    def ran() -> tuple[set[str], Tensor]:
        heard: list[Any] = []
        with opened(tmp_path) as session:
            found = session.run(document(), on_event=heard.append)["out"].numpy()
        assert {type(event) for event in heard} & {NodeStarted, NodeCached}
        return {event.node for event in heard if isinstance(event, NodeStarted)}, torch.tensor(found)

    everything = set(document()["nodes"])
    first, before = ran()
    again, same = ran()
    assert (first, again) == (everything, set())
    assert torch.equal(before, same)

    changed = {"network.py": ("self.leave(hidden)", "self.leave(hidden) / 2"), "family.py": ('": 2.0', '": 3.0')}
    place = package / module
    text = place.read_text()
    assert text.count(changed[module][0]) == 1
    place.write_text(text.replace(*changed[module]))
    third, after = ran()
    assert {"unet", "sample"} <= third
    assert not torch.allclose(before, after)


def test_what_a_family_may_import_is_there() -> None:
    for module, names in PUBLIC.items():
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(importlib.import_module(module), name), f"{module}: {name}"


def test_the_example_imports_nothing_else_of_latentloom() -> None:
    imports = [one for one in ast.walk(ast.parse(FAMILY)) if isinstance(one, ast.ImportFrom)]
    nodes = {one.module: one for one in imports if (one.module or "").startswith("latentloom.nodes")}
    assert nodes
    for module, one in nodes.items():
        assert {alias.name for alias in one.names} <= set(re.findall(r"`(\w+)`", PUBLIC[str(module)]))
