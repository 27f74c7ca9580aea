"""Z-Image and Z-Image-Turbo (Tongyi-MAI 2025): a single-stream transformer with Qwen3-4B as the text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.nodes.families.family import Family
from latentloom.nodes.families.header import Shapes, counted
from latentloom.nodes.families.key_tables import Z_IMAGE, Z_IMAGE_PARTS, converted
from latentloom.nodes.families.qwen import TOKENIZER
from latentloom.nodes.text.chat import Chat, ChatReader

if TYPE_CHECKING:
    from torch import Tensor

CHAT = Chat("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", layers=(-2,))


class ZImage(Family):
    """Z-Image as one file or as a folder in diffusers' layout; its cfg is 1 + the guidance of its authors."""

    name, title, module = "z_image", "Z-Image", "diffusers:ZImageTransformer2DModel"
    reads, vae = "Qwen3-4B", "the VAE of Flux.1 (ae.safetensors)"
    texts: ClassVar = {"text_encoder": "qwen3"}
    narrow = True
    needs, tokenizer = ("qwen3",), ("qwen3", TOKENIZER)
    renamed, fused = Z_IMAGE, Z_IMAGE_PARTS
    converted_mark = "all_x_embedder.2-1.weight"

    def matches(self, shapes: Shapes) -> bool:
        """Whether both names exist; Lumina 2 has only the first."""
        return "cap_embedder.1.weight" in shapes and "layers.0.adaLN_modulation.0.weight" in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes; the head's width is split 2 : 3 : 3 between the axes."""
        width = shapes["layers.0.attention.out.weight"][0]
        head = shapes["layers.0.attention.q_norm.weight"][0]
        return {
            "in_channels": shapes["x_embedder.weight"][1] // 4,
            "dim": width,
            "n_layers": counted(shapes, "layers.{}."),
            "n_refiner_layers": counted(shapes, "noise_refiner.{}."),
            "n_heads": width // head,
            "n_kv_heads": width // head,
            "cap_feat_dim": shapes["cap_embedder.1.weight"][1],
            "axes_dims": [head // 4, 3 * head // 8, 3 * head // 8],
            "axes_lens": [1536, 512, 512],
        }

    def authors_shapes(self, shapes: Shapes) -> Shapes:
        """Return the names that are the same in both layouts too."""
        return {**shapes, **super().authors_shapes(shapes)}

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts: Flux's VAE and a static shift of 3."""
        return {
            "channels": config["in_channels"],
            "size": 128,
            "downscale": 8,
            "scaling_factor": 0.3611,
            "shift_factor": 0.1159,
            "context": config["cap_feat_dim"],
            "inner": config["dim"],
            "shift": {"shift": 3.0},
            "defaults": {"steps": 8, "cfg": 1.0, "sampler": "euler", "schedule": "simple"},
        }

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Convert the tensors by a table of names; names not in the table are those of diffusers."""
        width = len(tensors["layers.0.attention.out.weight"])
        return {**tensors, **converted(tensors, width, self.renamed, self.fused)}

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Return the facts of a Qwen3."""
        qwen = self.chosen(paths)["qwen3"]
        digest = TOKENIZER.digest(qwen.path)
        return {"family": self.name, "encoders": ["qwen3"], "width": qwen.width, "pooled": 0, "tokenizer": digest}

    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> ChatReader:  # noqa: ARG002
        """Return a reader of Qwen3's last but one layer, with the chat template for thinking."""
        qwen = self.chosen(paths)["qwen3"]
        return ChatReader(qwen.module(), TOKENIZER.load(qwen.path), CHAT)

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Call the network with lists. Its time runs from 0 (noise) to 1 (picture), so its velocity is negated."""
        import torch

        pictures = list(x.unsqueeze(2).unbind(0))
        found = module(pictures, negated_time(sigma), prompts_of(condition), return_dict=False)[0]
        return -torch.stack([part.float() for part in found]).squeeze(2)

    def added(self, residuals: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what ControlNets add by the number of the layer; a single number is of a layer without any."""
        return {
            name: {number: part for number, part in enumerate(parts) if part.shape[-1] > 1}
            for name, parts in residuals.items()
        }


def negated_time(sigma: Tensor) -> Tensor:
    """Return the time of its networks, from 0 (noise) to 1 (picture)."""
    return 1 - sigma


def prompts_of(condition: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the prompts of a batch without their padding, [T, D] each."""
    return [prompt[mask.bool()] for prompt, mask in zip(condition["prompt"], condition["prompt_mask"], strict=True)]
