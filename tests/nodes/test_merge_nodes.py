"""Models mixed weight by weight, and LoRAs with a strength for each third of a UNet."""

from pathlib import Path

import pytest
import torch
from drawings import workflow
from safetensors.torch import save_file

from latentloom.api import Session
from latentloom.engine import FileIdentity, Model, Patch
from latentloom.engine.errors import BadValueError, FileError, NodeError
from latentloom.engine.settings import load_settings
from latentloom.nodes.families.lora.patch import apply_loras
from latentloom.nodes.families.merge import apply_merge, section_of
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile
from latentloom.nodes.merge import model_merge
from latentloom.training.random_checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Checkpoints a, b and c of one family, and one of another."""
    folder = tmp_path_factory.mktemp("merge") / "checkpoints"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        write_checkpoint(folder / f"{name}.safetensors", "sd1_tiny", seed=seed, dtype=torch.float32)
    write_checkpoint(folder / "xl.safetensors", "sdxl_tiny", dtype=torch.float32)
    return {path.stem: path for path in folder.iterdir()}


def loaded(path, component="unet"):
    return SingleFile().load([path], {"component": component})


def weights(module):
    return dict((module.modules if hasattr(module, "encoders") else module).named_parameters())


def merged(files, names, shares, component="unet"):
    parts = [{"model_kind": "single_file", "info": {"component": component}, "files": 1} for _ in names[1:]]
    identities = tuple(FileIdentity(name, "0" * 64) for name in names[1:])
    patch = Patch("merge", {"parts": parts, "shares": shares}, identities)
    return weights(apply_merge(loaded(files[names[0]], component), patch, [files[name] for name in names[1:]]))


SHARES = {"input": 0.25, "middle": 1.0, "output": -0.5}


def test_each_third_has_its_share(files):
    a, b, found = weights(loaded(files["a"])), weights(loaded(files["b"])), merged(files, "ab", SHARES)
    assert {section_of(name) for name in a} == {"input", "middle", "output"}
    for name, weight in found.items():
        assert torch.allclose(weight, torch.lerp(a[name], b[name], SHARES[section_of(name)]), atol=1e-6), name


def test_with_a_base_only_the_difference_is_added(files):
    a, b, c = (weights(loaded(files[name])) for name in "abc")
    found = merged(files, "abc", dict.fromkeys(SHARES, 0.75))
    for name, weight in found.items():
        assert torch.allclose(weight, a[name] + 0.75 * (b[name] - c[name]), atol=1e-6), name


def test_text_encoders_are_merged_too(files):
    a, b = (weights(loaded(files[name], "clip")) for name in "ab")
    for name, weight in merged(files, "ab", {"input": 0.5}, "clip").items():
        assert torch.allclose(weight, (a[name] + b[name]) / 2, atol=1e-6), name


def test_networks_of_another_form_and_family_are_refused(files):
    with pytest.raises(FileError, match="'xl' cannot be merged: its networks have a different architecture"):
        merged(files, ("a", "xl"), SHARES)
    one, other = (Model("single_file", [FileIdentity(name, "0" * 64)], {"family": name}) for name in ("sd1", "sdxl"))
    with pytest.raises(BadValueError, match=r"'sdxl' is of a different family \(expected sd1, got sdxl\)"):
        model_merge(one, other)
    with pytest.raises(BadValueError, match="'sd1' has patches of its own, which a merge would lose"):
        model_merge(one, one.patched(Patch("lora")))


def wire(node, output):
    return {"node": node, "output": output}


@pytest.fixture
def session(files, tmp_path: Path):
    settings = {"models": [files["a"].parent.parent], "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


def sampled(session, name, share=None, other="b"):
    """A latent of checkpoint `name`, merged with another one."""
    nodes = {
        "load": ("LoadCheckpoint", {"checkpoint": f"{name}.safetensors"}),
        "other": ("LoadCheckpoint", {"checkpoint": f"{other}.safetensors"}),
        "text": ("CLIPEncode", {"clip": wire("load", "clip"), "text": "a red fox"}),
        "empty": ("EmptyLatent", {"width": 64, "height": 64}),
    }
    model = wire("load", "model")
    if share is not None:
        shares = {f"{section}_share": share for section in SHARES}
        nodes["merge"] = ("ModelMerge", {"model": model, "other": wire("other", "model"), **shares})
        model = wire("merge", "model")
    text = wire("text", "conditioning")
    inputs = {"model": model, "positive": text, "negative": text, "latent": wire("empty", "latent"), "steps": 2}
    nodes["it"] = ("KSampler", inputs)
    return torch.tensor(session.run(workflow(nodes, result=wire("it", "latent")))["result"].numpy())


def test_a_merge_samples_and_its_ends_are_the_models(session):
    plain, none, half, whole = (sampled(session, "a", share) for share in (None, 0.0, 0.5, 1.0))
    assert torch.equal(none, plain)
    assert (half - plain).norm() / plain.norm() > 1e-3
    assert (whole - half).norm() / plain.norm() > 1e-3
    with pytest.raises(NodeError, match=r"ModelMerge: 'xl\.safetensors' is of a different family"):
        sampled(session, "a", 0.5, "xl")


def test_a_lora_has_a_strength_for_each_third(files, tmp_path):
    layers = [name for name in weights(loaded(files["a"])) if name.endswith("attn1.to_q.weight")]
    tensors = {}
    for name in layers:
        size = weights(loaded(files["a"]))[name].shape[0]
        flat = name.removesuffix(".weight").replace(".", "_")
        tensors[f"lora_unet_{flat}.lora_down.weight"] = torch.randn(2, size)
        tensors[f"lora_unet_{flat}.lora_up.weight"] = torch.randn(size, 2)
    path = tmp_path / "lora.safetensors"
    save_file(tensors, path)
    sections = {"input": 0.5, "middle": 0.0, "output": 2.0}

    def change(**more):
        patch = Patch("lora", {"strength": 1.0, **more}, (FileIdentity("lora", "0" * 64),))
        made, base = weights(apply_loras(loaded(files["a"]), [patch], [[path]])), weights(loaded(files["a"]))
        return {name: made[name] - base[name] for name in layers}

    whole, parts = change(), change(sections=sections)
    assert {section_of(name) for name in layers} == set(sections)
    for name in layers:
        assert torch.allclose(parts[name], sections[section_of(name)] * whole[name], atol=1e-4), name
