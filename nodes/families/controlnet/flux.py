"""ControlNets of Flux.1: InstantX's and Shakker's (in diffusers' layout), XLabs', and inpaint ones as alimama's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latentloom.nodes.families.controlnet.transformer import Residuals, Seen, TransformerControl, spread
from latentloom.nodes.families.flux import GUIDANCE
from latentloom.nodes.families.header import Shapes, counted
from latentloom.nodes.families.key_tables import FLUX, FLUX_PARTS, converted
from latentloom.nodes.families.tokens import packed, places

if TYPE_CHECKING:
    from torch import Tensor

HINT = 16  # channels of XLabs' small network for pixels
XLABS = (
    *FLUX,
    (r"pos_embed_input", "controlnet_x_embedder"),
    (r"controlnet_blocks\.(\d+)", r"controlnet_blocks.\1"),
    (r"input_hint_block\.0", "input_hint_block.conv_in"),
    *((rf"input_hint_block\.{2 * n + 2}", f"input_hint_block.blocks.{n}") for n in range(6)),
    (r"input_hint_block\.14", "input_hint_block.conv_out"),
)


class FluxControl(TransformerControl):
    """A ControlNet of Flux.1; one of dev guides schnell too.

    Those of XLabs see pixels, and their few outputs are repeated over the transformer's blocks.
    """

    family, title, module = "flux", "Flux.1", "FluxControlNetModel"

    def matches(self, shapes: Shapes) -> bool:
        """Whether it is one, in diffusers' layout or in that of XLabs."""
        if _xlabs(shapes):
            return True
        return "controlnet_x_embedder.weight" in shapes and "transformer_blocks.0.norm1_context.linear.weight" in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes; the head's width is split 2 : 7 : 7 between the axes."""
        shapes = _by_diffusers_names(shapes)
        head = shapes["transformer_blocks.0.attn.norm_q.weight"][0]
        width, channels = shapes["x_embedder.weight"]
        pixels = "input_hint_block.conv_in.weight" in shapes
        found = {
            "patch_size": 2 if pixels else 1,
            "in_channels": channels,
            "num_layers": counted(shapes, "transformer_blocks.{}."),
            "num_single_layers": counted(shapes, "single_transformer_blocks.{}."),
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "joint_attention_dim": shapes["context_embedder.weight"][1],
            "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1],
            "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in shapes,
            "axes_dims_rope": [head // 8, 7 * head // 16, 7 * head // 16],
            "extra_condition_channels": shapes["controlnet_x_embedder.weight"][1] - channels,
        }
        if "controlnet_mode_embedder.weight" in shapes:
            found["num_mode"] = shapes["controlnet_mode_embedder.weight"][0]
        return {**found, "conditioning_embedding_channels": HINT} if pixels else found

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts."""
        return {
            "context": config["joint_attention_dim"],
            "inner": config["num_attention_heads"] * config["attention_head_dim"],
            "latents": config.get("conditioning_embedding_channels") is None,
            **({"masked": True} if config.get("extra_condition_channels") else {}),
            **({"union": config["num_mode"]} if config.get("num_mode") else {}),
        }

    def build(self, config: Mapping[str, Any]) -> Any:
        """Build the network; that of an inpaint ControlNet sees a mask beside its latent."""
        from torch import nn

        further = config.get("extra_condition_channels", 0)
        made = super().build({name: value for name, value in config.items() if name != "extra_condition_channels"})
        if further:
            made.controlnet_x_embedder = nn.Linear(config["in_channels"] + further, made.inner_dim)
        return made

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Convert XLabs' names by a table."""
        return converted(tensors, len(tensors["img_in.weight"]), XLABS, FLUX_PARTS) if _xlabs(tensors) else tensors

    def residuals(self, net: Any, seen: Seen) -> Residuals:
        """Call the network; one that is told a guidance is told dev's, if the transformer is not told any."""
        import torch

        prompt, x = seen.condition["prompt"], seen.x
        pixels = net.input_hint_block is not None
        double, single = net(
            hidden_states=packed(x),
            controlnet_cond=_pixels(seen) if pixels else packed(seen.picture),
            controlnet_mode=None if seen.mode is None else torch.full((len(x), 1), seen.mode, device=x.device),
            timestep=seen.sigma,
            guidance=_guidance(seen) if net.config.guidance_embeds else None,
            pooled_projections=seen.condition["pooled"],
            encoder_hidden_states=prompt,
            txt_ids=prompt.new_zeros(prompt.shape[1], 3),
            img_ids=places(x),
            return_dict=False,
        )
        blocks, rest = (len(found) for found in (seen.module.transformer_blocks, seen.module.single_transformer_blocks))
        repeated = [double[block % len(double)] for block in range(blocks)] if pixels else spread(double, blocks)
        return {
            "controlnet_block_samples": repeated,
            **({"controlnet_single_block_samples": spread(single, rest)} if single else {}),
        }


def _xlabs(tensors: Mapping[str, Any]) -> bool:
    return "input_hint_block.0.weight" in tensors and "pos_embed_input.weight" in tensors


def _by_diffusers_names(shapes: Shapes) -> Shapes:
    """Return the shapes by diffusers' names, without those of fused layers."""
    return converted(shapes, 0, XLABS, ()) if _xlabs(shapes) else shapes


def _pixels(seen: Seen) -> Tensor:
    """Return the picture in -1..1, at the size of x in pixels."""
    from torch.nn.functional import pad

    (height, width), step = seen.x.shape[2:], 8
    picture = seen.picture * 2 - 1
    return pad(picture, (0, width * step - picture.shape[3], 0, height * step - picture.shape[2]), mode="replicate")


def _guidance(seen: Seen) -> Tensor:
    import torch

    told = seen.condition.get("guidance")
    return torch.full((len(seen.x),), GUIDANCE["plain"], device=seen.x.device) if told is None else told[:, 0]
