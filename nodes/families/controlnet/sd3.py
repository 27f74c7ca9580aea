"""ControlNets of Stable Diffusion 3 and 3.5: InstantX's, alimama's for inpainting, and Stability's of 3.5 Large."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from latentloom.nodes.families.controlnet.transformer import LATENT, Residuals, Seen, TransformerControl
from latentloom.nodes.families.header import Shapes, counted
from latentloom.nodes.families.key_tables import converted

_BLOCK = r"(transformer_blocks\.\d+)\."
STABILITY = (
    (r"(controlnet_blocks\.\d+)", r"\1"),
    (r"pos_embed_input\.proj", "pos_embed_input.proj"),
    (r"(time_text_embed\..+)", r"\1"),
    (_BLOCK + r"attn\.proj", r"\1.attn.to_out.0"),
    (_BLOCK + r"mlp\.fc1", r"\1.ff.net.0.proj"),
    (_BLOCK + r"mlp\.fc2", r"\1.ff.net.2"),
    (_BLOCK + r"adaLN_modulation\.1", r"\1.norm1.linear"),
)
STABILITY_PARTS = ((_BLOCK + r"attn\.qkv", [rf"\1.attn.{name}" for name in ("to_q", "to_k", "to_v")]),)


class SD3Control(TransformerControl):
    """A ControlNet of SD 3 or 3.5, for a transformer of its own width.

    Stability's have neither text nor positions: they see x with the positions of the transformer, and its pooled text.
    The others are told no pooled text, and their latents are not shifted, except for inpaint ones (diffusers).
    """

    family, title, module = "sd3", "Stable Diffusion 3", "SD3ControlNetModel"
    told = ("force_zeros_for_pooled_projection",)

    def matches(self, shapes: Shapes) -> bool:
        """Whether it is one, in diffusers' layout or in Stability's."""
        return "pos_embed_input.proj.weight" in shapes and "controlnet_blocks.0.weight" in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes; without query and key norms the head's width is 64."""
        width, channels, patch = shapes["pos_embed_input.proj.weight"][:3]
        (head,) = shapes.get("transformer_blocks.0.attn.norm_q.weight", (64,))
        layers = counted(shapes, "transformer_blocks.{}.")
        dual = [n for n in range(layers) if f"transformer_blocks.{n}.attn2.to_q.weight" in shapes]
        text = shapes.get("context_embedder.weight")
        found = {
            "patch_size": patch,
            "in_channels": LATENT,
            "extra_conditioning_channels": channels - LATENT,
            "num_layers": layers,
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1],
            "dual_attention_layers": tuple(dual),
            "qk_norm": "rms_norm" if "transformer_blocks.0.attn.norm_q.weight" in shapes else None,
        }
        if text is None:
            return {
                **found,
                "joint_attention_dim": None,
                "pos_embed_type": None,
                "use_pos_embed": False,
                "force_zeros_for_pooled_projection": False,
            }
        side = isqrt(shapes["pos_embed.pos_embed"][1])
        return {**found, "joint_attention_dim": text[1], "caption_projection_dim": text[0], "pos_embed_max_size": side}

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts."""
        masked = bool(config.get("extra_conditioning_channels"))
        return {
            **({"context": config["joint_attention_dim"]} if config["joint_attention_dim"] else {}),
            "inner": config["num_attention_heads"] * config["attention_head_dim"],
            "latents": True,
            **({"masked": True} if masked else {}),
            **({"unshifted": True} if config.get("force_zeros_for_pooled_projection", True) and not masked else {}),
        }

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Convert Stability's names by a table."""
        if "transformer_blocks.0.attn.qkv.weight" not in tensors:
            return tensors
        return converted(tensors, len(tensors["pos_embed_input.proj.weight"]), STABILITY, STABILITY_PARTS)

    def residuals(self, net: Any, seen: Seen) -> Residuals:
        """Call the network with 1000 sigma as its time."""
        pooled, config, blocks = seen.condition["pooled"], net.config, len(seen.module.transformer_blocks)
        zeros = config.force_zeros_for_pooled_projection or config.extra_conditioning_channels
        (samples,) = net(
            hidden_states=seen.x if net.pos_embed is not None else seen.module.pos_embed(seen.x),
            controlnet_cond=seen.picture,
            timestep=seen.sigma * 1000,
            encoder_hidden_states=None if net.context_embedder is None else seen.condition["prompt"],
            pooled_projections=pooled * 0 if zeros else pooled,
            return_dict=False,
        )
        share = blocks / len(samples)
        return {"block_controlnet_hidden_states": [samples[int(block / share)] for block in range(blocks)]}
