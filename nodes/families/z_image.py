"""Z-Image and Z-Image-Turbo (Tongyi-MAI 2025): one stream of text and picture, read by Qwen3-4B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.family import Family
from latentloom.nodes.families.folder import read_json
from latentloom.nodes.families.header import Shapes, counted, read_header
from latentloom.nodes.families.text_encoder import find_qwen, load_qwen, tokenizer_of
from latentloom.nodes.text.chat import Chat, ChatReader

if TYPE_CHECKING:
    from torch import Tensor

CHAT = Chat("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", layers=(-2,))


class ZImage(Family):
    """Z-Image as one file or as a folder in diffusers' layout; its cfg is 1 + the guidance of its authors."""

    name, title, module = "z_image", "Z-Image", "diffusers:ZImageTransformer2DModel"
    reads, vae = "Qwen3-4B", "the VAE of Flux.1 (ae.safetensors)"

    def matches(self, shapes: Shapes) -> bool:
        """Lumina 2 has the first of these names too, but not the second."""
        return "cap_embedder.1.weight" in shapes and "layers.0.adaLN_modulation.0.weight" in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """All but the split of a head's width into axes, which is 2 : 3 : 3."""
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

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Flux's VAE and a static shift of 3."""
        return {
            "channels": config["in_channels"],
            "size": 128,
            "downscale": 8,
            "scaling_factor": 0.3611,
            "shift_factor": 0.1159,
            "context": config["cap_feat_dim"],
            "shift": {"shift": 3.0},
            "defaults": {"steps": 8, "cfg": 1.0, "sampler": "euler", "schedule": "simple"},
        }

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """By diffusers' converter."""
        from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers as convert

        found: Mapping[str, Any] = convert(tensors)
        return found

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Of a Qwen3, as one file or a folder."""
        path = paths[0]
        if path.is_dir():
            width = read_json(path / "config.json")["hidden_size"]
        else:
            part = find_qwen(read_header(path).shapes)
            if part is None or len(paths) > 1:
                raise FileError(f"'{path.name}' is no text encoder of Z-Image", expected=self.reads)
            width = part.width
        return {
            "family": self.name,
            "encoders": ["qwen3"],
            "width": width,
            "pooled": 0,
            "tokenizer": tokenizer_of(path),
        }

    def reader(self, paths: Sequence[Path]) -> ChatReader:
        """Qwen3's layer before the last, for a chat that thinks."""
        return ChatReader(*load_qwen(paths[0]), CHAT)

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The network takes lists, time runs from noise 0 to picture 1, and its velocity leads to the picture."""
        import torch

        prompts = [
            prompt[mask.bool()] for prompt, mask in zip(condition["prompt"], condition["prompt_mask"], strict=True)
        ]
        pictures = list(x.unsqueeze(2).unbind(0))
        found = module(pictures, 1 - sigma, prompts, return_dict=False)[0]
        return -torch.stack([part.float() for part in found]).squeeze(2)
