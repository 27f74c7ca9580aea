"""Folders in diffusers' layout give what diffusers' and transformers' own loading gives."""

import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from shards import shard
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from latentloom.engine.errors import FileError
from latentloom.nodes.families.stable_diffusion.diffusers_folder import DiffusersFolder


def text_config(width, **more):
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=width,
        vocab_size=49408,
        **more,
    )


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    """A tiny SDXL folder, as diffusers saves it."""
    folder = tmp_path_factory.mktemp("folders") / "sdxl"
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=96,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=64 + 6 * 256,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(block_out_channels=(32,), latent_channels=4).save_pretrained(folder / "vae", variant="fp16")
    CLIPTextModel(text_config(32, hidden_act="quick_gelu")).save_pretrained(folder / "text_encoder")
    CLIPTextModelWithProjection(text_config(64, hidden_act="gelu")).save_pretrained(folder / "text_encoder_2")
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(
        '{"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000, "prediction_type": "epsilon"}'
    )
    (folder / "model_index.json").write_text('{"unet": [], "vae": [], "text_encoder": [], "text_encoder_2": []}')
    return folder


def loaded(folder, component):
    return DiffusersFolder().load([folder], {"component": component})


def distance(found, expected):
    return float((found - expected).norm() / expected.norm())


def test_an_sdxl_folder_is_told_from_its_configurations(sdxl):
    facts = DiffusersFolder().recognise(sdxl)
    unet = facts["unet"]
    assert (unet["family"], unet["context"], unet["pooled"], unet["time_ids"]) == ("sdxl", 96, 64, 6)
    assert facts["clip"] == {"family": "sdxl", "encoders": ["l", "g"], "width": 96, "pooled": 64}
    assert facts["about"] == "SDXL checkpoint (folder)"


@torch.no_grad()
def test_its_text_encoders_give_the_embeddings_of_the_pipeline(sdxl):
    first, second = loaded(sdxl, "clip").encoders
    tokens = first.tokenizer("a cat", padding="max_length", return_tensors="pt").input_ids
    known = CLIPTextModel.from_pretrained(sdxl / "text_encoder")(tokens, output_hidden_states=True)
    assert distance(first.encode(tokens)[0], known.hidden_states[-2]) < 1e-4
    tokens = second.tokenizer("a cat", padding="max_length", return_tensors="pt").input_ids
    projected = CLIPTextModelWithProjection.from_pretrained(sdxl / "text_encoder_2")
    known = projected(tokens, output_hidden_states=True)
    hidden, pooled = second.encode(tokens)
    assert distance(hidden, known.hidden_states[-2]) < 1e-4
    assert distance(pooled, known.text_embeds) < 1e-4


@torch.no_grad()
def test_its_unet_and_vae_compute_the_same(sdxl):
    torch.manual_seed(1)
    x, context = torch.randn(1, 4, 8, 8), torch.randn(1, 7, 96)
    added = {"added_cond_kwargs": {"text_embeds": torch.randn(1, 64), "time_ids": torch.rand(1, 6)}}
    known = UNet2DConditionModel.from_pretrained(sdxl / "unet")(x, 500, context, **added).sample
    assert distance(loaded(sdxl, "unet")(x, 500, context, **added).sample, known) < 1e-4
    known = AutoencoderKL.from_pretrained(sdxl / "vae", variant="fp16").decode(x).sample
    assert distance(loaded(sdxl, "vae").decode(x).sample, known) < 1e-4


def test_shards_are_put_together(sdxl, tmp_path):
    folder = tmp_path / "sharded"
    shutil.copytree(sdxl, folder)
    shard(folder / "unet" / "diffusion_pytorch_model.safetensors")
    known, found = loaded(sdxl, "unet").state_dict(), loaded(folder, "unet").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in known.items())


def test_a_vae_with_the_old_names_of_attention_is_read(sdxl, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(sdxl, folder)
    (path,) = (folder / "vae").glob("*.safetensors")
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    weights = load_file(path)
    for new, old in names.items():
        weights = {name.replace(new, old): weight for name, weight in weights.items()}
    save_file(weights, path)
    known, found = loaded(sdxl, "vae").state_dict(), loaded(folder, "vae").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in known.items())


def test_a_folder_without_safetensors_says_what_it_has(sdxl, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(sdxl, folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(FileError) as caught:
        loaded(folder, "unet")
    assert caught.value.problem.message == "'pickled/unet' has no safetensors weights"
    assert caught.value.problem.got == "config.json, diffusion_pytorch_model.bin"
