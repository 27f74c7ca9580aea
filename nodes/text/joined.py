"""Text readers that combine CLIPs and a T5: those of Flux.1, Chroma and Stable Diffusion 3."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.clip_reader import TextEncoder
from latentloom.nodes.text.embedding import embed
from latentloom.nodes.text.prompt_weights import Grammar, Section, parse
from latentloom.nodes.text.reader import ReadText, Words
from latentloom.nodes.text.t5 import T5

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.text.encoder import Encoder


@dataclass(frozen=True)
class JoinedReader(ABC):
    """CLIPs and a T5 that encode one prompt; see `TextReader`. Prompt weights apply to both."""

    clips: TextEncoder
    t5: T5 | None
    modules: Any = field(init=False)
    widths: Mapping[str, int] = field(default_factory=dict)  # empty: names of embeddings are read as words

    def __post_init__(self) -> None:
        from torch import nn

        models = [] if self.t5 is None else [self.t5.model]
        object.__setattr__(self, "modules", nn.ModuleList([*self.clips.modules, *models]))

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """The CLIPs."""
        return self.clips.encoders

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the first CLIP."""
        return self.encoders[0].tokenizer

    def read(
        self,
        text: str | Sequence[str],
        grammar: Grammar,
        clip_skip: int = 1,
        embeddings: Words = tuple,  # noqa: ARG002
    ) -> ReadText:
        """See `TextReader.read`. Raises BadValueError for several texts."""
        texts = [text] if isinstance(text, str) else list(text)
        if len(texts) != 1:
            raise BadValueError("this text encoder takes one prompt", expected="1", got=str(len(texts)))
        return self._join(texts[0], parse(texts[0], grammar), grammar, clip_skip)

    @abstractmethod
    def _join(self, text: str, sections: Sequence[Section], grammar: Grammar, clip_skip: int) -> ReadText:
        """Return the embedding of a text for a model of the family."""


class FluxReader(JoinedReader):
    """The hidden states of T5, and the pooled output of CLIP's ViT-L for the first 75 tokens."""

    def _join(self, text: str, sections: Sequence[Section], grammar: Grammar, clip_skip: int) -> ReadText:
        if clip_skip != 1:
            raise BadValueError(
                "clip_skip is not supported: only the last layer of Flux's CLIP is used",
                expected="1",
                got=str(clip_skip),
            )
        assert self.t5 is not None
        _, pooled = embed(self.clips, text, grammar)
        return ReadText(self.t5.encode(sections, grammar), pooled)


class T5Reader(JoinedReader):
    """The hidden states of T5 only, for Chroma."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of T5."""
        return self.t5 and self.t5.tokenizer

    def _join(self, text: str, sections: Sequence[Section], grammar: Grammar, clip_skip: int) -> ReadText:  # noqa: ARG002
        if clip_skip != 1:
            raise BadValueError("clip_skip is for CLIP only, and there is none", expected="1", got=str(clip_skip))
        assert self.t5 is not None
        return ReadText(self.t5.encode(sections, grammar))


@dataclass(frozen=True)
class SD3Reader(JoinedReader):
    """The concatenated hidden states of CLIP's ViT-L and ViT-bigG, followed by those of T5 (Esser et al. 2024).

    Each of the three encoders may be missing; its part is filled with zeros.
    """

    width: int = 4096  # of a token's embedding
    pooled: int = 2048  # width of both pooled outputs together
    length: int = 256  # tokens of T5

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the first CLIP, or of T5 if there is no CLIP."""
        return self.encoders[0].tokenizer if self.encoders else self.t5 and self.t5.tokenizer

    def _join(self, text: str, sections: Sequence[Section], grammar: Grammar, clip_skip: int) -> ReadText:
        import torch

        hidden, pooled = self._clips(text, grammar, clip_skip)
        behind = torch.zeros(1, self.length, self.width) if self.t5 is None else self.t5.encode(sections, grammar)
        return ReadText(torch.cat([hidden, behind], dim=1), pooled)

    def _clips(self, text: str, grammar: Grammar, clip_skip: int) -> tuple[Tensor, Tensor]:
        """Return the hidden states [1, T, width] and the pooled output of the CLIPs; those of ViT-bigG come last."""
        import torch
        from torch.nn.functional import pad

        if not self.encoders:
            return torch.zeros(1, 77, self.width), torch.zeros(1, self.pooled)
        found = {e.name: embed(TextEncoder((e,)), text, grammar, clip_skip) for e in self.encoders}
        missing = self.pooled - sum(pooled.shape[1] for _, pooled in found.values())
        first = missing if "l" not in found else 0  # zeros in front
        hidden = pad(_beside([states for states, _ in found.values()]), (first, 0))
        pooled = pad(torch.cat([pooled for _, pooled in found.values()], dim=1), (first, missing - first))
        return pad(hidden, (0, self.width - hidden.shape[2])), pooled


def _beside(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate hidden states along the last dimension; shorter ones are padded with zeros."""
    import torch
    from torch.nn.functional import pad

    longest = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts], dim=2)
