"""Transformers in one file of diffusers' names, where their authors have others."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_nets import FAMILIES
from tiny_transformers import randomised

from latentloom.engine.models.load_warnings import gathered_warnings


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_of_diffusers_names_is_the_network(name: str, prefix: str, tmp_path: Path) -> None:
    family, build, names = FAMILIES[name]
    torch.manual_seed(0)
    net = randomised(build())
    state = {weight: tensor.clone() for weight, tensor in net.state_dict().items()}
    converted, authors = tmp_path / "converted.safetensors", tmp_path / "authors.safetensors"
    save_file({prefix + weight: tensor for weight, tensor in state.items()}, converted)
    save_file({weight: tensor.contiguous() for weight, tensor in names(state).items()}, authors)

    with gathered_warnings() as told:
        found = family.load([converted], {"component": "unet"})

    facts = family.recognise(authors)["unet"]
    assert family.recognise(converted)["unet"] == facts
    assert facts["defaults"]["schedule"] in ("simple", "beta")
    assert all(torch.equal(tensor, state[weight]) for weight, tensor in found.state_dict().items())
    assert found.state_dict().keys() == state.keys()
    assert told == []
