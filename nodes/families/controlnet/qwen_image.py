"""ControlNets of Qwen-Image: InstantX's union one and its inpaint one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentloom.nodes.families.controlnet.transformer import Residuals, Seen, TransformerControl, spread
from latentloom.nodes.families.header import Shapes, counted
from latentloom.nodes.families.tokens import packed


class QwenImageControl(TransformerControl):
    """A ControlNet of Qwen-Image. InstantX's union one tells by itself what a picture shows."""

    family, title, module = "qwen_image", "Qwen-Image", "QwenImageControlNetModel"
    narrow = True

    def matches(self, shapes: Shapes) -> bool:
        """Whether it is one."""
        return "controlnet_x_embedder.weight" in shapes and "txt_norm.weight" in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes; the head's width is split 2 : 7 : 7 between the axes."""
        head = shapes["transformer_blocks.0.attn.norm_q.weight"][0]
        width, channels = shapes["img_in.weight"]
        return {
            "in_channels": channels,
            "num_layers": counted(shapes, "transformer_blocks.{}."),
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "joint_attention_dim": shapes["txt_in.weight"][1],
            "axes_dims_rope": (head // 8, 7 * head // 16, 7 * head // 16),
            "extra_condition_channels": shapes["controlnet_x_embedder.weight"][1] - channels,
        }

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts."""
        return {
            "context": config["joint_attention_dim"],
            "inner": config["num_attention_heads"] * config["attention_head_dim"],
            "latents": True,
            **({"masked": True} if config.get("extra_condition_channels") else {}),
        }

    def residuals(self, net: Any, seen: Seen) -> Residuals:
        """Call the network with the tokens, the text and the mask of the transformer."""
        height, width = seen.x.shape[2:]
        mask = seen.condition["prompt_mask"].bool()
        samples = net(
            hidden_states=packed(seen.x),
            controlnet_cond=packed(seen.picture),
            timestep=seen.sigma,
            encoder_hidden_states=seen.condition["prompt"],
            encoder_hidden_states_mask=None if mask.all() else mask,
            img_shapes=[[(1, height // 2, width // 2)]] * len(seen.x),
            return_dict=False,
        )
        return {"controlnet_block_samples": spread(samples, len(seen.module.transformer_blocks))}
