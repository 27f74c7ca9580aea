"""Flux.2 (Black Forest Labs 2025): dev, read by Mistral Small 3, and klein, read by Qwen3-4B or Qwen3-8B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.engine.errors import FileError
from latentloom.nodes.families import flux2_vae
from latentloom.nodes.families.denoiser import Told
from latentloom.nodes.families.family import Family
from latentloom.nodes.families.folder import read_json
from latentloom.nodes.families.header import Header, Shapes, counted
from latentloom.nodes.families.key_tables import FLUX2, FLUX2_PARTS, converted
from latentloom.nodes.families.mistral import TOKENIZER as MISTRAL_TOKENIZER
from latentloom.nodes.families.qwen import TOKENIZER
from latentloom.nodes.families.references import PREFIX, told_references
from latentloom.nodes.families.text_parts import FoundText, prefixes, texts_in
from latentloom.nodes.families.text_parts import header_of as header
from latentloom.nodes.text.chat import Chat
from latentloom.nodes.text.padded_chat import PaddedChatReader, shortened

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

KLEIN = Chat("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", layers=(9, 18, 27))
DEV = Chat(
    "<s>[SYSTEM_PROMPT]You are an AI that reasons about image descriptions. You give structured responses focusing on "
    "object relationships, object\nattribution and actions without speculation.[/SYSTEM_PROMPT][INST]{}[/INST]",
    layers=(10, 20, 30),
)
CHATS = {"qwen3": KLEIN, "mistral3": DEV}
TOKENIZERS = {"qwen3": TOKENIZER, "mistral3": MISTRAL_TOKENIZER}
READS = {7680: "Qwen3-4B", 12288: "Qwen3-8B", 15360: "Mistral Small 3"}  # by the width of three layers together
GUIDANCE = 4.0  # what the authors tell dev
REFERENCE = 10  # how far reference pictures are apart on the first axis of positions


class Flux2(Family):
    """Flux.2 dev and klein, distilled and base.

    Dev is told a guidance. Klein is not: distilled it needs none, and base has true guidance. Their tensors are the
    same, so a file is taken for distilled; a folder says what it is.
    """

    name, title, module = "flux2", "Flux.2", "diffusers:Flux2Transformer2DModel"
    reads, vae = "Mistral Small 3 or Qwen3", "the VAE of Flux.2 (flux2-vae.safetensors)"
    texts: ClassVar = {"text_encoder": "qwen3"}
    needs, tokenizer = (), ("qwen3", TOKENIZER)
    renamed, fused = FLUX2, FLUX2_PARTS
    converted_mark = "single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight"
    patch = 1

    def matches(self, shapes: Shapes) -> bool:
        """Whether all names exist; Flux.1 has the last one only."""
        names = ("single_stream_modulation.lin.weight", "txt_in.weight", "double_blocks.0.img_attn.norm.key_norm.scale")
        return all(name in shapes for name in names)

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes; the head's width is split equally between four axes."""
        width, channels = shapes["img_in.weight"]
        head = shapes["double_blocks.0.img_attn.norm.key_norm.scale"][0]
        return {
            "in_channels": channels,
            "out_channels": shapes["final_layer.linear.weight"][0],
            "num_layers": counted(shapes, "double_blocks.{}."),
            "num_single_layers": counted(shapes, "single_blocks.{}."),
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "joint_attention_dim": shapes["txt_in.weight"][1],
            "timestep_guidance_channels": shapes["time_in.in_layer.weight"][1],
            "mlp_ratio": shapes["double_blocks.0.img_mlp.2.weight"][1] / width,
            "axes_dims_rope": (head // 4,) * 4,
            "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
        }

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts: latents of the VAE are normalised; the shift depends on the size and the steps."""
        dev, context = bool(config.get("guidance_embeds")), config["joint_attention_dim"]
        return {
            "channels": config["in_channels"],
            "size": 64,
            **{name: flux2_vae.FACTS[name] for name in ("downscale", "latents")},
            "scaling_factor": 1.0,
            "context": context,
            "reads": READS.get(context, "Mistral Small 3" if dev else "Qwen3"),
            "references": True,
            "shift": {"by": "size_and_steps", "patch": self.patch, "count": 10_000},
            "defaults": {"steps": 20 if dev else 4, "cfg": 1.0, "sampler": "euler", "schedule": "simple"},
            **({"guidance": GUIDANCE} if dev else {}),
        }

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts by component. The shift of a folder's scheduler is not used (Flux2Pipeline in diffusers)."""
        found = super().recognise(path)
        if found is None or path.is_file():
            return found
        place = path / "model_index.json"
        said, facts = read_json(place) if place.is_file() else {}, {**found["unet"]}
        facts["shift"] = {"by": "size_and_steps", "patch": self.patch, "count": 10_000}
        if "guidance" not in facts and not said.get("is_distilled", False):
            facts["defaults"] = {**facts["defaults"], "steps": 50, "cfg": 4.0}
        return {**found, "unet": facts}

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Convert the tensors by a table of names."""
        return converted(tensors, len(tensors["img_in.weight"]), self.renamed, self.fused)

    def build(self, config: Mapping[str, Any]) -> Any:
        """Build the network with a last norm that has the shift first."""
        from latentloom.nodes.families.last_norm import shift_first

        module = super().build(config)
        module.norm_out = shift_first(module.inner_dim, bias=False)
        return module

    def vae_facts_of(self, folder: Path) -> dict[str, Any]:  # noqa: ARG002
        """Return the facts of its VAE."""
        return dict(flux2_vae.FACTS)

    def vae_facts_in(self, header: Header) -> dict[str, Any] | None:
        """Return the facts of the VAE beside the network; None without one."""
        return flux2_vae.vae_facts_in(header)

    def load_vae(self, path: Path) -> Any:
        """Load the VAE of a folder, or of a file that holds one beside the network."""
        return flux2_vae.load_vae(path / "vae") if path.is_dir() else flux2_vae.load_vae(path, prefixes(header(path)))

    def chosen(self, paths: Sequence[Path]) -> dict[str, FoundText]:
        """Return its text encoder by name. Raises FileError for another one, for none, and for one with few layers."""
        found = texts_in(paths)
        if len(found) != 1 or next(iter(found)) not in CHATS:
            names = " and ".join(f"'{path.name}'" for path in paths) or "the folder"
            raise FileError(
                f"{self.title} needs one text encoder: Mistral Small 3 (dev), Qwen3-4B or Qwen3-8B (klein)",
                expected="one of them",
                got=f"{' and '.join(one.title for one in found.values()) or 'no text encoder'} in {names}",
                hint="put its file below models/clip (ComfyUI: text_encoders) and name it in LoadCLIP",
            )
        ((name, one),) = found.items()
        layers, last = counted(one.part.shapes, "layers.{}."), CHATS[name].layers[-1]
        if layers < last:
            raise FileError(
                f"'{one.path.name}' has too few layers for {self.title}",
                expected=f"at least {last} layers",
                got=f"{one.title} with {layers}",
            )
        return found

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Return the facts of a Qwen3 or a Mistral; the width is that of three layers together."""
        ((name, one),) = self.chosen(paths).items()
        return {
            "family": self.name,
            "encoders": [name],
            "title": one.title,
            "width": len(CHATS[name].layers) * one.width,
            "pooled": 0,
            "tokenizer": TOKENIZERS[name].digest(one.path),
        }

    def missing_tokenizer(self, paths: Sequence[Path]) -> FileError:
        """Return the error for a text encoder without a tokenizer."""
        ((name, one),) = self.chosen(self._text_folders(paths[0]) or paths).items()
        return TOKENIZERS[name].missing(one.path)

    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> PaddedChatReader:  # noqa: ARG002
        """Return a reader of three layers of Qwen3 or Mistral, for 512 tokens with padding."""
        ((name, one),) = self.chosen(paths).items()
        chat = CHATS[name]
        model, tokenizer = shortened(one.module(), chat.layers[-1]), TOKENIZERS[name].load(one.path)
        if name == "qwen3":
            return PaddedChatReader(model, tokenizer, chat)
        return PaddedChatReader(model, tokenizer, chat, pad="<pad>", side="left")

    def tells(self, entry: Cond, told: Told) -> dict[str, Tensor]:
        """Return the reference pictures too."""
        return {**super().tells(entry, told), **told_references(entry, told)}

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Call the network with one token per cell, then those of reference pictures; it predicts the velocity.

        Positions are picture, row, column and number of the token of the text. Reference n is picture 10 n.
        """
        import torch

        guidance, prompt = condition.get("guidance"), condition["prompt"]
        shown = [x, *(condition[name][:, 0] for name in condition if name.startswith(PREFIX))]
        text = torch.zeros(prompt.shape[1], 4, device=x.device)
        text[:, 3] = torch.arange(prompt.shape[1])
        found = module(
            hidden_states=torch.cat([picture.flatten(2).movedim(1, 2) for picture in shown], dim=1),
            timestep=sigma,
            guidance=None if guidance is None else guidance[:, 0],
            encoder_hidden_states=prompt,
            txt_ids=text,
            img_ids=torch.cat([_positions(picture, REFERENCE * n) for n, picture in enumerate(shown)]),
            return_dict=False,
        )[0]
        return found[:, : x.shape[2] * x.shape[3]].movedim(1, 2).reshape(x.shape)


def _positions(x: Tensor, picture: int) -> Tensor:
    """Return the positions of the cells of x [B, C, h, w], float32 [h * w, 4]."""
    import torch

    rows, columns = (torch.arange(side, dtype=torch.float32, device=x.device) for side in x.shape[2:])
    grid = torch.meshgrid(rows, columns, indexing="ij")
    parts = [torch.full_like(grid[0], picture), *grid, torch.zeros_like(grid[0])]
    return torch.stack(parts, dim=2).reshape(-1, 4)
