"""The seam between a prompt and the text encoders of a model: what reads a text, and what it gives."""

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
"""Puts embeddings in the place of their names."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadText:
    """What a denoiser is told of a text, float32 on the CPU."""

    embedding: Tensor  # [1, T, D]
    pooled: Tensor | None = None  # [1, P]
    mask: Tensor | None = None  # [1, T], 1 where there is a token, for encoders whose texts have any length


class TextReader(Protocol):
    """A loaded CLIP handle: text encoders and their tokenizers, read as their model was trained.

    CLIP's chunks are one reader, `TextEncoder`; others join CLIP and T5 or put a prompt into a chat's template.
    """

    encoders: tuple[Encoder, ...]
    """The CLIPs among them, none for a reader without."""
    tokenizer: Any
    """That of the first encoder."""
    widths: Mapping[str, int]
    """How wide the vectors are that may stand in for tokens (textual inversion), by encoder; empty for none."""
    modules: Any
    """Everything with weights, for whoever counts or moves them."""

    def read(
        self, text: str | Sequence[str], grammar: Grammar, clip_skip: int = 1, embeddings: Words = tuple
    ) -> ReadText:
        """What the encoders make of a text that does not change with the steps: one for all, or one for each CLIP.

        Raises BadValueError for what the grammar refuses, and for a clip_skip that the encoders cannot follow.
        """


def clip_of(reader: TextReader, node: str) -> Encoder:
    """The first CLIP of a reader, for what looks at its tokens. Raises BadValueError for a reader without one."""
    if not reader.encoders:
        raise BadValueError(
            f"{node} looks at the tokens of a CLIP, and this text encoder has none",
            expected="the text encoder of SD 1.x, SD 2.x or SDXL",
            got=type(reader).__name__,
        )
    return reader.encoders[0]
