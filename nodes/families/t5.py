"""T5 encoders in files: recognised by keys, configured by shapes."""

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

PREFIXES = ("", "text_encoders.t5xxl.transformer.", "t5xxl.transformer.")
FOLDERS = ("tokenizer_2", "tokenizer_3", "t5_tokenizer", "tokenizer")
TOKENIZER = EncoderTokenizer(TokenizerFiles("Unigram", FOLDERS))
NAMES = {4096: "T5-XXL", 2048: "T5-XL", 1024: "T5-large", 768: "T5-base"}
_BIAS = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
_GATED = "encoder.block.0.layer.1.DenseReluDense.wi_1.weight"


@dataclass(frozen=True, slots=True)
class T5Part:
    """A T5 v1.1 or UMT5 in a file. UMT5 differs by a position bias in each layer, and has its own name."""

    prefix: str
    shapes: Shapes

    @property
    def name(self) -> str:
        """ "t5" or "umt5"."""
        return "umt5" if _BIAS.format(1) in self.shapes else "t5"

    @property
    def title(self) -> str:
        """The title shown to people."""
        return "UMT5" if self.name == "umt5" else NAMES.get(self.width, "T5")

    @property
    def words(self) -> str:
        """The name of the token embeddings; files have one or both of two equal tensors."""
        return next(n for n in ("shared.weight", "encoder.embed_tokens.weight") if n in self.shapes)

    @property
    def width(self) -> int:
        """The width of the hidden states."""
        return self.shapes[self.words][1]

    def config(self) -> dict[str, Any]:
        """Return the arguments of transformers' T5Config."""
        buckets, heads = self.shapes[_BIAS.format(0)]
        return {
            "vocab_size": self.shapes[self.words][0],
            "d_model": self.width,
            "d_kv": self.shapes["encoder.block.0.layer.0.SelfAttention.q.weight"][0] // heads,
            "d_ff": self.shapes[_GATED][0],
            "num_layers": counted(self.shapes, "encoder.block.{}."),
            "num_heads": heads,
            "relative_attention_num_buckets": buckets,
            "feed_forward_proj": "gated-gelu",
        }


def find_t5(every: Shapes) -> T5Part | None:
    """Find the T5 v1.1 or UMT5 among the tensors of a file; None if there is none."""
    for prefix in PREFIXES:
        if prefix + _BIAS.format(0) in every and prefix + _GATED in every:
            shapes = below(every, prefix)
            return T5Part(prefix, shapes)
    return None


def load_t5(part: T5Part, path: Path, others: Sequence[str] = ()) -> Any:
    """Load transformers' T5Stack from a file or folder; `others` are the prefixes of the file's other parts."""
    from transformers import T5Config, T5EncoderModel

    weights = folder_weights(path) if path.is_dir() else Weights(path)
    config = T5Config(**part.config())

    def pieces(names: list[str]) -> dict[str, Piece]:
        words = ("shared.weight", "encoder.embed_tokens.weight")
        return {name: Piece(part.prefix + (part.words if name in words else name)) for name in names}

    made = assemble(lambda: T5EncoderModel(config), pieces, weights, "text encoder T5").encoder
    for block in made.block:  # their sums overflow in float16; transformers keeps them in float32, too
        not_in_float16(block.layer[-1].DenseReluDense.wo)
    weights.taken |= {part.prefix + name for name in ("shared.weight", "encoder.embed_tokens.weight")}
    warn_unused(weights, part.prefix, others)
    return made
