"""The tokenizer of a text encoder: inside its file, beside it, in the ComfyUI that contains it, or shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import folder_header
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.packing.gguf_file import read_metadata
from latentloom.nodes.text.ggml_vocabulary import KINDS, PREFIX, ggml_tokenizer
from latentloom.nodes.text.qwen_tokenizer import SHA256, SIZE, qwen_tokenizer
from latentloom.nodes.text.sentencepiece import unigram
from latentloom.nodes.text.tekken import tekken
from latentloom.nodes.text.tokenizer_files import TokenizerFiles

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MODEL = PREFIX + "model"  # the key of GGUF's metadata that names the kind of tokenizer
WORDS = "embed_tokens.weight"  # the end of the name of a Qwen's token embeddings


def _from_json(data: bytes) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_buffer(data)


TENSORS: dict[str, tuple[str, Callable[[bytes], Any]]] = {
    "spiece_model": ("Unigram", unigram),
    "tekken_model": ("BPE", tekken),
    "tokenizer_json": ("", _from_json),
}
"""Tensors of bytes that hold a tokenizer: its kind ("" for any) and its reader."""


@dataclass(frozen=True, slots=True)
class EncoderTokenizer:
    """Finds and loads the tokenizer of a text encoder. `qwen`: the shipped vocabulary of Qwen is the last choice."""

    files: TokenizerFiles
    qwen: bool = False

    def digest(self, weights: Path) -> str:
        """Return a hash of the tokenizer's files, "inside" for one in the weights' file, or "" without one."""
        if self._inside(weights):
            return "inside"  # the hash of the file covers it
        return self.files.digest(weights) or (SHA256 if self._shipped(weights) else "")

    def load(self, weights: Path) -> Tokenizer:
        """Load the tokenizer, without padding and truncation. Raises FileError if there is none or it is unreadable."""
        inside = self._inside(weights)
        if not inside and self.files.find(weights) is None and self._shipped(weights):
            return qwen_tokenizer()
        if not inside:
            return self.files.load(weights)
        try:
            made = self._read(weights, inside)
        except Exception as error:  # the tokenizers library raises no narrower class
            raise FileError(f"'{weights.name}' contains no readable tokenizer", got=str(error)) from None
        made.no_padding()
        made.no_truncation()
        return made

    def missing(self, weights: Path) -> FileError:
        """Return the error for weights without a tokenizer, with the places where it may be."""
        return self.files.missing(weights)

    def _inside(self, weights: Path) -> str:
        """Return what of a file holds a tokenizer of this kind: a tensor or a key of its metadata; "" without one."""
        if not weights.is_file():
            return ""
        header = read_header(weights)
        if KINDS.get(header.metadata.get(MODEL, "")) == self.files.kind:
            return MODEL
        names = (name for name, (kind, _) in TENSORS.items() if kind in ("", self.files.kind))
        return next((name for name in names if name in header.shapes), "")

    def _read(self, weights: Path, inside: str) -> Tokenizer:
        if inside == MODEL:
            return ggml_tokenizer(read_metadata(weights, PREFIX))
        made: Tokenizer = TENSORS[inside][1](Weights(weights)[inside].numpy().tobytes())
        return made

    def _shipped(self, weights: Path) -> bool:
        """Return whether the shipped vocabulary suits: the file has a row for each of its tokens."""
        if not self.qwen:
            return False
        shapes = (folder_header(weights) if weights.is_dir() else read_header(weights)).shapes
        return any(name.endswith(WORDS) and shape[0] >= SIZE for name, shape in shapes.items())
