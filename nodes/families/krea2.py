"""Krea 2 (Krea 2026): a single-stream transformer that reads twelve layers of Qwen3-VL-4B for each token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from latentloom.nodes.families.family import Family
from latentloom.nodes.families.folder import read_json
from latentloom.nodes.families.header import Header, Shapes, counted, read_header
from latentloom.nodes.families.key_tables import converted
from latentloom.nodes.families.qwen import VL_TOKENIZER
from latentloom.nodes.families.qwen_image import CHAT as QWEN_CHAT
from latentloom.nodes.families.qwen_image import DEVIATION, MEAN
from latentloom.nodes.families.text_parts import prefixes
from latentloom.nodes.families.tokens import packed, places, unpacked
from latentloom.nodes.families.wan_vae import FACTS, load_file, load_folder, vae_prefix
from latentloom.nodes.text.chat import Chat, ChatReader

if TYPE_CHECKING:
    from torch import Tensor

LAYERS = tuple(range(2, 36, 3))  # of Qwen3-VL-4B's 36 layers
CHAT = Chat(QWEN_CHAT.template, layers=LAYERS, length=512 + 34, dropped=34)
BY_SIZE = {"by": "size", "low": [256, 0.5], "high": [6400, 1.15], "patch": 2, "count": 10_000}
TURBO = {
    "shift": {"shift": math.exp(1.15), "count": 10_000},
    "defaults": {"steps": 8, "cfg": 1.0, "sampler": "euler", "schedule": "simple"},
}
_BLOCK, _TEXT = r"blocks\.(\d+)\.", r"txtfusion\.(layerwise_blocks|refiner_blocks)\.(\d+)\."
_INNER = (
    (r"attn\.wq", "attn.to_q"),
    (r"attn\.wk", "attn.to_k"),
    (r"attn\.wv", "attn.to_v"),
    (r"attn\.wo", "attn.to_out.0"),
    (r"attn\.gate", "attn.to_gate"),
    (r"attn\.qknorm\.qnorm", "attn.norm_q"),
    (r"attn\.qknorm\.knorm", "attn.norm_k"),
    (r"mlp\.gate", "ff.gate"),
    (r"mlp\.up", "ff.up"),
    (r"mlp\.down", "ff.down"),
    (r"prenorm", "norm1"),
    (r"postnorm", "norm2"),
)
NAMES = (
    (r"first", "img_in"),
    (r"tmlp\.0", "time_embed.linear_1"),
    (r"tmlp\.2", "time_embed.linear_2"),
    (r"tproj\.1", "time_mod_proj"),
    (r"txtmlp\.0", "txt_in.norm"),
    (r"txtmlp\.1", "txt_in.linear_1"),
    (r"txtmlp\.3", "txt_in.linear_2"),
    (r"txtfusion\.projector", "text_fusion.projector"),
    (r"last\.linear", "final_layer.linear"),
    (r"last\.norm", "final_layer.norm"),
    *((_BLOCK + theirs, rf"transformer_blocks.\1.{ours}") for theirs, ours in _INNER),
    *((_TEXT + theirs, rf"text_fusion.\1.\2.{ours}") for theirs, ours in _INNER),
)
TABLES = ((r"blocks\.(\d+)\.mod", r"transformer_blocks.\1"), (r"last\.modulation", "final_layer"))
NEEDED = ("first.weight", "tmlp.0.weight", "txtmlp.1.weight", "txtfusion.projector.weight")
NEEDED += tuple(
    f"{block}.{name}"
    for block in ("blocks.0", "txtfusion.layerwise_blocks.0")
    for name in ("attn.qknorm.qnorm.scale", "attn.wk.weight", "mlp.gate.weight")
)


class Krea2(Family):
    """Krea 2, base and turbo, which have the same tensors. Its cfg is 1 + the guidance of its authors."""

    name, title, module = "krea2", "Krea 2", "diffusers:Krea2Transformer2DModel"
    reads, vae = "Qwen3-VL-4B", "the VAE of Qwen-Image (qwen_image_vae.safetensors)"
    texts: ClassVar = {"text_encoder": "qwen3_vl"}
    narrow = True
    needs, tokenizer = ("qwen3_vl",), ("qwen3_vl", VL_TOKENIZER)
    renamed = NAMES

    def matches(self, shapes: Shapes) -> bool:
        """Whether the names exist that the configuration is read from."""
        return all(name in shapes for name in NEEDED)

    def config(self, shapes: Shapes) -> dict[str, Any]:
        """Return the configuration by shapes; the head's width is split 2 : 3 : 3 between the axes."""
        width, channels = shapes["first.weight"]
        text, head = shapes["txtmlp.1.weight"][1], shapes["blocks.0.attn.qknorm.qnorm.scale"][0]
        fusion = "txtfusion.layerwise_blocks.0."
        text_head = shapes[f"{fusion}attn.qknorm.qnorm.scale"][0]
        return {
            "in_channels": channels,
            "num_layers": counted(shapes, "blocks.{}."),
            "attention_head_dim": head,
            "num_attention_heads": width // head,
            "num_key_value_heads": shapes["blocks.0.attn.wk.weight"][0] // head,
            "intermediate_size": shapes["blocks.0.mlp.gate.weight"][0],
            "timestep_embed_dim": shapes["tmlp.0.weight"][1],
            "text_hidden_dim": text,
            "num_text_layers": shapes["txtfusion.projector.weight"][1],
            "text_num_attention_heads": text // text_head,
            "text_num_key_value_heads": shapes[f"{fusion}attn.wk.weight"][0] // text_head,
            "text_intermediate_size": shapes[f"{fusion}mlp.gate.weight"][0],
            "num_layerwise_text_blocks": counted(shapes, "txtfusion.layerwise_blocks.{}."),
            "num_refiner_text_blocks": counted(shapes, "txtfusion.refiner_blocks.{}."),
            "axes_dims_rope": [head // 4, 3 * head // 8, 3 * head // 8],
        }

    def facts(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts of the base model: Qwen-Image's VAE, and a shift that depends on the size."""
        return {
            "channels": config["in_channels"] // 4,
            "size": 128,
            "downscale": 8,
            "latents": FACTS["latents"],
            "scaling_factor": [1 / deviation for deviation in DEVIATION],
            "shift_factor": list(MEAN),
            "context": config["text_hidden_dim"] * config["num_text_layers"],
            "shift": BY_SIZE,
            "defaults": {"steps": 28, "cfg": 5.5, "sampler": "euler", "schedule": "simple"},
        }

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the facts by component; only a folder says that it is turbo, by `is_distilled`."""
        found, index = super().recognise(path), path / "model_index.json"
        if found is None or not index.is_file() or not read_json(index).get("is_distilled"):
            return found
        return {**found, "unet": {**found["unet"], **TURBO}, "about": "Krea 2 Turbo (folder)"}

    def convert(self, tensors: dict[str, Any]) -> Mapping[str, Any]:
        """Convert the tensors by a table of names."""
        tables = {name: tensor for name, tensor in tensors.items() if name.endswith(".lin")}
        found = converted(tables, 0, TABLES, ())
        renamed = {name.removesuffix("lin") + "scale_shift_table": tensor for name, tensor in found.items()}
        return {**converted(tensors, 0, self.renamed, ()), **renamed}

    def _network(self, path: Path) -> Any:
        """The network. Its norms compute in float32, because 1 + weight is rounded too much in bfloat16."""
        from diffusers.models.transformers.transformer_krea2 import Krea2RMSNorm
        from torch import float32

        made = super()._network(path)
        for layer in made.modules():
            if isinstance(layer, Krea2RMSNorm):
                layer.computes_in = float32
        return made

    def vae_facts_of(self, folder: Path) -> dict[str, Any]:  # noqa: ARG002
        """Return the facts of the VAE of Qwen-Image."""
        return dict(FACTS)

    def vae_facts_in(self, header: Header) -> dict[str, Any] | None:
        """Return the facts of the VAE that a file holds beside the network; None without one."""
        return None if vae_prefix(header.shapes) is None else dict(FACTS)

    def load_vae(self, path: Path) -> Any:
        """Load the VAE of a folder, or of a file that holds one beside the network."""
        return load_folder(path / "vae") if path.is_dir() else load_file(path, prefixes(read_header(path)))

    def clip_facts(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Return the facts of a Qwen3-VL, whose layers are side by side."""
        qwen = self.chosen(paths)["qwen3_vl"]
        return {
            "family": self.name,
            "encoders": ["qwen3_vl"],
            "width": qwen.width * len(LAYERS),
            "pooled": 0,
            "tokenizer": VL_TOKENIZER.digest(qwen.path),
        }

    def reader(self, paths: Sequence[Path], info: Mapping[str, Any]) -> ChatReader:  # noqa: ARG002
        """Return a reader of twelve layers of Qwen3-VL, without those of the system prompt."""
        qwen = self.chosen(paths)["qwen3_vl"]
        return ChatReader(qwen.module(), VL_TOKENIZER.load(qwen.path), CHAT)

    def answer(self, module: Any, x: Tensor, sigma: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Call the network with tokens of 2 x 2 cells and their places; it predicts the velocity."""
        import torch

        prompt, mask, ids = condition["prompt"], condition["prompt_mask"].bool(), places(x)
        found = module(
            hidden_states=packed(x),
            encoder_hidden_states=prompt.unflatten(2, (len(LAYERS), -1)),
            timestep=sigma,
            position_ids=torch.cat([ids.new_zeros(prompt.shape[1], 3), ids]),
            encoder_attention_mask=None if mask.all() else mask,
            return_dict=False,
        )[0]
        return unpacked(found, x.shape[2], x.shape[3])
