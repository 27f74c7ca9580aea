"""The interface to the text encoders of a model: a reader, and the embedding that it returns for a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_weights import Grammar, Section

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.text.encoder import Encoder

Words = Callable[[Sequence[Section]], Sequence[Section]]
"""Replaces the names of embeddings by the embeddings."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadText:
    """The embedding of a text for a denoiser, float32 on the CPU."""

    embedding: Tensor  # [1, T, D]
    pooled: Tensor | None = None  # [1, P]
    mask: Tensor | None = None  # [1, T], 1 for tokens, from encoders without a fixed length
    slots: Tensor | None = None  # [1, T], 1 for the tokens of pictures, from prompts with pictures


class TextReader(Protocol):
    """A loaded CLIP handle: text encoders and their tokenizers, used as in the training of their model.

    `TextEncoder` encodes a prompt in CLIP chunks; other readers combine CLIP and T5 or use a chat template.
    """

    encoders: tuple[Encoder, ...]
    """The CLIPs; empty for a reader without one."""
    tokenizer: Any
    """The tokenizer of the first encoder."""
    widths: Mapping[str, int]
    """The width of the vectors that may replace tokens (textual inversion), by encoder; empty if not supported."""
    modules: Any
    """All modules with weights, to count or move them."""

    def read(
        self, text: str | Sequence[str], grammar: Grammar, clip_skip: int = 1, embeddings: Words = tuple
    ) -> ReadText:
        """Encode a text that does not change with the steps: one text for all encoders, or one for each CLIP.

        Raises BadValueError for text that the grammar does not allow, and for a clip_skip that is not supported.
        """


def clip_of(reader: TextReader, node: str) -> Encoder:
    """Return the first CLIP of a reader, for nodes that need its tokens. Raises BadValueError if there is none."""
    if not reader.encoders:
        raise BadValueError(
            f"{node} needs the tokens of a CLIP, which this text encoder does not have",
            expected="the text encoder of SD 1.x, SD 2.x or SDXL",
            got=type(reader).__name__,
        )
    return reader.encoders[0]
