"""Single-file checkpoints compute what diffusers and transformers compute with the same weights.

The oracle takes the names from diffusers' own converter and the configurations from hand.
"""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as oracle
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

from latentloom.nodes.families.stable_diffusion.single_file import SingleFile

TINY = {"layers_per_block": 1, "sample_size": 8}
SD1 = {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 64,
    "attention_head_dim": 8,
}
SD2 = SD1 | {
    "block_out_channels": (64, 128),
    "cross_attention_dim": 128,
    "attention_head_dim": [1, 2],
    "use_linear_projection": True,
}
ADDED = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}
SDXL = SD2 | {
    **ADDED,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": [1, 2],
    "cross_attention_dim": 192,
    "projection_class_embeddings_input_dim": 128 + 6 * 256,
}
REFINER = SD2 | {
    **ADDED,
    "block_out_channels": (64, 128, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": [1, 2, 2],
    "transformer_layers_per_block": 2,
    "projection_class_embeddings_input_dim": 128 + 5 * 256,
}
UNETS = {
    "sd1_tiny": SD1,
    "sd1_inpaint_tiny": SD1 | {"in_channels": 9},
    "sd1_instruct_tiny": SD1 | {"in_channels": 8},
    "sd2_tiny": SD2,
    "sdxl_tiny": SDXL,
    "refiner_tiny": REFINER,
}


def loaded(path, component):
    return SingleFile().load([path], {"component": component})


def distance(found, expected):
    return float((found - expected).norm() / expected.norm())


def added(recipe):
    ids = {"sdxl_tiny": 6, "refiner_tiny": 5}.get(recipe, 0)
    return {"added_cond_kwargs": {"text_embeds": torch.randn(2, 128), "time_ids": torch.rand(2, ids)}} if ids else {}


@pytest.mark.parametrize("recipe", UNETS)
@torch.no_grad()
def test_a_unet_computes_what_diffusers_computes(recipe, checkpoint):
    config = UNETS[recipe] | TINY
    expected = UNet2DConditionModel(**config)
    expected.load_state_dict(oracle.convert_ldm_unet_checkpoint(load_file(checkpoint(recipe)), dict(expected.config)))
    found = loaded(checkpoint(recipe), "unet")
    torch.manual_seed(0)
    x = torch.randn(2, found.config.in_channels, 8, 8)
    context, more = torch.randn(2, 77, config["cross_attention_dim"]), added(recipe)
    for timestep in (999, 500, 1):
        known = expected(x, timestep, context, **more).sample
        assert torch.isfinite(known).all()
        assert distance(found(x, timestep, context, **more).sample, known) < 1e-4


@torch.no_grad()
def test_a_vae_computes_what_diffusers_computes(checkpoint):
    expected = AutoencoderKL(
        block_out_channels=(32,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
    )
    weights = oracle.convert_ldm_vae_checkpoint(load_file(checkpoint("sd1_tiny")), dict(expected.config))
    expected.load_state_dict(weights)
    found = loaded(checkpoint("sd1_tiny"), "vae")
    torch.manual_seed(0)
    picture, latent = torch.rand(1, 3, 64, 64), torch.randn(1, 4, 8, 8)
    assert distance(found.encode(picture).latent_dist.mean, expected.encode(picture).latent_dist.mean) < 1e-4
    assert distance(found.decode(latent).sample, expected.decode(latent).sample) < 1e-4


def tiny_text(width, **more):
    sizes = {"intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": max(1, width // 64)}
    return CLIPTextModel(CLIPTextConfig(hidden_size=width, eos_token_id=49407, **sizes, **more))


def open_clip(path, prefix):
    """OpenCLIP's text model as transformers has it, and the projection as rows to multiply with from the right."""
    model, file = tiny_text(128, hidden_act="gelu"), load_file(path)
    renamed = oracle.convert_open_clip_checkpoint(model, file, prefix)
    renamed.pop("text_projection.weight", None)
    model.load_state_dict({name.removeprefix("text_model."): tensor for name, tensor in renamed.items()})
    return model, file[f"{prefix}text_projection"]


def openai(path, prefix):
    model, file = tiny_text(64, hidden_act="quick_gelu"), load_file(path)
    model.load_state_dict(
        {
            name.removeprefix(prefix): file[name]
            for name in file
            if name.startswith(prefix) and "position_ids" not in name
        }
    )
    return model


def tokens(encoder, text="a photo of a cat!"):
    return encoder.tokenizer(text, padding="max_length", return_tensors="pt").input_ids


@torch.no_grad()
def test_sd1_reads_the_last_layer_normed(checkpoint):
    path = checkpoint("sd1_tiny")
    (encoder,) = loaded(path, "clip").encoders
    known = openai(path, "cond_stage_model.transformer.text_model.")(tokens(encoder))
    hidden, pooled = encoder.encode(tokens(encoder))
    assert (encoder.name, distance(hidden, known.last_hidden_state) < 1e-4) == ("l", True)
    assert distance(pooled, known.pooler_output) < 1e-4


@torch.no_grad()
def test_sd2_reads_the_layer_before_the_last_normed(checkpoint):
    path = checkpoint("sd2_tiny")
    (encoder,) = loaded(path, "clip").encoders
    model, _ = open_clip(path, "cond_stage_model.model.")
    known = model(tokens(encoder), output_hidden_states=True)
    hidden, _ = encoder.encode(tokens(encoder))
    assert encoder.name == "h"
    assert distance(hidden, model.final_layer_norm(known.hidden_states[-2])) < 1e-4


@torch.no_grad()
def test_sdxl_reads_two_layers_unnormed_and_projects_the_pooled_output(checkpoint):
    path = checkpoint("sdxl_tiny")
    first, second = loaded(path, "clip").encoders
    known = openai(path, "conditioner.embedders.0.transformer.text_model.")(tokens(first), output_hidden_states=True)
    hidden, _ = first.encode(tokens(first))
    assert distance(hidden, known.hidden_states[-2]) < 1e-4
    model, projection = open_clip(path, "conditioner.embedders.1.model.")
    known = model(tokens(second), output_hidden_states=True)
    hidden, pooled = second.encode(tokens(second))
    assert distance(hidden, known.hidden_states[-2]) < 1e-4
    assert distance(pooled, known.pooler_output @ projection) < 1e-4
    assert [first.name, second.name] == ["l", "g"]


def test_openai_pads_with_the_end_and_openclip_with_zero(checkpoint):
    first, second = loaded(checkpoint("sdxl_tiny"), "clip").encoders
    assert tokens(first)[0, :9].tolist() == [49406, 320, 1125, 539, 320, 2368, 256, 49407, 49407]
    assert tokens(second)[0, :9].tolist() == [49406, 320, 1125, 539, 320, 2368, 256, 49407, 0]


def mapped_file(tensor):
    """The file whose mapping a tensor's memory lies in, or "" for memory of the process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, _, end = line.split()[0].partition("-")
        if int(begin, 16) <= tensor.data_ptr() < int(end, 16):
            return line.partition("/")[2]
    return ""


def test_weights_stay_in_the_file(checkpoint):
    path = checkpoint("sd1_tiny")
    assert {mapped_file(weight) for weight in loaded(path, "unet").parameters()} == {str(path).lstrip("/")}
