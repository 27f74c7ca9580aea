"""Stable Diffusion 3 and 3.5 (Esser et al. 2024): a two-stream transformer with two CLIPs and T5 as text encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.engine.errors import FileError
from latentloom.nodes.families.family import Family
from latentloom.nodes.families.header import Shapes, counted
from latentloom.nodes.families.key_tables import SD3 as NAMES
from latentloom.nodes.families.key_tables import SD3_PARTS, converted
from latentloom.nodes.families.t5 import TOKENIZER
from latentloom.nodes.families.text_parts import FoundText
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.joined import SD3Reader
from latentloom.nodes.text.t5 import T5

if TYPE_CHECKING:
    from torch import Tensor

LENGTH = 256  # maximum number of T5 tokens


class SD3(Family):
    """SD 3 medium, 3.5 medium, 3.5 large and its turbo. Each of its text encoders may be missing, but not all."""

    name, title, module = "sd3", "Stable Diffusion 3", "diffusers:SD3Transformer2DModel"
    reads, vae = "CLIP-L, CLIP-G and T5-XXL", "the VAE of Stable Diffusion 3"
    texts: ClassVar = {"text_encoder": "l", "text_encoder_2": "g", "text_encoder_3": "t5"}
    needs, tokenizer = (), ("t5", TOKENIZER)
    renamed, fused = NAMES, SD3_PARTS
    converted_mark = "pos_embed.proj.weight"

    def matches(self, shapes: Shapes) -> bool:
        """Whether a name exists that no other family has."""
        return "joint_blocks.0.context_block.adaLN_modulation.1.bias" in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes; without query and key norms the head's width is 64."""
        width, channels, patch = shapes["x_embedder.proj.weight"][:3]
        (head,) = shapes.get("joint_blocks.0.x_block.attn.ln_q.weight", (64,))
        layers = counted(shapes, "joint_blocks.{}.")
        dual = [n for n in range(layers) if f"joint_blocks.{n}.x_block.attn2.qkv.weight" in shapes]
        return {
            "patch_size": patch,
            "in_channels": channels,
            "out_channels": shapes["final_layer.linear.weight"][0] // patch**2,
            "num_layers": layers,
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "joint_attention_dim": shapes["context_embedder.weight"][1],
            "caption_projection_dim": shapes["context_embedder.weight"][0],
            "pooled_projection_dim": shapes["y_embedder.mlp.0.weight"][1],
            "pos_embed_max_size": isqrt(shapes["pos_embed"][1]),
            "dual_attention_layers": tuple(dual),
            "qk_norm": "rms_norm" if "joint_blocks.0.x_block.attn.ln_q.weight" in shapes else None,
        }

    def authors_shapes(self, shapes: Shapes) -> Shapes:
        """Return the table of positions too, which has no layer."""
        table = {"pos_embed": shapes["pos_embed.pos_embed"]} if "pos_embed.pos_embed" in shapes else {}
        return {**super().authors_shapes(shapes), **table}

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts: a static shift of 3, and sides limited by the table of positions."""
        return {
            "channels": config["out_channels"],
            "size": 128,
            "largest": config["pos_embed_max_size"] * config["patch_size"],
            "downscale": 8,
            "scaling_factor": 1.5305,
            "shift_factor": 0.0609,
            "context": config["joint_attention_dim"],
            "inner": config["num_attention_heads"] * config["attention_head_dim"],
            "pooled": config["pooled_projection_dim"],
            "shift": {"shift": 3.0},
            "text_length": LENGTH,
            "defaults": {"steps": 28, "cfg": 4.5, "sampler": "euler", "schedule": "simple"},
        }

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Convert the tensors by a table of names."""
        found = converted(tensors, len(tensors["x_embedder.proj.weight"]), self.renamed, self.fused)
        return {**found, "pos_embed.pos_embed": tensors["pos_embed"]}

    def build(self, config: Mapping[str, Any]) -> Any:
        """Build the network with last norms that have the shift first. The table of positions comes from the file."""
        import torch

        from latentloom.nodes.families.last_norm import shift_first

        module = super().build({**config, "pos_embed_max_size": 1})
        width, side = module.inner_dim, config["pos_embed_max_size"]
        module.pos_embed.pos_embed_max_size = side
        module.pos_embed.pos_embed = torch.empty(1, side**2, width, device="meta")
        module.norm_out = shift_first(width)
        module.transformer_blocks[-1].norm1_context = shift_first(width)
        return module

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Return the facts of the encoders present; a width is 0 if a missing encoder contributes to it."""
        found = self._some(paths)
        t5, clips = found.get("t5"), [found[name] for name in ("l", "g") if name in found]
        tokenizer = {} if t5 is None else {"tokenizer": TOKENIZER.digest(t5.path)}
        return {
            "family": self.name,
            "encoders": list(found),
            "width": 0 if t5 is None else t5.width,
            "pooled": sum(clip.pooled for clip in clips) if len(clips) == 2 else 0,
            "text_length": LENGTH,
            **tokenizer,
        }

    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> SD3Reader:
        """Return a reader of each CLIP's last but one layer and of T5's last layer."""
        found = self._some(paths)
        clips = tuple(found[name].clip("sdxl") for name in ("l", "g") if name in found)
        t5 = T5(found["t5"].module(), TOKENIZER.load(found["t5"].path), LENGTH) if "t5" in found else None
        sizes = {name: info[name] for name in ("width", "pooled") if info[name]}
        return SD3Reader(TextEncoder(clips), t5, **sizes)

    def _some(self, paths: Sequence[Path]) -> dict[str, FoundText]:
        found = self.chosen(paths)
        if not found:
            raise FileError(f"{self.title} needs a text encoder", expected=self.reads, got="none")
        return found

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Call the network with 1000 sigma as its time; it predicts the velocity."""
        found: Tensor = module(
            hidden_states=x,
            timestep=sigma * 1000,
            encoder_hidden_states=condition["prompt"],
            pooled_projections=condition["pooled"],
            return_dict=False,
        )[0]
        return found
