"""Parts of models with a transformer: of true names and tiny size, with random weights."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
    T5Config,
    T5EncoderModel,
)

from latentloom.nodes.families.stable_diffusion import vae_keys
from latentloom.nodes.text.clip_tokenizer import SIZE

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

FLUX_OUTER = {
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
FLUX_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
FLUX_NORMS = {
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
}
SD3_OUTER = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
}
SD3_INNER = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "attn.to_out.0": "x_block.attn.proj",
    "attn2.to_out.0": "x_block.attn2.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
SD3_STACKED = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
KREA2_OUTER = {
    "img_in": "first",
    "time_embed.linear_1": "tmlp.0",
    "time_embed.linear_2": "tmlp.2",
    "time_mod_proj": "tproj.1",
    "txt_in.linear_1": "txtmlp.1",
    "txt_in.linear_2": "txtmlp.3",
    "txt_in.norm": "txtmlp.0",
    "final_layer": "last",
    "transformer_blocks": "blocks",
    "text_fusion": "txtfusion",
}
KREA2_INNER = {
    ".attn.to_q.weight": ".attn.wq.weight",
    ".attn.to_k.weight": ".attn.wk.weight",
    ".attn.to_v.weight": ".attn.wv.weight",
    ".attn.to_out.0.weight": ".attn.wo.weight",
    ".attn.to_gate.weight": ".attn.gate.weight",
    ".attn.norm_q.weight": ".attn.qknorm.qnorm.scale",
    ".attn.norm_k.weight": ".attn.qknorm.knorm.scale",
    ".ff.": ".mlp.",
    ".norm1.weight": ".prenorm.scale",
    ".norm2.weight": ".postnorm.scale",
    "txtmlp.0.weight": "txtmlp.0.scale",
    "last.norm.weight": "last.norm.scale",
    "last.scale_shift_table": "last.modulation.lin",
    ".scale_shift_table": ".mod.lin",
}
Z_IMAGE_RENAMED = (  # of diffusers' names to the authors'
    ("all_final_layer.2-1.", "final_layer."),
    ("all_x_embedder.2-1.", "x_embedder."),
    (".attention.to_out.0.", ".attention.out."),
    (".attention.norm_k.", ".attention.k_norm."),
    (".attention.norm_q.", ".attention.q_norm."),
)


def randomised(module: Any, std: float = 0.15) -> Any:
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return module.eval()


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor.contiguous() for name, tensor in state.items()}


def autoencoder(scaling_factor: float, shift_factor: float) -> AutoencoderKL:
    """A VAE of 16 channels and 8 pixels a cell, without the convolutions around the latent."""
    levels = 4
    return AutoencoderKL(
        block_out_channels=(32,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=16,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def original_vae(vae: AutoencoderKL) -> dict[str, torch.Tensor]:
    """Its weights as in ae.safetensors."""
    state = vae.state_dict()
    names = vae_keys.original_names(state)
    return {names[name]: tensor.contiguous() for name, tensor in state.items()}


def flux_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a Flux.1 or a Chroma with one double block and two single ones, by their authors' names."""
    found = {}
    for name, tensor in state.items():
        layer, _, kind = name.rpartition(".")
        if layer in FLUX_OUTER:
            found[f"{FLUX_OUTER[layer]}.{kind}"] = tensor
        elif layer == "norm_out.linear":
            found[f"final_layer.adaLN_modulation.1.{kind}"] = torch.cat(list(reversed(tensor.chunk(2))))
        elif layer.startswith("transformer_blocks.0."):
            inner = layer.removeprefix("transformer_blocks.0.")
            if inner in FLUX_NORMS:
                found[f"double_blocks.0.{FLUX_NORMS[inner]}.scale"] = tensor
            elif inner in FLUX_DOUBLE:
                found[f"double_blocks.0.{FLUX_DOUBLE[inner]}.{kind}"] = tensor
    for kind in ("weight", "bias"):
        for names, theirs in ((("to_q", "to_k", "to_v"), "img"), (("add_q_proj", "add_k_proj", "add_v_proj"), "txt")):
            parts = [state[f"transformer_blocks.0.attn.{name}.{kind}"] for name in names]
            found[f"double_blocks.0.{theirs}_attn.qkv.{kind}"] = torch.cat(parts)
        for layer in range(2):
            ours, theirs = f"single_transformer_blocks.{layer}.", f"single_blocks.{layer}."
            parts = [state[f"{ours}{n}.{kind}"] for n in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
            found[f"{theirs}linear1.{kind}"] = torch.cat(parts)
            found[f"{theirs}linear2.{kind}"] = state[f"{ours}proj_out.{kind}"]
            if f"{ours}norm.linear.{kind}" in state:
                found[f"{theirs}modulation.lin.{kind}"] = state[f"{ours}norm.linear.{kind}"]
    for layer in range(2):
        for ours, theirs in (("attn.norm_q", "norm.query_norm"), ("attn.norm_k", "norm.key_norm")):
            found[f"single_blocks.{layer}.{theirs}.scale"] = state[f"single_transformer_blocks.{layer}.{ours}.weight"]
    return found


def chroma_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a Chroma by its authors' names."""
    found = flux_names(state)
    for name, tensor in state.items():
        if name.startswith("distilled_guidance_layer."):
            name = name.replace(".linear_1.", ".in_layer.").replace(".linear_2.", ".out_layer.")
            found[name.replace(".weight", ".scale") if ".norms." in name else name] = tensor
    return found


def swapped(tensor: torch.Tensor) -> torch.Tensor:
    return torch.cat(list(reversed(tensor.chunk(2))))


def sd3_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a Stable Diffusion 3 by its authors' names."""
    layers = sum(name.endswith(".norm1.linear.bias") for name in state)
    found = {"pos_embed": state["pos_embed.pos_embed"]}
    for kind in ("weight", "bias"):
        found |= {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for ours, theirs in SD3_OUTER.items()}
        found[f"final_layer.adaLN_modulation.1.{kind}"] = swapped(state[f"norm_out.linear.{kind}"])
        for n in range(layers):
            block, place = f"transformer_blocks.{n}.", f"joint_blocks.{n}."
            inner = {o: t for o, t in SD3_INNER.items() if f"{block}{o}.{kind}" in state}
            found |= {f"{place}{theirs}.{kind}": state[f"{block}{ours}.{kind}"] for ours, theirs in inner.items()}
            stacked = {t: o for t, o in SD3_STACKED.items() if f"{block}{o[0]}.{kind}" in state}
            found |= {
                f"{place}{t}.{kind}": torch.cat([state[f"{block}{o}.{kind}"] for o in os]) for t, os in stacked.items()
            }
            context = state[f"{block}norm1_context.linear.{kind}"]
            last = n == layers - 1
            found[f"{place}context_block.adaLN_modulation.1.{kind}"] = swapped(context) if last else context
    return found


def krea2_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a Krea 2 by its authors' names, with the modulation of a block flat."""
    found = {}
    for name, tensor in state.items():
        for ours, theirs in KREA2_OUTER.items():
            name = name.replace(ours, theirs, 1) if name.startswith(ours) else name
        for ours, theirs in KREA2_INNER.items():
            name = name.replace(ours, theirs)
        found[name] = tensor.flatten() if name.endswith(".mod.lin") else tensor
    return found


def z_image_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a Z-Image by its authors' names, with q, k and v in one."""
    found = {}
    for name, tensor in state.items():
        for ours, theirs in Z_IMAGE_RENAMED:
            name = name.replace(ours, theirs)
        if ".attention.to_q." in name:
            parts = (state[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v"))
            found[name.replace("to_q", "qkv")] = torch.cat(list(parts))
        elif ".attention.to_k." not in name and ".attention.to_v." not in name:
            found[name] = tensor.contiguous()
    return found


def unigram_tokenizer() -> Tokenizer:
    """A tokenizer like T5's: a few words, and letters for all others."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    words = ("\u2581a", "\u2581red", "\u2581fox", "\u2581wood", "lake")
    pieces += [(word, -3.0 - n / 8) for n, word in enumerate(words)]
    pieces += [(letter, -5.0 - n / 16) for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz,'.0123456789")]
    made = Tokenizer(models.Unigram(pieces, unk_id=2))
    made.normalizer = normalizers.Sequence([normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return made


def t5_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=unigram_tokenizer(), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer like Qwen's, with a few words and the marks of a chat."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["a red fox in a wood", "blurry and grey"] * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<|endoftext|>", eos_token="<|im_end|>", chat_template=TEMPLATE
    )


def t5(width: int) -> T5EncoderModel:
    config = T5Config(
        vocab_size=100, d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    return randomised(T5EncoderModel(config))


def t5_file(model: T5EncoderModel, prefix: str = "") -> dict[str, torch.Tensor]:
    """Its weights as in t5xxl_fp16.safetensors, which has the tokens' vectors once."""
    state = model.state_dict()
    return prefixed(prefix, {name: tensor for name, tensor in state.items() if name != "encoder.embed_tokens.weight"})


def clip(width: int, projection: int = 0, activation: str = "quick_gelu") -> Any:
    """A CLIP text model with the whole vocabulary, whose pooled output is projected where a width for it is given."""
    config = CLIPTextConfig(
        vocab_size=SIZE,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=max(1, width // 64),
        hidden_act=activation,
        projection_dim=projection or width,
        bos_token_id=SIZE - 2,
        eos_token_id=SIZE - 1,
    )
    return randomised((CLIPTextModelWithProjection if projection else CLIPTextModel)(config))


def qwen2_5_vl_config(width: int, tokenizer: Any) -> Qwen2_5_VLConfig:
    """A Qwen2.5-VL with heads of 128 numbers and a vision tower with 16 heads, as the files of any size."""
    rope = {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]}
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 300,
            "hidden_size": width,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": width // 128,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-6,
            "rope_parameters": rope,
        },
        vision_config={
            "depth": 1,
            "hidden_size": 64,
            "intermediate_size": 16,
            "num_heads": 16,
            "out_hidden_size": width,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
    )


def qwen2_5_vl_file(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a Qwen2_5_VLForConditionalGeneration as in qwen_2.5_vl_7b.safetensors."""
    state = {name.replace("model.language_model.", "model."): tensor for name, tensor in model.state_dict().items()}
    return {name.replace("model.visual.", "visual."): tensor.clone() for name, tensor in state.items()}


def qwen3_vl_config(width: int, layers: int, tokenizer: Any) -> Qwen3VLConfig:
    """A Qwen3-VL with heads of 128 numbers and a vision tower with 16 heads, as the files of any size."""
    rope = {"rope_type": "default", "rope_theta": 5_000_000.0, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 300,
            "hidden_size": width,
            "intermediate_size": 96,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 128,
            "rms_norm_eps": 1e-6,
            "rope_parameters": rope,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 16,
            "num_heads": 16,
            "out_hidden_size": width,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
    )


def qwen3_vl_file(model: Any) -> dict[str, torch.Tensor]:
    """The weights of a Qwen3-VL as in qwen3vl_8b_bf16.safetensors."""
    state = {name.removeprefix("model."): tensor.clone() for name, tensor in model.state_dict().items()}
    return {name.replace("language_model.", "model."): tensor for name, tensor in state.items()}


def write(state: dict[str, torch.Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path
