"""Qwen3, Qwen3-VL and Qwen2.5-VL (Qwen team 2025) in files: recognised by keys, configured by shapes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.engine.models.weights import not_in_float16
from latentloom.nodes.families.folder import folder_weights
from latentloom.nodes.families.header import Header, Shapes, below, counted
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.qwen_vision import NAMES as NAMES_OF_TOWERS
from latentloom.nodes.families.tokenizers import EncoderTokenizer
from latentloom.nodes.families.unused import warn_unused
from latentloom.nodes.text.tokenizer_files import TokenizerFiles

PREFIXES = ("model.", "model.language_model.", "language_model.model.", "language_model.", "")
ROOTS = ("", "text_encoders.qwen25_7b.transformer.")  # the last in files with all parts
DEEP = "deepstack_merger_list.0.norm.weight"  # of the vision tower of Qwen3-VL, whose language model is that of Qwen3
VISION = ("qwen3vl",)  # what llama.cpp calls a Qwen3-VL
COMFYUI = "qwen25_tokenizer"  # its folder name
TOKENIZER = EncoderTokenizer(TokenizerFiles("BPE", (COMFYUI, "tokenizer")), qwen=True)
VL_TOKENIZER = EncoderTokenizer(TokenizerFiles("BPE", (COMFYUI, "tokenizer", "processor")), qwen=True)
NAMES = {
    "qwen3": {2560: "Qwen3-4B", 4096: "Qwen3-8B", 2048: "Qwen3-1.7B", 1024: "Qwen3-0.6B"},
    "qwen3_vl": {2560: "Qwen3-VL-4B", 4096: "Qwen3-VL-8B", 2048: "Qwen3-VL-2B"},
    "qwen2_5_vl": {3584: "Qwen2.5-VL-7B", 2048: "Qwen2.5-VL-3B"},
}
TITLES = {"qwen3": "Qwen3", "qwen3_vl": "Qwen3-VL", "qwen2_5_vl": "Qwen2.5-VL"}
HEAD = 128  # head width of Qwen2.5-VL, which has no query and key norms to derive it from


@dataclass(frozen=True, slots=True)
class QwenPart:
    """A Qwen3, or the language model of a Qwen3-VL or Qwen2.5-VL, in a file."""

    prefix: str
    shapes: Shapes
    root: str = ""  # the start of its names and of those of its vision tower
    deep: bool = False  # whether the vision tower of a Qwen3-VL stands beside it

    @property
    def name(self) -> str:
        """ "qwen3", "qwen3_vl" or "qwen2_5_vl"."""
        if "layers.0.self_attn.q_norm.weight" not in self.shapes:
            return "qwen2_5_vl"
        return "qwen3_vl" if self.deep else "qwen3"

    @property
    def title(self) -> str:
        """The title shown to people."""
        return NAMES[self.name].get(self.width, TITLES[self.name])

    @property
    def width(self) -> int:
        """The width of the hidden states."""
        return self.shapes["embed_tokens.weight"][1]

    def config(self) -> dict[str, Any]:
        """Return the arguments of the transformers configuration class."""
        (head,) = self.shapes.get("layers.0.self_attn.q_norm.weight", (HEAD,))
        rope = {"rope_type": "default", "rope_theta": 1_000_000.0}
        shared = {
            "vocab_size": self.shapes["embed_tokens.weight"][0],
            "hidden_size": self.width,
            "intermediate_size": self.shapes["layers.0.mlp.gate_proj.weight"][0],
            "num_hidden_layers": counted(self.shapes, "layers.{}."),
            "num_attention_heads": self.shapes["layers.0.self_attn.q_proj.weight"][0] // head,
            "num_key_value_heads": self.shapes["layers.0.self_attn.k_proj.weight"][0] // head,
            "rms_norm_eps": 1e-6,
        }
        if self.name == "qwen3":
            return {**shared, "head_dim": head, "rope_parameters": rope, "max_position_embeddings": 40960}
        if self.name == "qwen3_vl":
            rope |= {"rope_theta": 5_000_000.0, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
            return {**shared, "head_dim": head, "rope_parameters": rope, "max_position_embeddings": 262_144}
        rope = {**rope, "mrope_section": [16, 24, 24]}
        return {**shared, "rope_parameters": rope, "max_position_embeddings": 128_000}

    def model(self) -> Any:
        """Return the network, without weights and without the language model head."""
        if self.name == "qwen3":
            from transformers import Qwen3Config, Qwen3Model

            return Qwen3Model(Qwen3Config(**self.config()))
        if self.name == "qwen3_vl":
            from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
            from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

            return Qwen3VLTextModel(Qwen3VLTextConfig(**self.config()))
        from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
        from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

        return Qwen2_5_VLTextModel(Qwen2_5_VLTextConfig(**self.config()))


def find_qwen(header: Header) -> QwenPart | None:
    """Find the Qwen3, Qwen3-VL or Qwen2.5-VL of a file; None if there is none.

    A Qwen3-VL without its vision tower has the tensors of a Qwen3; a GGUF file says which of them it is.
    """
    every, said = header.shapes, header.metadata.get("general.architecture") in VISION
    for root, prefix in itertools.product(ROOTS, PREFIXES):
        shapes = below(every, root + prefix)
        known = ("layers.0.self_attn.q_norm.weight", "layers.0.self_attn.k_proj.bias")
        gemma = "layers.0.post_feedforward_layernorm.weight" in shapes  # Gemma has some of these names too
        if "embed_tokens.weight" in shapes and any(name in shapes for name in known) and not gemma:
            deep = any(root + name + DEEP in every for name in NAMES_OF_TOWERS)
            return QwenPart(root + prefix, shapes, root, deep or said)
    return None


def load_qwen(part: QwenPart, path: Path, others: Sequence[str] = ()) -> Any:
    """Load a Qwen without its head from a file or folder; `others` are the prefixes of the file's other parts."""
    weights = folder_weights(path) if path.is_dir() else Weights(path)

    def pieces(names: list[str]) -> dict[str, Piece]:
        return {name: Piece(part.prefix + name) for name in names}

    made = not_in_float16(assemble(part.model, pieces, weights, "text encoder"))
    beside = tuple(part.root + name for name in ("lm_head.", *NAMES_OF_TOWERS))
    weights.taken |= {name for name in weights.keys() if name.startswith(beside)}  # noqa: SIM118
    warn_unused(weights, part.prefix, others)
    return made
