"""A text reader like `ChatReader` whose prompts are padded to one length; the padding is a part of the embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from latentloom.engine.errors import FileError
from latentloom.nodes.text.chat import ChatReader, only_text
from latentloom.nodes.text.prompt_weights import Grammar
from latentloom.nodes.text.reader import ReadText, Words


@dataclass(frozen=True)
class PaddedChatReader(ChatReader):
    """A chat model that reads `chat.length` tokens: the prompt, and the token `pad` on one side of it."""

    pad: str = "<|endoftext|>"
    side: Literal["left", "right"] = "right"

    def read(
        self,
        text: str | Sequence[str],
        grammar: Grammar,  # noqa: ARG002
        clip_skip: int = 1,
        embeddings: Words = tuple,  # noqa: ARG002
    ) -> ReadText:
        """Return the hidden states [1, length, D] of all tokens. Raises BadValueError as `ChatReader.read` does."""
        ids, mask = self._padded(self._ids(only_text(text, clip_skip), self.chat))
        states = self.model(
            input_ids=ids.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            output_hidden_states=True,
            use_cache=False,
        )
        return ReadText(self._told(states.hidden_states, self.chat).embedding)

    def _padded(self, ids: Any) -> tuple[Any, Any]:
        """Return ids [1, length] and a mask of them, 1 = prompt."""
        from torch import ones_like
        from torch.nn.functional import pad

        token, missing = self.tokenizer.token_to_id(self.pad), self.chat.length - ids.shape[1]
        if token is None:
            raise FileError("the tokenizer is that of another text encoder", expected=f"one with the token {self.pad}")
        sides = (missing, 0) if self.side == "left" else (0, missing)
        return pad(ids, sides, value=token), pad(ones_like(ids), sides)


def shortened(model: Any, layers: int) -> Any:
    """Remove the layers of a decoder after the first `layers`, which are not read, and its last norm."""
    from torch import nn

    model.layers = model.layers[:layers]
    model.norm = nn.Identity()
    model.config.num_hidden_layers = layers
    return model
