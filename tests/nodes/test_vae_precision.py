"""A VAE that computes in a type of its own."""

import shutil

import numpy as np
import pytest
from drawings import edge, noise, put, workflow
from safetensors.torch import load_file, save_file

from latentloom.api import Session
from latentloom.engine.events import NodeWarning
from latentloom.engine.settings import load_settings


def decoded(session, precision=None):
    """A picture taken through the VAE and back."""
    put(session, "cat.png", noise(1, 64, 64))
    nodes = {"load": ("LoadCheckpoint", {"checkpoint": "tiny"}), "picture": ("LoadImage", {"image": "cat.png"})}
    vae = edge("load", "vae")
    if precision:
        nodes["exact"], vae = ("VAEPrecision", {"vae": vae, "dtype": precision}), edge("exact", "vae")
    nodes["encode"] = ("VAEEncode", {"vae": vae, "image": edge("picture")})
    nodes["decode"] = ("VAEDecode", {"vae": vae, "latent": edge("encode", "latent")})
    return session.run(workflow(nodes, result=edge("decode")))["result"].numpy()


def opened(tiny_models, tmp_path, dtype):
    settings = {"models": [tiny_models], "device": "cpu", "dtype": dtype}
    return Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path / dtype)}))


@pytest.mark.parametrize(("run", "own"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_vae_computes_in_its_own_type_whatever_the_run_does(run, own, tiny_models, tmp_path):
    with opened(tiny_models, tmp_path, own) as session:
        expected = decoded(session)
    with opened(tiny_models, tmp_path, run) as session:
        plain, exact, again = decoded(session), decoded(session, own), decoded(session)
    assert np.allclose(exact, expected, atol=1e-6 if own == "fp32" else 0.02)
    assert np.abs(plain - exact).max() > 1e-4
    assert np.array_equal(plain, again)


@pytest.fixture(scope="module")
def overflowing(tiny_models, tmp_path_factory):
    """The tiny checkpoint, with sums in encoder and decoder that are too large for fp16."""
    root = tmp_path_factory.mktemp("overflowing")
    shutil.copytree(tiny_models / "checkpoints" / "tiny", root / "checkpoints" / "tiny")
    [path] = (root / "checkpoints" / "tiny" / "vae").glob("*.safetensors")
    state = load_file(path)
    for name in ("encoder.down_blocks.0.resnets.0", "decoder.mid_block.resnets.0"):
        state[f"{name.partition('.')[0]}.conv_in.bias"] += 60000
        state[f"{name}.conv2.bias"] += 60000
    save_file(state, path)
    return root


def through(session, **tiles):
    """The picture taken through the VAE and back, and the warnings of the run."""
    put(session, "cat.png", noise(1, 128, 128))
    nodes = {"load": ("LoadCheckpoint", {"checkpoint": "tiny"}), "picture": ("LoadImage", {"image": "cat.png"})}
    kind, vae = "Tiled" if tiles else "", edge("load", "vae")
    nodes["encode"] = (f"VAEEncode{kind}", {"vae": vae, "image": edge("picture"), **tiles})
    nodes["decode"] = (f"VAEDecode{kind}", {"vae": vae, "latent": edge("encode", "latent"), **tiles})
    heard = []
    made = session.run(workflow(nodes, result=edge("decode")), on_event=heard.append)["result"].numpy()
    return made, [event.code for event in heard if isinstance(event, NodeWarning)]


def test_a_vae_that_overflows_in_fp16_computes_in_fp32_and_says_so_once(overflowing, tmp_path):
    with opened(overflowing, tmp_path, "fp32") as session:
        (whole, told), (tiled, _) = through(session), through(session, tile=64, overlap=16)
    assert (told, bool(np.isfinite(whole).all())) == ([], True)
    with opened(overflowing, tmp_path, "fp16") as session:
        assert np.array_equal((found := through(session))[0], whole)
        assert sorted(found[1]) == ["slow_dtype", "vae_overflow"]
        assert np.array_equal(through(session, tile=64, overlap=16)[0], tiled)


def test_a_vae_that_fits_into_fp16_stays_there(tiny_models, tmp_path):
    with opened(tiny_models, tmp_path, "fp16") as session:
        found, told = through(session)
    assert (told, bool(np.isfinite(found).all())) == (["slow_dtype"], True)
