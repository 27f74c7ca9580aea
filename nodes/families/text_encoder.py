"""The model kind "text_encoder": a language model as one file, which some families read prompts with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import folder_weights
from latentloom.nodes.families.header import Shapes, counted, read_header
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.text.tokenizer_files import find_tokenizer, load_tokenizer, tokenizer_digest

PREFIXES = ("model.", "model.language_model.", "language_model.model.", "")
TOKENIZERS = ("tokenizer", "qwen25_tokenizer")  # what folders of Qwen's tokenizer are called; ComfyUI's own is the last
NAMES = {2560: "Qwen3-4B", 4096: "Qwen3-8B", 2048: "Qwen3-1.7B", 1024: "Qwen3-0.6B"}


@dataclass(frozen=True, slots=True)
class QwenPart:
    """A Qwen3 in a file."""

    prefix: str
    shapes: Shapes

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
        shapes = {name.removeprefix(prefix): shape for name, shape in every.items() if name.startswith(prefix)}
        if "layers.0.self_attn.q_norm.weight" in shapes and "embed_tokens.weight" in shapes:
            return QwenPart(prefix, shapes)
    return None


class TextEncoderFile:
    """A Qwen3 of any size as a safetensors file. Where no model says how it is read, it is read as Z-Image does."""

    model_modules = ("transformers.models.qwen3.modeling_qwen3",)

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Which encoder it is and the width of its hidden states; None for another file."""
        part = find_qwen(read_header(path).shapes) if path.is_file() else None
        if part is None:
            return None
        name = NAMES.get(part.width, "Qwen3")
        facts = {"encoders": ["qwen3"], "width": part.width, "pooled": 0, "read_as": "z_image"}
        return {"clip": facts, "about": f"{name} text encoder"}

    def load(self, paths: Sequence[Path], *_: Any) -> Any:
        """Raise FileError: a family says how it is read."""
        raise FileError(f"'{paths[0].name}' is read as a family of models asks for", expected="LoadCLIP with a model")


def tokenizer_of(path: Path) -> str:
    """The digest of the tokenizer of a file or folder of weights, "" where none is found."""
    folder = find_tokenizer(path, TOKENIZERS)
    return tokenizer_digest(folder) if folder else ""


def load_qwen(path: Path) -> tuple[Any, Any]:
    """A Qwen3 without its head, and its tokenizer, from a file or from the text_encoder/ of a diffusers folder."""
    from transformers import Qwen3Config, Qwen3Model

    weights = folder_weights(path) if path.is_dir() else Weights(path)
    shapes = {name: weights.shape(name) for name in weights.keys()}  # noqa: SIM118
    part, folder = find_qwen(shapes), find_tokenizer(path, TOKENIZERS)
    if part is None or folder is None:
        raise FileError(f"'{path.name}' holds no Qwen3, or has no tokenizer beside it")
    config, prefix = Qwen3Config(**part.config()), part.prefix

    def pieces(names: list[str]) -> dict[str, Piece]:
        return {name: Piece(prefix + name) for name in names}

    return assemble(lambda: Qwen3Model(config), pieces, weights, "text encoder"), load_tokenizer(folder)
