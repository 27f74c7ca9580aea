"""Flux.1 (Black Forest Labs 2024): two streams of text and picture that become one, read by T5 and CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.nodes.families.denoiser import Told
from latentloom.nodes.families.family import Family
from latentloom.nodes.families.header import Shapes, counted
from latentloom.nodes.families.key_tables import FLUX, FLUX_PARTS, converted
from latentloom.nodes.families.latent_scale import scaled
from latentloom.nodes.families.references import references, told_references
from latentloom.nodes.families.t5 import TOKENIZER
from latentloom.nodes.families.tokens import packed, places, unpacked, whole
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.joined import FluxReader
from latentloom.nodes.text.t5 import T5

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

GUIDANCE = {"plain": 3.5, "control": 10.0, "fill": 30.0}  # what their authors tell each
BY_SIZE = {"by": "size", "low": [256, 0.5], "high": [4096, 1.15], "patch": 2, "count": 10_000}


def flux_config(shapes: Shapes) -> dict[str, Any]:
    """What Flux.1's network and Chroma's have in common; the split of a head's width into axes is 2 : 7 : 7."""
    head = shapes["double_blocks.0.img_attn.norm.key_norm.scale"][0]
    return {
        "in_channels": shapes["img_in.weight"][1],
        "out_channels": shapes["final_layer.linear.weight"][0],
        "num_layers": counted(shapes, "double_blocks.{}."),
        "num_single_layers": counted(shapes, "single_blocks.{}."),
        "attention_head_dim": head,
        "num_attention_heads": shapes["img_in.weight"][0] // head,
        "joint_attention_dim": shapes["txt_in.weight"][1],
        "axes_dims_rope": [head // 8, 7 * head // 16, 7 * head // 16],
    }


def flux_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """What sampling needs to know of both."""
    return {
        "channels": (config.get("out_channels") or config["in_channels"]) // 4,
        "in_channels": config["in_channels"] // 4,
        "size": 128,
        "downscale": 8,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "context": config["joint_attention_dim"],
        "inner": config["num_attention_heads"] * config["attention_head_dim"],
    }


class Flux(Family):
    """Flux.1 dev, schnell, Kontext, Fill, Depth and Canny.

    Guidance is a number that all but schnell are told: `EmbeddedGuidance`. Kontext has the tensors of dev and sees
    reference pictures as further tokens; Fill, Depth and Canny have further channels.
    """

    name, title, module = "flux", "Flux.1", "diffusers:FluxTransformer2DModel"
    reads, vae = "CLIP-L and T5-XXL", "the VAE of Flux.1 (ae.safetensors)"
    texts: ClassVar = {"text_encoder": "l", "text_encoder_2": "t5"}
    needs, tokenizer = ("l", "t5"), ("t5", TOKENIZER)
    renamed, fused = FLUX, FLUX_PARTS
    converted_mark = "single_transformer_blocks.0.proj_mlp.weight"

    def matches(self, shapes: Shapes) -> bool:
        """Flux.2 and Chroma have the first of these names too, but not the second."""
        return "double_blocks.0.img_attn.norm.key_norm.scale" in shapes and "vector_in.in_layer.weight" in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """From shapes; whether it is told a guidance is what tells dev from schnell."""
        return {
            **flux_config(shapes),
            "pooled_projection_dim": shapes["vector_in.in_layer.weight"][1],
            "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
        }

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The shift of dev goes by the picture's size; schnell, which is told no guidance, has none."""
        dev, facts = bool(config.get("guidance_embeds")), flux_facts(config)
        further = facts["in_channels"] - facts["channels"]
        kind = "fill" if further > facts["channels"] else "control" if further else "plain"
        return {
            **facts,
            "references": kind == "plain",
            **({"mask_channels": further - facts["channels"]} if kind == "fill" else {}),
            "pooled": config["pooled_projection_dim"],
            "shift": BY_SIZE if dev else {"shift": 1.0},
            "text_length": 512 if dev else 256,
            "defaults": {"steps": 20 if dev else 4, "cfg": 1.0, "sampler": "euler", "schedule": "simple"},
            **({"guidance": GUIDANCE[kind]} if dev else {}),
        }

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """By a table of names."""
        return converted(tensors, len(tensors["img_in.weight"]), self.renamed, self.fused)

    def build(self, config: Mapping[str, Any]) -> Any:
        """The authors' last norm has its shift before its scale."""
        from latentloom.nodes.families.last_norm import shift_first

        module = super().build(config)
        module.norm_out = shift_first(module.inner_dim)
        return module

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Of a CLIP-L and a T5."""
        found = self.chosen(paths)
        return {
            "family": self.name,
            "encoders": list(found),
            "width": found["t5"].width,
            "pooled": found["l"].width,
            "tokenizer": TOKENIZER.digest(found["t5"].path),
            "text_length": 512,
        }

    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> FluxReader:
        """T5's hidden states and CLIP's pooled output."""
        found = self.chosen(paths)
        t5 = T5(found["t5"].module(), TOKENIZER.load(found["t5"].path), info["text_length"])
        return FluxReader(TextEncoder((found["l"].clip("sd1"),)), t5)

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """Further channels and reference pictures too, scaled as the latent is."""
        import torch

        made = {**super().tells(entry, told), **told_references(entry, told)}
        if told.info["in_channels"] != told.info["channels"]:
            parts = [scaled(entry.arrays["concat"].tensor(), told.info)]
            if "mask_channels" in told.info:
                parts.append(_pixels_of_cells(entry.arrays["concat_mask"].tensor(), told))
            batch = max(len(part) for part in parts)
            made["concat"] = told.put(torch.cat([part.expand(batch, -1, -1, -1) for part in parts], dim=1))
        return made

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Tokens of 2 x 2 cells with their places, then those of reference pictures; the velocity is the network's own.

        Reference n keeps its size; its places are those of a picture of that number (FluxKontextPipeline in diffusers).
        """
        import torch

        guidance, prompt = condition.get("guidance"), condition["prompt"]
        seen = torch.cat([x, whole(condition["concat"])], dim=1) if "concat" in condition else x
        tokens, ids = [packed(seen)], [places(x)]
        for number, picture in enumerate(references(condition), start=1):
            tokens.append(packed(picture))
            ids.append(places(picture, number))
        found = module(
            hidden_states=torch.cat(tokens, dim=1),
            timestep=sigma,
            guidance=None if guidance is None else guidance[:, 0],
            pooled_projections=condition["pooled"],
            encoder_hidden_states=prompt,
            txt_ids=prompt.new_zeros(prompt.shape[1], 3),
            img_ids=torch.cat(ids),
            return_dict=False,
        )[0]
        return unpacked(found[:, : tokens[0].shape[1]], x.shape[2], x.shape[3])


def _pixels_of_cells(mask: Tensor, told: Told) -> Tensor:
    """A mask in pixels [B, H, W] with the pixels of a cell as channels [B, 64, h, w], 1 where it is above 0.5."""
    from torch.nn.functional import interpolate

    (height, width), step = told.shape[2:], told.downscale
    fitted = interpolate(mask[:, None], (height * step, width * step), mode="nearest")[:, 0]
    cells = (fitted > 0.5).float().reshape(-1, height, step, width, step)
    return cells.permute(0, 2, 4, 1, 3).reshape(-1, step * step, height, width)
