"""A Flux.1 of true names and tiny size: split files, one file with all parts, and a folder of diffusers' pipeline."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from tiny_transformers import (
    autoencoder,
    clip,
    original_vae,
    prefixed,
    randomised,
    t5,
    t5_file,
    t5_tokenizer,
    unigram_tokenizer,
    write,
)

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.nodes.text.clip_tokenizer import clip_tokenizer

POOLED, WIDTH = 32, 48  # of CLIP and of T5
OUTER = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
}
DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
NORMS = {
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
}


def original(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A transformer's weights by the authors' names, as they are in flux1-dev.safetensors."""
    found = {}
    for kind in ("weight", "bias"):
        found |= {
            f"{theirs}.{kind}": state[f"{ours}.{kind}"] for ours, theirs in OUTER.items() if f"{ours}.{kind}" in state
        }
        scale, shift = state[f"norm_out.linear.{kind}"].chunk(2)
        found[f"final_layer.adaLN_modulation.1.{kind}"] = torch.cat([shift, scale])
        for ours, theirs in DOUBLE.items():
            found[f"double_blocks.0.{theirs}.{kind}"] = state[f"transformer_blocks.0.{ours}.{kind}"]
        for names, theirs in ((("to_q", "to_k", "to_v"), "img"), (("add_q_proj", "add_k_proj", "add_v_proj"), "txt")):
            parts = [state[f"transformer_blocks.0.attn.{name}.{kind}"] for name in names]
            found[f"double_blocks.0.{theirs}_attn.qkv.{kind}"] = torch.cat(parts)
        for layer in range(2):
            ours, theirs = f"single_transformer_blocks.{layer}.", f"single_blocks.{layer}."
            parts = [state[f"{ours}{n}.{kind}"] for n in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
            found[f"{theirs}linear1.{kind}"] = torch.cat(parts)
            found[f"{theirs}linear2.{kind}"] = state[f"{ours}proj_out.{kind}"]
            found[f"{theirs}modulation.lin.{kind}"] = state[f"{ours}norm.linear.{kind}"]
    for ours, theirs in NORMS.items():
        found[f"double_blocks.0.{theirs}.scale"] = state[f"transformer_blocks.0.{ours}.weight"]
    for layer in range(2):
        for ours, theirs in (("attn.norm_q", "norm.query_norm"), ("attn.norm_k", "norm.key_norm")):
            found[f"single_blocks.{layer}.{theirs}.scale"] = state[f"single_transformer_blocks.{layer}.{ours}.weight"]
    return found


def transformer(*, guidance: bool = True, channels: int = 64) -> FluxTransformer2DModel:
    made = FluxTransformer2DModel(
        in_channels=channels,
        out_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=POOLED,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 14, 14),
    )
    return randomised(made)


@pytest.fixture(scope="session")
def pipe() -> FluxPipeline:
    torch.manual_seed(0)
    made = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096
        ),
        vae=autoencoder(0.3611, 0.1159),
        text_encoder=clip(POOLED),
        tokenizer=clip_tokenizer("end"),
        text_encoder_2=t5(WIDTH),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer(),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def flux_models(pipe: FluxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's folders: split files of dev and schnell, one file with all parts, and the folder of the pipeline."""
    root: Path = tmp_path_factory.mktemp("flux") / "models"
    net, texts = original(pipe.transformer.state_dict()), root / "text_encoders"
    write(net, root / "diffusion_models" / "dev.safetensors")
    torch.manual_seed(1)
    write(original(transformer(guidance=False).state_dict()), root / "diffusion_models" / "schnell.safetensors")
    clip_l = prefixed("text_model.", pipe.text_encoder.state_dict())
    write(clip_l, texts / "clip_l.safetensors")
    write(t5_file(pipe.text_encoder_2), texts / "t5xxl.safetensors")
    (texts / "t5_tokenizer").mkdir()
    unigram_tokenizer().save(str(texts / "t5_tokenizer" / "tokenizer.json"))
    write(original_vae(pipe.vae), root / "vae" / "ae.safetensors")
    whole = {
        **prefixed("model.diffusion_model.", net),
        **prefixed("vae.", original_vae(pipe.vae)),
        **prefixed("text_encoders.clip_l.transformer.", clip_l),
        **t5_file(pipe.text_encoder_2, "text_encoders.t5xxl.transformer."),
    }
    write(whole, root / "checkpoints" / "whole.safetensors")
    (root / "checkpoints" / "t5_tokenizer").symlink_to(texts / "t5_tokenizer")
    pipe.save_pretrained(root / "checkpoints" / "folder", max_shard_size="60KB")
    return root


@pytest.fixture
def session(tmp_path: Path, flux_models: Path) -> Iterator[Session]:
    folders = {"models": [flux_models], "input": tmp_path}
    with Session(
        load_settings({**folders, "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    ) as made:
        yield made
