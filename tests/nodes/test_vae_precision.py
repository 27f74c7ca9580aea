"""A VAE that computes in a type of its own."""

import numpy as np
import pytest
from drawings import edge, noise, put, workflow

from latentloom.api import Session
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
