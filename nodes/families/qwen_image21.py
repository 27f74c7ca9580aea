"""Qwen-Image 2.1 (Qwen team 2026): a single-stream transformer that reads causally, with Qwen3-VL as text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.engine.errors import BadValueError
from latentloom.nodes.families.denoiser import Told
from latentloom.nodes.families.family import Family
from latentloom.nodes.families.header import Header, Shapes, counted, read_header
from latentloom.nodes.families.qwen import VL_TOKENIZER
from latentloom.nodes.families.qwen_image21_vae import DEVIATION, FACTS, MEAN, load_file, load_folder, vae_prefix
from latentloom.nodes.families.references import references, told_references
from latentloom.nodes.families.text_parts import prefixes
from latentloom.nodes.text.chat import Chat
from latentloom.nodes.text.picture_chat import SHOWN, PictureChat, PictureChatReader

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

SYSTEM = "<|im_start|>system\nComprehend and analyze the provided prompt.<|im_end|>\n"
CHAT = Chat(
    SYSTEM + "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    layers=(-1,),
    length=1024,
    empty=" ",
    dropped=SYSTEM,
)
PICTURES = {"edit-plus": PictureChat(CHAT, label=f"<image{{}}>{SHOWN}", pixels=1024 * 1024, most=16, between=" ")}
BY_SIZE = {"by": "size", "low": [256, 0.5], "high": [8192, 0.9], "patch": 1, "count": 10_000, "terminal": 0.02}
FUSED = "img_mlp.gate_up"
NEEDED = ("txt_in.text_norm.weight", "txt_in.in_layer.weight", "img_in.weight", "proj_out.weight")
NEEDED += tuple(f"transformer_blocks.0.{name}.weight" for name in ("attn.norm_q", "attn.to_q", "img_mlp.out"))


class QwenImage21(Family):
    """Qwen-Image 2.1, which also edits. Tokens are cells of 16 pixels; text does not see what comes after it."""

    name, title, module = "qwen_image21", "Qwen-Image 2.1", "diffusers:QwenImage21Transformer2DModel"
    reads, vae = "Qwen3-VL-8B", "the VAE of Qwen-Image 2.1 (qwen_image_2.1_vae_bf16.safetensors)"
    texts: ClassVar = {"text_encoder": "qwen3_vl"}
    narrow = True
    needs, tokenizer = ("qwen3_vl",), ("qwen3_vl", VL_TOKENIZER)
    fused = (
        (
            r"transformer_blocks\.(\d+)\.img_mlp\.gate_up",
            [rf"transformer_blocks.\1.img_mlp.{name}" for name in ("gate_layer", "proj")],
        ),
    )
    patch, multiple = 1, 2

    def matches(self, shapes: Shapes) -> bool:
        """Whether the names exist that the configuration is read from."""
        return all(name in shapes for name in NEEDED)

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes; the head's width is split 2 : 7 : 7 between the axes."""
        head, width = shapes["transformer_blocks.0.attn.norm_q.weight"][0], shapes["img_in.weight"][0]
        return {
            "in_channels": shapes["img_in.weight"][1],
            "out_channels": shapes["proj_out.weight"][0],
            "num_layers": counted(shapes, "transformer_blocks.{}."),
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "context_in_dim": shapes["txt_in.in_layer.weight"][1],
            "mlp_ratio": shapes["transformer_blocks.0.img_mlp.out.weight"][1] // width,
            "axes_dims_rope": [head // 8, 7 * head // 16, 7 * head // 16],
        }

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts: latents are scaled per channel, the shift depends on the size, sigmas end at 0.02."""
        return {
            "channels": config["out_channels"] or config["in_channels"],
            "size": 64,
            "downscale": 16,
            "scaling_factor": [1 / deviation for deviation in DEVIATION],
            "shift_factor": list(MEAN),
            "context": config["context_in_dim"],
            "shift": BY_SIZE,
            "references": True,
            "defaults": {"steps": 25, "cfg": 1.0, "sampler": "euler", "schedule": "simple"},
        }

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Split the first layer of the MLPs, which ComfyUI's files have in one, with the gate first."""
        found = {name: tensor for name, tensor in tensors.items() if FUSED not in name}
        for name, tensor in tensors.items():
            if FUSED in name:
                gate, up = tensor.chunk(2)
                found |= {name.replace("gate_up", "gate_layer"): gate, name.replace("gate_up", "proj"): up}
        return found

    def vae_facts_of(self, folder: Path) -> dict[str, Any]:  # noqa: ARG002
        """Return the facts of its own VAE."""
        return dict(FACTS)

    def vae_facts_in(self, header: Header) -> dict[str, Any] | None:
        """Return the facts of the VAE that a file holds beside the network; None without one."""
        return None if vae_prefix(header.shapes) is None else dict(FACTS)

    def load_vae(self, path: Path) -> Any:
        """Load the VAE of a folder, or of a file that holds one beside the network."""
        return load_folder(path / "vae") if path.is_dir() else load_file(path, prefixes(read_header(path)))

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Return the facts of a Qwen3-VL."""
        qwen = self.chosen(paths)["qwen3_vl"]
        return {
            "family": self.name,
            "encoders": ["qwen3_vl"],
            "width": qwen.width,
            "pooled": 0,
            "tokenizer": VL_TOKENIZER.digest(qwen.path),
            "pictures": {name: way.most for name, way in PICTURES.items()} if qwen.sees else {},
        }

    def load(self, paths: Sequence[Path], info: Mapping[str, Any]) -> Any:
        """Load the part that info["component"] names; "vision" is the vision tower of the text encoder."""
        if info["component"] == "vision":
            return self.chosen(self._text_folders(paths[0]) or paths)["qwen3_vl"].tower()
        return super().load(paths, info)

    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> PictureChatReader:  # noqa: ARG002
        """Return a reader of Qwen3-VL's last layer without the norm behind it, without the system prompt."""
        from torch.nn import Identity

        qwen = self.chosen(paths)["qwen3_vl"]
        model = qwen.module()
        model.norm = Identity()
        return PictureChatReader(model, VL_TOKENIZER.load(qwen.path), CHAT, picture_chats=PICTURES)

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """Return the prompt, and the reference pictures with their slots in it; see `Denoiser`.

        Without a mask, prompts of different length are not padded to share a pass: the picture's position follows the
        last token of the prompt, padding included. Raises BadValueError for pictures that the prompt was not read with.
        """
        made = {name: value for name, value in super().tells(entry, told).items() if name != "prompt_mask"}
        shown = told_references(entry, told)
        slots = entry.arrays["picture_slots"].tensor() if "picture_slots" in entry.arrays else None
        _check_slots(0 if slots is None else int(slots.sum()), [value.shape[3:] for value in shown.values()])
        return {**made, **shown, "slots": told.put(slots)} if slots is not None else made

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Call the network with the prompt followed by the cells of the picture; it predicts the velocity.

        Four cells take the place of one token of the text encoder, those of reference pictures in the prompt
        (QwenImage21Pipeline in diffusers).
        """
        import torch

        batch, _, height, width = x.shape
        prompt, cells = condition["prompt"], height * width
        pictures = [*references(condition), x]
        slots = condition["slots"][0].bool() if "slots" in condition else prompt.new_zeros(prompt.shape[1]).bool()
        slots = torch.cat([slots, slots.new_ones(cells // 4)])
        found = module(
            hidden_states=torch.cat([picture.flatten(2).transpose(1, 2) for picture in pictures], dim=1),
            timestep=sigma,
            encoder_hidden_states=prompt,
            img_shapes=[[(1, *picture.shape[2:]) for picture in pictures]] * batch,
            img_mask=slots.expand(batch, -1),
            return_dict=False,
        )[0]
        return found[:, -cells:].transpose(1, 2).unflatten(2, (height, width))


def _check_slots(count: int, sizes: Sequence[Sequence[int]]) -> None:
    """Raise BadValueError if the reference pictures do not fill the slots of the prompt, four cells each."""
    if any(side % 2 for size in sizes for side in size) or 4 * count != sum(height * width for height, width in sizes):
        raise BadValueError(
            "the reference pictures are not those that the prompt was read with",
            expected=f"pictures of {4 * count} cells for the {count} tokens of pictures in the prompt",
            got=" and ".join(f"{width}x{height}" for height, width in sizes) or "no picture",
            hint="Qwen-Image 2.1 needs both: connect the pictures and the VAE to CLIPEncodePictures",
        )
