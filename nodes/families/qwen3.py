"""Qwen3 (Qwen team 2025) in files: told by its keys, configured by its shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.nodes.families.folder import folder_weights
from latentloom.nodes.families.header import Shapes, below, counted
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.unused import warn_unused
from latentloom.nodes.text.tokenizer_files import TokenizerFiles

PREFIXES = ("model.", "model.language_model.", "language_model.model.", "")
TOKENIZER = TokenizerFiles("BPE", ("tokenizer", "qwen25_tokenizer"))  # the last is what ComfyUI calls its own
NAMES = {2560: "Qwen3-4B", 4096: "Qwen3-8B", 2048: "Qwen3-1.7B", 1024: "Qwen3-0.6B"}


@dataclass(frozen=True, slots=True)
class QwenPart:
    """A Qwen3 in a file."""

    prefix: str
    shapes: Shapes
    name = "qwen3"

    @property
    def title(self) -> str:
        """What people call it."""
        return NAMES.get(self.width, "Qwen3")

    @property
    def width(self) -> int:
        """Of its hidden states."""
        return self.shapes["embed_tokens.weight"][1]

    def config(self) -> dict[str, Any]:
        """Arguments of transformers' Qwen3Config."""
        head = self.shapes["layers.0.self_attn.q_norm.weight"][0]
        return {
            "vocab_size": self.shapes["embed_tokens.weight"][0],
            "hidden_size": self.width,
            "intermediate_size": self.shapes["layers.0.mlp.gate_proj.weight"][0],
            "num_hidden_layers": counted(self.shapes, "layers.{}."),
            "num_attention_heads": self.shapes["layers.0.self_attn.q_proj.weight"][0] // head,
            "num_key_value_heads": self.shapes["layers.0.self_attn.k_proj.weight"][0] // head,
            "head_dim": head,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "rms_norm_eps": 1e-6,
            "max_position_embeddings": 40960,
        }


def find_qwen(every: Shapes) -> QwenPart | None:
    """The Qwen3 among the tensors of a file, or None."""
    for prefix in PREFIXES:
        shapes = below(every, prefix)
        if "layers.0.self_attn.q_norm.weight" in shapes and "embed_tokens.weight" in shapes:
            return QwenPart(prefix, shapes)
    return None


def load_qwen(part: QwenPart, path: Path, others: Sequence[str] = ()) -> Any:
    """A Qwen3 without its head, from a file or a folder; `others` are the prefixes of its other parts."""
    from transformers import Qwen3Config, Qwen3Model

    weights = folder_weights(path) if path.is_dir() else Weights(path)
    config, prefix = Qwen3Config(**part.config()), part.prefix

    def pieces(names: list[str]) -> dict[str, Piece]:
        return {name: Piece(prefix + name) for name in names}

    made = assemble(lambda: Qwen3Model(config), pieces, weights, "text encoder")
    weights.taken.add("lm_head.weight")  # which says the next word, and no prompt is about that
    warn_unused(weights, prefix, others)
    return made
