"""The model's sigma table and the reference figures, shared by the tests of the diffusion maths."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentloom.nodes.diffusion.prediction import prediction
from latentloom.nodes.diffusion.sampler import Denoised
from latentloom.nodes.diffusion.schedules import scaled_linear_table
from latentloom.nodes.diffusion.timeline import Moment

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def table() -> Tensor:
    return scaled_linear_table()


@pytest.fixture(scope="session")
def reference_sigmas() -> dict:
    return json.loads((DATA / "comfyui-sigmas.json").read_text())


@pytest.fixture(scope="session")
def reference_latents() -> dict[str, Tensor]:
    return load_file(DATA / "comfyui-samplers.safetensors")


@pytest.fixture(scope="session")
def reference_model(table: Tensor) -> Denoised:
    """The analytic model of the reference figures."""

    def network(x: Tensor, timestep: Tensor) -> Tensor:
        t = timestep.reshape(-1, *[1] * (x.ndim - 1))
        return 0.9 * x + 0.2 * torch.sin(3 * x + t / 100)

    predict = prediction(network, "epsilon", table)
    return lambda x, sigma: predict(x, Moment(sigma.item()), {})
