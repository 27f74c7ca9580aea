"""How T5 (Raffel et al. 2020) reads a prompt: tokens of any text up to a length, padded to it, with weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.embedding import scaled
from latentloom.nodes.text.prompt_weights import Grammar, Section

if TYPE_CHECKING:
    from torch import Tensor

END, PAD = "</s>", "<pad>"


@dataclass(frozen=True)
class T5:
    """The encoder of a T5 with its tokenizer."""

    model: Any  # transformers' T5Stack
    tokenizer: Any  # of the tokenizers library
    length: int  # tokens, with the end token, to which a text is padded

    def encode(self, sections: Sequence[Section], grammar: Grammar) -> tuple[Tensor, Tensor]:
        """Hidden states [1, length, D] and a mask [1, length] of the tokens of the text, float32 on the CPU.

        Sections follow each other. Weights count as `grammar` says, see `embedding.embed`. Raises BadValueError for a
        text that is too long.
        """
        import torch

        numbers, weights = self._tokens(sections)
        mask = torch.zeros(1, self.length)
        mask[:, : len(numbers)] = 1
        hidden = self._hidden(numbers)
        if any(weight != 1 for weight in weights):
            factors = torch.ones(1, self.length, 1)
            factors[0, : len(weights), 0] = torch.tensor(weights)
            empty = self._hidden([self._number(END)]) if grammar == "comfyui" else None
            hidden = scaled(hidden, factors) if empty is None else torch.lerp(empty, hidden, factors)
        return hidden, mask

    def _hidden(self, numbers: Sequence[int]) -> Tensor:
        import torch

        padding = [self._number(PAD)] * (self.length - len(numbers))
        ids = torch.tensor([[*numbers, *padding]])
        found: Tensor = self.model(input_ids=ids.to(self.model.device))[0]
        return found.float().cpu()

    def _tokens(self, sections: Sequence[Section]) -> tuple[list[int], list[float]]:
        """The numbers and weights of a text's tokens and of its end."""
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
