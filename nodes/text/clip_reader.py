"""The text reader of Stable Diffusion: one or more CLIPs, which encode a prompt in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from latentloom.nodes.text.embedding import embed
from latentloom.nodes.text.encoder import Encoder
from latentloom.nodes.text.prompt_weights import Grammar
from latentloom.nodes.text.reader import ReadText, Words


@dataclass(frozen=True)
class TextEncoder:
    """The encoders of a checkpoint: "l" for SD 1.x, "h" for SD 2.x, "g" for the SDXL refiner, "l" and "g" for SDXL.

    Their hidden states are concatenated along the last dimension; the pooled output is that of the last encoder.
    """

    encoders: tuple[Encoder, ...]
    modules: Any = field(init=False)  # all modules with weights, to count or move them

    def __post_init__(self) -> None:
        from torch import nn

        parts = [part for encoder in self.encoders for part in (encoder.model, encoder.projection)]
        object.__setattr__(self, "modules", nn.ModuleList([part for part in parts if isinstance(part, nn.Module)]))

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the first encoder; all encoders split words in the same way."""
        return self.encoders[0].tokenizer

    @property
    def widths(self) -> dict[str, int]:
        """The width of a token's vector, by encoder."""
        return {encoder.name: encoder.model.config.hidden_size for encoder in self.encoders}

    def read(
        self, text: str | Sequence[str], grammar: Grammar, clip_skip: int = 1, embeddings: Words = tuple
    ) -> ReadText:
        """See `TextReader.read` and `embedding.embed`."""
        return ReadText(*embed(self, text, grammar, clip_skip, embeddings))
