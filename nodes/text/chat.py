"""A text reader that inserts a prompt into the template of a chat model, and returns some of its hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_weights import Grammar
from latentloom.nodes.text.reader import ReadText, Words
from latentloom.nodes.text.tokenizer_holder import TokenizerHolder

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.text.encoder import Encoder


@dataclass(frozen=True, slots=True)
class Chat:
    """The chat template of a model family: the prompt replaces "{}".

    `layers` are indices into transformers' `hidden_states`; several layers are concatenated along the last dimension.
    A text of more than `length` tokens, including the template, is an error.
    """

    template: str
    layers: tuple[int, ...]
    length: int = 512
    empty: str = ""  # what stands in the place of an empty text
    dropped: int | str = 0  # tokens at the template's start whose hidden states are not returned, or their text


@dataclass(frozen=True)
class ChatReader(TokenizerHolder):
    """A chat model without its head, and its tokenizer; see `TextReader`. Brackets in a prompt have no meaning."""

    model: Any  # a decoder of transformers, without its head
    tokenizer: Any
    chat: Chat
    modules: Any = field(init=False)
    encoders: tuple[Encoder, ...] = ()
    widths: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", self.model)

    def read(
        self,
        text: str | Sequence[str],
        grammar: Grammar,  # noqa: ARG002
        clip_skip: int = 1,
        embeddings: Words = tuple,  # noqa: ARG002
    ) -> ReadText:
        """Return the hidden states [1, T, D] of the tokens after the dropped ones, and a mask of ones.

        Raises BadValueError for a text that is too long, for several texts, and for a clip_skip: the layers are fixed
        by the model's training.
        """
        ids = self._ids(only_text(text, clip_skip), self.chat)
        states = self.model(input_ids=ids.to(self.model.device), output_hidden_states=True, use_cache=False)
        return self._told(states.hidden_states, self.chat)

    def _ids(self, text: str, chat: Chat) -> Tensor:
        """Return the token ids [1, T] of a text in a template."""
        import torch

        ids = self._encoded(chat.template.replace("{}", text or chat.empty))
        if len(ids) > chat.length:
            raise BadValueError("the prompt is too long", expected=f"at most {chat.length} tokens", got=f"{len(ids)}")
        return torch.tensor([ids])

    def _encoded(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _told(self, hidden_states: Sequence[Tensor], chat: Chat) -> ReadText:
        """Return the template's layers of the hidden states, without its dropped tokens."""
        import torch

        found = torch.cat([hidden_states[layer] for layer in chat.layers], dim=2)
        dropped = chat.dropped if isinstance(chat.dropped, int) else len(self._encoded(chat.dropped))
        told = found[:, dropped:].float().cpu()
        return ReadText(told, mask=torch.ones(told.shape[:2]))


def only_text(text: str | Sequence[str], clip_skip: int) -> str:
    """Return the one text of a prompt. Raises BadValueError for several texts and for a clip_skip."""
    if clip_skip != 1:
        raise BadValueError(
            "clip_skip is for CLIP only, and this text encoder is not a CLIP", expected="1", got=str(clip_skip)
        )
    texts = [text] if isinstance(text, str) else list(text)
    if len(texts) != 1:
        raise BadValueError("this text encoder takes one prompt", expected="1", got=str(len(texts)))
    return texts[0]
