"""Qwen-Image and Qwen-Image-Edit (Qwen team 2025): a two-stream transformer, read by Qwen2.5-VL in a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.nodes.families.denoiser import Told
from latentloom.nodes.families.family import Family
from latentloom.nodes.families.header import Header, Shapes, counted, read_header
from latentloom.nodes.families.qwen import TOKENIZER
from latentloom.nodes.families.references import references, told_references
from latentloom.nodes.families.text_parts import prefixes
from latentloom.nodes.families.tokens import packed, unpacked
from latentloom.nodes.families.wan_vae import FACTS, load_file, load_folder, vae_prefix
from latentloom.nodes.text.chat import Chat
from latentloom.nodes.text.picture_chat import SHOWN, PictureChat, PictureChatReader

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

CLEAN_REFERENCES = "__index_timestep_zero__"  # ComfyUI's marker of Qwen-Image-Edit 2511: references have no noise

CHAT = Chat(
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    layers=(-1,),
    length=1024 + 34,
    dropped=34,
)
EDIT = Chat(
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    layers=(-1,),
    length=1024 + 64,
    dropped=64,
)
PICTURES = {
    "edit-plus": PictureChat(EDIT, label=f"Picture {{}}: {SHOWN}", pixels=384 * 384, most=16),
    "edit": PictureChat(EDIT, label=SHOWN, pixels=1024 * 1024, most=1),
}
MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508)
MEAN += (0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
DEVIATION = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743)
DEVIATION += (3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)
BY_SIZE = {"by": "size", "low": [256, 0.5], "high": [8192, 0.9], "patch": 2, "count": 10_000, "terminal": 0.02}


class QwenImage(Family):
    """Qwen-Image and Qwen-Image-Edit, which have the same tensors and see reference pictures as further tokens.

    Guidance keeps the length of each token's velocity; see `guidance.norm_keeping`.
    """

    name, title, module = "qwen_image", "Qwen-Image", "diffusers:QwenImageTransformer2DModel"
    reads, vae = "Qwen2.5-VL-7B", "the VAE of Qwen-Image (qwen_image_vae.safetensors)"
    texts: ClassVar = {"text_encoder": "qwen2_5_vl"}
    narrow = True
    needs, tokenizer = ("qwen2_5_vl",), ("qwen2_5_vl", TOKENIZER)

    def matches(self, shapes: Shapes) -> bool:
        """Whether these names exist; Qwen-Image 2.1 lacks the first, and only Qwen-Image-Layered has the last."""
        known = ("txt_norm.weight", "transformer_blocks.0.attn.add_q_proj.weight")
        return all(name in shapes for name in known) and "time_text_embed.addition_t_embedding.weight" not in shapes

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes; the head's width is split 2 : 7 : 7 between the axes."""
        head = shapes["transformer_blocks.0.attn.norm_q.weight"][0]
        return {
            "in_channels": shapes["img_in.weight"][1],
            "out_channels": shapes["proj_out.weight"][0] // 4,
            "num_layers": counted(shapes, "transformer_blocks.{}."),
            "attention_head_dim": head,
            "num_attention_heads": shapes["img_in.weight"][0] // head,
            "joint_attention_dim": shapes["txt_in.weight"][1],
            "axes_dims_rope": [head // 8, 7 * head // 16, 7 * head // 16],
            "zero_cond_t": CLEAN_REFERENCES in shapes,
        }

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts: latents are scaled per channel, the shift depends on the size, sigmas end at 0.02."""
        return {
            "channels": config["out_channels"],
            "size": 128,
            "downscale": 8,
            "latents": FACTS["latents"],
            "scaling_factor": [1 / deviation for deviation in DEVIATION],
            "shift_factor": list(MEAN),
            "context": config["joint_attention_dim"],
            "inner": config["num_attention_heads"] * config["attention_head_dim"],
            "shift": BY_SIZE,
            "cfg_rule": "norm",
            "references": True,
            "defaults": {"steps": 20, "cfg": 2.5, "sampler": "euler", "schedule": "simple"},
        }

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Return the tensors unchanged: the original names are those of diffusers."""
        return tensors

    def vae_facts_of(self, folder: Path) -> dict[str, Any]:  # noqa: ARG002
        """Return the facts of its VAE, which is a video VAE."""
        return dict(FACTS)

    def vae_facts_in(self, header: Header) -> dict[str, Any] | None:
        """Return the facts of the VAE that a file holds beside the network; None without one."""
        return None if vae_prefix(header.shapes) is None else dict(FACTS)

    def load_vae(self, path: Path) -> Any:
        """Load the VAE of a folder, or of a file that holds one beside the network."""
        return load_folder(path / "vae") if path.is_dir() else load_file(path, prefixes(read_header(path)))

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load the part that info["component"] names; "vision" is the vision tower of the text encoder."""
        if info["component"] == "vision":
            return self.chosen(self._text_folders(paths[0]) or paths)["qwen2_5_vl"].tower()
        return super().load(paths, info)

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Return the facts of a Qwen2.5-VL."""
        qwen = self.chosen(paths)["qwen2_5_vl"]
        return {
            "family": self.name,
            "encoders": ["qwen2_5_vl"],
            "width": qwen.width,
            "pooled": 0,
            "tokenizer": TOKENIZER.digest(qwen.path),
            "pictures": {name: way.most for name, way in PICTURES.items()} if qwen.sees else {},
        }

    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> PictureChatReader:  # noqa: ARG002
        """Return a reader of Qwen2.5-VL's last hidden states, without those of the system prompt."""
        qwen = self.chosen(paths)["qwen2_5_vl"]
        return PictureChatReader(qwen.module(), TOKENIZER.load(qwen.path), CHAT, picture_chats=PICTURES)

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """Return the prompt, its mask and the reference pictures; see `Denoiser`."""
        return {**super().tells(entry, told), **told_references(entry, told)}

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Call the network with tokens of 2 x 2 cells and positions from the centre; it predicts the velocity.

        The tokens of reference pictures follow, each picture at its own size (QwenImageEditPlusPipeline in diffusers).
        """
        import torch

        height, width = x.shape[2:]
        mask, pictures = condition["prompt_mask"].bool(), [x, *references(condition)]
        tokens = [packed(picture) for picture in pictures]
        sizes = [(1, picture.shape[2] // 2, picture.shape[3] // 2) for picture in pictures]
        found = module(
            hidden_states=torch.cat(tokens, dim=1),
            timestep=sigma,
            encoder_hidden_states=condition["prompt"],
            encoder_hidden_states_mask=None if mask.all() else mask,
            img_shapes=[sizes] * x.shape[0],
            return_dict=False,
        )[0]
        return unpacked(found[:, : tokens[0].shape[1]], height, width)
