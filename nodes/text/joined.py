"""Text readers that join CLIPs and a T5: Flux.1's, where T5 reads and CLIP pools, and that of Stable Diffusion 3."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """CLIPs and a T5 that read one prompt; see `TextReader`. Brackets count for both."""

    clips: TextEncoder
    t5: T5 | None
    modules: Any = field(init=False)
    widths: Mapping[str, int] = field(default_factory=dict)  # T5 knows no embeddings, so that they are words

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
        """That of the first CLIP."""
        return self.encoders[0].tokenizer

    def with_clips(self, encoders: Sequence[Encoder]) -> JoinedReader:
        """The same with other CLIPs."""
        return replace(self, clips=TextEncoder(tuple(encoders)))

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
            raise BadValueError("this text encoder reads one prompt", expected="1", got=str(len(texts)))
        return self._join(texts[0], parse(texts[0], grammar), grammar, clip_skip)

    @abstractmethod
    def _join(self, text: str, sections: Sequence[Section], grammar: Grammar, clip_skip: int) -> ReadText:
        """What a model of the family is told of a text."""


class FluxReader(JoinedReader):
    """The hidden states of T5, and the pooled output of CLIP's ViT-L for the first 75 tokens."""

    def _join(self, text: str, sections: Sequence[Section], grammar: Grammar, clip_skip: int) -> ReadText:
        if clip_skip != 1:
            raise BadValueError(
                "clip_skip counts the layers of a CLIP, and of Flux's CLIP none but the last is read",
                expected="1",
                got=str(clip_skip),
            )
        assert self.t5 is not None
        _, pooled = embed(self.clips, text, grammar)
        hidden: Tensor = self.t5.encode(sections, grammar)[0]
        return ReadText(hidden, pooled)
