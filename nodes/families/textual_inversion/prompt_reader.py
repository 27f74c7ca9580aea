"""Shows how a model reads a prompt, using only the headers of its files: no weights are loaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.textual_inversion.words import SOURCE, Embeddings, File, tensors_of
from latentloom.nodes.text.prompt_weights import Grammar
from latentloom.nodes.text.token_table import as_json, read_prompt

Mentioned = Callable[[str, str], Mapping[str, File]]
"""The files below a source that a text may name."""


class _Counted(Embeddings):
    """Embeddings whose vectors are counted but not read."""

    def read(self, path: Path, name: str) -> Mapping[str, Any]:
        shapes = read_header(path).shapes
        found = {encoder: shapes[tensor] for encoder, tensor in tensors_of(path, name).items()}
        return {encoder: np.broadcast_to(np.float32(0), (1, *shape)[-2:]) for encoder, shape in found.items()}


@dataclass(frozen=True, slots=True)
class PromptReader:
    """The result of `ModelKind.prompt_reader` for a CLIP text encoder."""

    tokenizer: Any
    widths: Mapping[str, int]
    name: str

    def __call__(self, text: str, grammar: Grammar, steps: int, mentioned: Mentioned) -> dict[str, Any]:
        """Return the parts of a prompt as JSON, each with its tokens and its share of the steps.

        Raises BadValueError for a prompt that is too long, nested too deep, or names an embedding of another family,
        and FileError for an embedding that cannot be read.
        """
        embeddings = _Counted(mentioned(SOURCE, text), grammar, self, self.name)
        parts = [as_json(part, steps) for part in read_prompt(self.tokenizer, text, grammar, steps, embeddings)]
        return {"length": self.tokenizer.model_max_length, "parts": parts}
