"""Titles of networks by the names of their tensors, for supported networks and for others.

The names are from the headers of published files (families of 2024 to 2026). Order matters: special cases come first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "model.", "model.model.", "model.language_model.")
TITLES = {  # the name of a tensor -> the network that has it
    "joint_blocks.0.context_block.adaLN_modulation.1.bias": "Stable Diffusion 3",
    "distilled_guidance_layer.in_proj.bias": "Chroma",
    "distilled_guidance_layer.norms.0.scale": "Chroma",
    "single_stream_modulation.lin.weight": "Flux.2",
    "early_stream_modulations.image.lin.weight": "Flux 3",
    "txt_in.individual_token_refiner.blocks.0.norm1.weight": "HunyuanVideo",
    "double_blocks.0.img_attn.norm.key_norm.scale": "Flux.1",
    "controlnet_blocks.0.y_rms.weight": "the DiffSynth ControlNet of Qwen-Image",
    "control_blocks.0.img_mlp.out.weight": "the Fun ControlNet of Qwen-Image 2.1",
    "control_blocks.0.after_proj.weight": "the Fun ControlNet of Qwen-Image",
    "control_transformer_blocks.0.before_proj.weight": "the Fun ControlNet of Flux.2",
    "txt_in.text_norm.weight": "Qwen-Image 2.1",
    "time_text_embed.addition_t_embedding.weight": "Qwen-Image-Layered",
    "txt_norm.weight": "Qwen-Image",
    "txtfusion.projector.weight": "Krea 2",
    "layers.0.adaLN_modulation.0.weight": "Z-Image",
    "layers.0.adaLN_modulation.1.weight": "Lumina 2",
    "head.modulation": "Wan",
    "av_ca_a2v_gate_adaln_single.linear.weight": "LTX-2",
    "patchify_proj.weight": "LTX-Video",
    "caption_projection.0.linear.weight": "HiDream",
    "double_layers.0.attn.w1q.weight": "AuraFlow",
    "t_block.1.weight": "PixArt",
    "token_refiner.blocks.0.attn.qkv_proj.weight": "MiniMax H3",
    "encoder.block.0.layer.1.DenseReluDense.wi_1.weight": "T5",
    "layers.0.self_attn.k_proj.bias": "Qwen2.5-VL",
    "visual.deepstack_merger_list.0.norm.weight": "Qwen3-VL",
    "layers.0.post_feedforward_layernorm.weight": "Gemma",
    "layers.0.self_attn.q_norm.weight": "Qwen3",
    "layers.0.self_attn.q_proj.weight": "Llama or Mistral",
    "bn.running_mean": "the VAE of Flux.2",
    "decoder.upsamples.4.upsamples.0.residual.0.gamma": "the VAE of Qwen-Image 2.1",
    "decoder.middle.0.residual.0.gamma": "the VAE of Wan or Qwen-Image",
}
MARKS = (  # prefix of a layer's name, with "_" for ".", and the network; the first match wins
    (r"(double|single)_blocks_\d+_|single_transformer_blocks_\d+_", "a Flux model or Chroma"),
    (r"joint_blocks_\d+_", "Stable Diffusion 3"),
    (r"transformer_blocks_\d+_img_mlp_(gate_up|gate_layer|proj|out)", "Qwen-Image 2.1"),
    (r"transformer_blocks_\d+_(img|txt)_(mlp|mod)_", "Qwen-Image"),
    (r"blocks_\d+_attn_w[qkvo]|txtfusion_|transformer_blocks_\d+_ff_(gate|up|down)", "Krea 2"),
    (r"(layers|noise_refiner|context_refiner)_\d+_(attention|feed_forward|adaLN_modulation)_", "Z-Image or Lumina 2"),
    (r"transformer_blocks_\d+_", "a transformer in diffusers' layout"),
    (r"blocks_\d+_(self_attn|cross_attn|ffn)_", "Wan"),
    (r"(down|up|input|output)_blocks_\d+_|mid(dle)?_block_", "Stable Diffusion with a UNet"),
    (r"encoder_layers_\d+_", "CLIP"),
    (r"block_\d+_layer_\d+_", "T5"),
    (r"layers_\d+_(self_attn|mlp)_", "a language model"),
)
_RUNNING = {
    "Stable Diffusion 3",
    "Chroma",
    "Flux.1",
    "Flux.2",
    "the VAE of Flux.2",
    "Qwen-Image",
    "Qwen-Image 2.1",
    "the VAE of Qwen-Image 2.1",
    "Krea 2",
    "Z-Image",
    "T5",
    "Qwen2.5-VL",
    "Qwen3",
    "Qwen3-VL",
}
_WAN = {(1536,): " 1.3B", (3072,): " 5B", (5120,): " 14B"}  # by the width of its first layer
_FLUX = {(384,): " Fill", (128,): " Depth or Canny"}  # by its first layer's inputs
_KLEIN = {(7680,): " 4B", (12288,): " 9B"}  # by the width of its text
_WAN_KINDS = {
    "vace_blocks.0.before_proj.weight": " VACE",
    "face_adapter.fuser_blocks.0.k_norm.weight": " Animate",
    "img_emb.proj.0.weight": " image to video",
}


def network_title(tensors: Mapping[str, Any]) -> str:
    """Return the title of the network in a file, or "". `tensors`: shapes, or objects with a shape, by name."""
    for prefix in PREFIXES:
        for name, title in TITLES.items():
            if prefix + name in tensors:
                return title + _VARIANTS.get(title, _none)(tensors, prefix)
    return ""


def runs_here(title: str) -> bool:
    """Whether networks of that title are supported; a variant at the end of the title is ignored."""
    return max((known for known in TITLES.values() if title.startswith(known)), key=len, default="") in _RUNNING


def layers_title(layers: Iterable[str]) -> str:
    """Return the network that has layers of these names, which have "_" for "."."""
    names = list(layers)
    found = (title for mark, title in MARKS if any(re.match(mark, name) for name in names))
    return next(found, "an unknown model")


def _shape(tensors: Mapping[str, Any], name: str) -> tuple[int, ...]:
    found: tuple[int, ...] = getattr(tensors.get(name, ()), "shape", tensors.get(name, ()))
    return found


def _none(*_: Any) -> str:
    return ""


def _wan(tensors: Mapping[str, Any], prefix: str) -> str:
    width = _shape(tensors, f"{prefix}patch_embedding.weight")[:1]
    kind = next((kind for name, kind in _WAN_KINDS.items() if prefix + name in tensors), "")
    return f"{kind}{_WAN.get(width, '')}"


def _flux(tensors: Mapping[str, Any], prefix: str) -> str:
    """The variant of Flux: Fill and the control models have more input channels than output channels."""
    kind = _FLUX.get(_shape(tensors, f"{prefix}img_in.weight")[1:])
    return kind or (" dev" if f"{prefix}guidance_in.in_layer.weight" in tensors else " schnell")


def _flux2(tensors: Mapping[str, Any], prefix: str) -> str:
    """The variant of Flux.2: dev is told a guidance; the sizes of klein differ in the width of their text."""
    size = _KLEIN.get(_shape(tensors, f"{prefix}txt_in.weight")[1:], "")
    return " dev" if f"{prefix}guidance_in.in_layer.weight" in tensors else f" klein{size}"


def _sd3(tensors: Mapping[str, Any], prefix: str) -> str:
    if f"{prefix}joint_blocks.37.x_block.attn.qkv.weight" in tensors:
        return ".5 Large"
    return ".5 Medium" if f"{prefix}joint_blocks.0.x_block.attn2.qkv.weight" in tensors else ""


def _qwen_image(tensors: Mapping[str, Any], prefix: str) -> str:
    """The variant of Qwen-Image: only Edit 2511 has a marker, the other editing models have the same tensors."""
    return "-Edit 2511" if f"{prefix}__index_timestep_zero__" in tensors else ""


_VARIANTS: Mapping[str, Callable[[Mapping[str, Any], str], str]] = {
    "Wan": _wan,
    "Flux.1": _flux,
    "Flux.2": _flux2,
    "Stable Diffusion 3": _sd3,
    "Qwen-Image": _qwen_image,
}
