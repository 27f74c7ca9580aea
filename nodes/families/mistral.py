"""Mistral Small 3 (Mistral AI 2025) in files: recognised by keys, configured by shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.engine.models.weights import not_in_float16
from latentloom.nodes.families.folder import folder_weights
from latentloom.nodes.families.header import Shapes, below, counted
from latentloom.nodes.families.module_loading import Piece, Weights, assemble
from latentloom.nodes.families.tokenizers import EncoderTokenizer
from latentloom.nodes.families.unused import warn_unused
from latentloom.nodes.text.tokenizer_files import TokenizerFiles

PREFIXES = ("model.", "model.language_model.", "language_model.model.", "")
HEAD = 128  # head width; no tensor has it
LLAMA = (32000, 32064, 128256)  # sizes of the vocabularies of Llama 2 and 3 and of older Mistrals
OTHERS = ("layers.0.self_attn.q_norm.weight", "layers.0.self_attn.k_proj.bias")  # what language models of others have
OTHERS += ("layers.0.post_feedforward_layernorm.weight",)
BESIDE = ("lm_head.", "language_model.lm_head.", "vision_tower.", "model.vision_tower.", "multi_modal_projector.")
BESIDE += ("model.multi_modal_projector.",)  # what reading prompts does not need

TOKENIZER = EncoderTokenizer(TokenizerFiles("BPE", ("mistral3_tokenizer", "tokenizer"), tekken=True))


@dataclass(frozen=True, slots=True)
class MistralPart:
    """The language model of a Mistral Small 3 in a file, possibly without its last layers."""

    prefix: str
    shapes: Shapes
    name: str = "mistral3"
    title: str = "Mistral Small 3"

    @property
    def width(self) -> int:
        """The width of the hidden states."""
        return self.shapes["embed_tokens.weight"][1]

    @property
    def layers(self) -> int:
        """The number of layers."""
        return counted(self.shapes, "layers.{}.")

    def model(self) -> Any:
        """Return the network, without weights and without the language model head."""
        from transformers import MistralConfig, MistralModel

        config = MistralConfig(
            vocab_size=self.shapes["embed_tokens.weight"][0],
            hidden_size=self.width,
            intermediate_size=self.shapes["layers.0.mlp.gate_proj.weight"][0],
            num_hidden_layers=self.layers,
            num_attention_heads=self.shapes["layers.0.self_attn.q_proj.weight"][0] // HEAD,
            num_key_value_heads=self.shapes["layers.0.self_attn.k_proj.weight"][0] // HEAD,
            head_dim=HEAD,
            rms_norm_eps=1e-5,
            sliding_window=None,
            max_position_embeddings=131_072,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000_000.0},
        )
        made = MistralModel(config)
        if "norm.weight" not in self.shapes:  # of files without the last layers
            from torch import nn

            made.norm = nn.Identity()
        return made


def find_mistral(every: Shapes) -> MistralPart | None:
    """Find the Mistral among the tensors of a file; None if there is none."""
    for prefix in PREFIXES:
        shapes = below(every, prefix)
        if "embed_tokens.weight" not in shapes or "layers.0.self_attn.q_proj.weight" not in shapes:
            continue
        if shapes["embed_tokens.weight"][0] not in LLAMA and not any(name in shapes for name in OTHERS):
            return MistralPart(prefix, shapes)
    return None


def load_mistral(part: MistralPart, path: Path, others: Sequence[str] = ()) -> Any:
    """Load a Mistral without its head from a file or folder; `others` are the prefixes of the file's other parts."""
    weights = folder_weights(path) if path.is_dir() else Weights(path)

    def pieces(names: list[str]) -> dict[str, Piece]:
        return {name: Piece(part.prefix + name) for name in names}

    made = not_in_float16(assemble(part.model, pieces, weights, "text encoder"))
    weights.taken |= {name for name in weights.keys() if name.startswith(BESIDE)}  # noqa: SIM118
    warn_unused(weights, part.prefix, others)
    return made
