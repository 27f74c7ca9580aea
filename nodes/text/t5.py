"""Encodes a prompt with T5 (Raffel et al. 2020): tokens up to a maximum length, with weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.embedding import scaled
from latentloom.nodes.text.prompt_weights import Grammar, Section
from latentloom.nodes.text.tokenizer_holder import TokenizerHolder

if TYPE_CHECKING:
    from torch import Tensor

END, PAD = "</s>", "<pad>"


@dataclass(frozen=True)
class T5(TokenizerHolder):
    """The encoder of a T5 with its tokenizer."""

    model: Any  # transformers' T5Stack
    tokenizer: Any  # of the tokenizers library
    length: int  # maximum number of tokens, including the end token
    masked: bool = False
    """Whether the padding is one masked token; otherwise it fills the text to `length` and is not masked."""

    def encode(self, sections: Sequence[Section], grammar: Grammar) -> Tensor:
        """Return the hidden states [1, T, D] of a text's tokens and its padding, float32 on the CPU.

        Sections are concatenated. Weights are applied as in `grammar`, see `embedding.embed`. Raises BadValueError for
        a text that is too long.
        """
        import torch

        numbers, weights = self._tokens(sections)
        padding = 1 if self.masked else self.length - len(numbers)
        hidden = self._hidden(numbers, padding)
        if all(weight == 1 for weight in weights):
            return hidden  # the exact output of the encoder
        factors = torch.tensor([*weights, *[1.0] * padding])[None, :, None]
        if grammar != "comfyui":
            return scaled(hidden, factors)
        empty = self._hidden([self._number(END)], hidden.shape[1] - 1)
        return torch.lerp(empty, hidden, factors)

    def _hidden(self, numbers: Sequence[int], padding: int) -> Tensor:
        import torch

        ids = torch.tensor([[*numbers, *[self._number(PAD)] * padding]])
        mask = torch.tensor([[1] * len(numbers) + [0] * padding]) if self.masked else torch.ones_like(ids)
        device = self.model.device
        found: Tensor = self.model(input_ids=ids.to(device), attention_mask=mask.to(device))[0]
        return found.float().cpu()

    def _tokens(self, sections: Sequence[Section]) -> tuple[list[int], list[float]]:
        """Return the ids and the weights of a text's tokens and of the end token."""
        numbers: list[int] = []
        weights: list[float] = []
        for span in (span for section in sections for span in section):
            found = self.tokenizer.encode(span.text, add_special_tokens=False).ids
            numbers += found
            weights += [span.weight] * len(found)
        if len(numbers) >= self.length:
            raise BadValueError(
                "the prompt is too long for T5",
                expected=f"at most {self.length - 1} tokens",
                got=str(len(numbers)),
            )
        return [*numbers, self._number(END)], [*weights, 1.0]

    def _number(self, name: str) -> int:
        found = self.tokenizer.token_to_id(name)
        if found is None:
            raise BadValueError(f"T5's tokenizer has no '{name}'", expected="the tokenizer of T5", got="another one")
        return int(found)
