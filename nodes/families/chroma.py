"""Chroma (lodestones 2025): Flux.1 with one small network that computes all modulations, and T5 as text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.nodes.families.family import Family
from latentloom.nodes.families.flux import flux_config, flux_facts
from latentloom.nodes.families.header import Shapes, counted
from latentloom.nodes.families.key_tables import CHROMA, FLUX_PARTS, converted
from latentloom.nodes.families.t5 import TOKENIZER
from latentloom.nodes.families.tokens import packed, places, unpacked
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.joined import T5Reader
from latentloom.nodes.text.t5 import T5

if TYPE_CHECKING:
    from torch import Tensor

LENGTH = 512  # maximum number of T5 tokens


class Chroma(Family):
    """Every Chroma1 except Radiance, which works on pixels. It is not distilled: cfg is real guidance."""

    name, title, module = "chroma", "Chroma", "diffusers:ChromaTransformer2DModel"
    reads, vae = "T5-XXL", "the VAE of Flux.1 (ae.safetensors)"
    texts: ClassVar = {"text_encoder": "t5"}
    needs, tokenizer = ("t5",), ("t5", TOKENIZER)
    renamed, fused = CHROMA, FLUX_PARTS
    converted_mark = "distilled_guidance_layer.layers.0.linear_1.weight"

    def matches(self, shapes: Shapes) -> bool:
        """Whether both names exist; Radiance has only the first."""
        return "distilled_guidance_layer.in_proj.weight" in shapes and "final_layer.linear.weight" in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration of Flux.1 plus that of the modulation network."""
        hidden, channels = shapes["distilled_guidance_layer.in_proj.weight"]
        return {
            **flux_config(shapes),
            "approximator_num_channels": channels,
            "approximator_hidden_dim": hidden,
            "approximator_layers": counted(shapes, "distilled_guidance_layer.layers.{}."),
        }

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts of Flux.1, without a shift."""
        return {
            **flux_facts(config),
            "shift": {"shift": 1.0},
            "defaults": {"steps": 26, "cfg": 4.0, "sampler": "euler", "schedule": "beta"},
        }

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Convert the tensors by a table of names."""
        return converted(tensors, len(tensors["img_in.weight"]), self.renamed, self.fused)

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Return the facts of a T5."""
        t5 = self.chosen(paths)["t5"]
        digest = TOKENIZER.digest(t5.path)
        return {"family": self.name, "encoders": ["t5"], "width": t5.width, "pooled": 0, "tokenizer": digest}

    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> T5Reader:  # noqa: ARG002
        """Return a reader of T5's hidden states for the text and one padding token."""
        t5 = self.chosen(paths)["t5"]
        return T5Reader(TextEncoder(()), T5(t5.module(), TOKENIZER.load(t5.path), LENGTH, masked=True))

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Call the network like Flux.1, without guidance and pooled text."""
        prompt = condition["prompt"]
        found = module(
            hidden_states=packed(x),
            timestep=sigma,
            encoder_hidden_states=prompt,
            txt_ids=prompt.new_zeros(prompt.shape[1], 3),
            img_ids=places(x),
            return_dict=False,
        )[0]
        return unpacked(found, x.shape[2], x.shape[3])
