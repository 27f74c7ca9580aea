"""A Flux.2 dev and a klein of true names and tiny size: split files, and folders of diffusers' pipelines."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
)
from tiny_transformers import FLUX_NORMS, chat_tokenizer, randomised, swapped, write
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.nodes.families.stable_diffusion import vae_keys
from latentloom.nodes.text.tekken import tekken

WIDTH = 32  # of both text encoders
THINKING = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}"  # a newline at the end would be cut off
)
INSTRUCTION = (
    "<s>{% for message in messages %}{% set text = message.content[0].text %}{% if message.role == 'system' %}"
    "[SYSTEM_PROMPT]{{ text }}[/SYSTEM_PROMPT]{% else %}[INST]{{ text }}[/INST]{% endif %}{% endfor %}"
)
SPECIAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
OUTER = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_guidance_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_guidance_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
    "proj_out": "final_layer.linear",
}
DOUBLE = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
}
SINGLE = {"attn.to_qkv_mlp_proj": "linear1", "attn.to_out": "linear2"}


def transformer(*, guidance: bool) -> Flux2Transformer2DModel:
    made = Flux2Transformer2DModel(
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * WIDTH,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 4, 4, 4),
    )
    return randomised(made, 0.1)


def names_of(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a Flux.2 with one double block by its authors' names."""
    found = {f"{theirs}.weight": state[f"{o}.weight"] for o, theirs in OUTER.items() if f"{o}.weight" in state}
    found["final_layer.adaLN_modulation.1.weight"] = swapped(state["norm_out.linear.weight"])
    block, place = "transformer_blocks.0.", "double_blocks.0."
    found |= {f"{place}{theirs}.weight": state[f"{block}{ours}.weight"] for ours, theirs in DOUBLE.items()}
    found |= {f"{place}{theirs}.scale": state[f"{block}{ours}.weight"] for ours, theirs in FLUX_NORMS.items()}
    for names, theirs in ((("to_q", "to_k", "to_v"), "img"), (("add_q_proj", "add_k_proj", "add_v_proj"), "txt")):
        found[f"{place}{theirs}_attn.qkv.weight"] = torch.cat([state[f"{block}attn.{name}.weight"] for name in names])
    for n in range(2):
        block, place = f"single_transformer_blocks.{n}.", f"single_blocks.{n}."
        found |= {f"{place}{theirs}.weight": state[f"{block}{ours}.weight"] for ours, theirs in SINGLE.items()}
        for q, name in (("q", "query"), ("k", "key")):
            found[f"{place}norm.{name}_norm.scale"] = state[f"{block}attn.norm_{q}.weight"]
    return found


def vae() -> AutoencoderKLFlux2:
    levels = 4
    made = AutoencoderKLFlux2(
        block_out_channels=(32,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
    ).eval()
    made.bn.running_mean.normal_()
    made.bn.running_var.uniform_(0.5, 2)
    return made


def original_vae(made: AutoencoderKLFlux2) -> dict[str, torch.Tensor]:
    """Its weights as in flux2-vae.safetensors: the convolutions beside the latent are in encoder and decoder."""
    state = made.state_dict()
    names = vae_keys.original_names(state)
    sides = {"quant_conv.": "encoder.quant_conv.", "post_quant_conv.": "decoder.post_quant_conv."}
    found = {}
    for name, tensor in state.items():
        side = next((there for here, there in sides.items() if name.startswith(here)), None)
        found[names[name] if side is None else side + name.rpartition(".")[2]] = tensor
    return found


def qwen(width: int = WIDTH, layers: int = 28) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=300,
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    )
    return randomised(Qwen3ForCausalLM(config), 0.1)


def tekken_model() -> bytes:
    """A tokenizer as Mistral writes it: all bytes and a few parts of words."""
    words = [b"re", b"ed", b"fo", b"fox", b" a", b" re", b" red", b"wo", b"od", b" wo", b" wood"]
    tokens = [bytes([n]) for n in range(256)] + words
    vocabulary = [{"rank": n, "token_bytes": base64.b64encode(token).decode()} for n, token in enumerate(tokens)]
    config = {"pattern": r"\s*\S+|\s+", "default_vocab_size": len(SPECIAL) + len(tokens)}
    special = [{"rank": n, "token_str": name, "is_control": True} for n, name in enumerate(SPECIAL)]
    return json.dumps({"config": config, "vocab": vocabulary, "special_tokens": special}).encode()


def mistral() -> Mistral3ForConditionalGeneration:
    text = {
        "model_type": "mistral",
        "vocab_size": 320,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 31,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 128,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000_000.0},
    }
    vision = {"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "patch_size": 14, "image_size": 28}
    return randomised(Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=vision)), 0.1)


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)


@pytest.fixture(scope="session")
def klein() -> Flux2KleinPipeline:
    torch.manual_seed(0)
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = THINKING
    made = Flux2KleinPipeline(scheduler(), vae(), qwen(), tokenizer, transformer(guidance=False), is_distilled=False)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def dev(klein: Flux2KleinPipeline) -> Flux2Pipeline:
    torch.manual_seed(1)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tekken(tekken_model()), pad_token="<pad>", padding_side="left", chat_template=INSTRUCTION
    )
    made = Flux2Pipeline(scheduler(), klein.vae, mistral(), tokenizer, transformer(guidance=True))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def flux2_models(klein: Flux2KleinPipeline, dev: Flux2Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's folders with split files, and the folders of the pipelines among the checkpoints."""
    root: Path = tmp_path_factory.mktemp("flux2") / "models"
    nets, texts = root / "diffusion_models", root / "text_encoders"
    write(names_of(klein.transformer.state_dict()), nets / "klein.safetensors")
    write(names_of(dev.transformer.state_dict()), nets / "dev.safetensors")
    write(original_vae(klein.vae), root / "vae" / "flux2-vae.safetensors")
    write(bare(klein.text_encoder.state_dict()), texts / "qwen_3_4b.safetensors")
    torch.manual_seed(2)
    write(bare(qwen(48).state_dict()), texts / "qwen_3_8b.safetensors")
    write(bare(qwen(layers=12).state_dict()), texts / "short.safetensors")
    klein.tokenizer.save_pretrained(texts / "tokenizer")
    language = {name.replace("language_model.", ""): t for name, t in dev.text_encoder.state_dict().items()}
    language = {name: tensor for name, tensor in language.items() if "vision" not in name and "projector" not in name}
    pruned = {
        name: tensor for name, tensor in language.items() if ".layers.30." not in name and "norm.w" not in name[:12]
    }
    inside = torch.frombuffer(bytearray(tekken_model()), dtype=torch.uint8)
    for name, state in (("mistral", language), ("pruned", pruned)):
        write({**bare(state), "tekken_model": inside}, texts / f"{name}.safetensors")
    klein.save_pretrained(root / "checkpoints" / "klein")
    dev.save_pretrained(root / "checkpoints" / "dev")
    return root


def bare(state: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in state.items() if not name.startswith("lm_head.")}


@pytest.fixture
def session(tmp_path: Path, flux2_models: Path) -> Iterator[Session]:
    folders = {"models": [flux2_models], "input": tmp_path, "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(folders, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made
