"""Loaded text encoders: the CLIP models that a node gets when it loads a CLIP handle."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from latentloom.nodes.text.tokenizer_holder import TokenizerHolder

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Encoder(TokenizerHolder):
    """One CLIP text model, with the settings of its checkpoint.

    `layer` is an index into transformers' `hidden_states`: -1 is the output of the last layer, -2 of the one before.
    """

    name: Literal["l", "g", "h"]  # OpenAI's ViT-L/14, OpenCLIP's ViT-bigG/14 and ViT-H/14
    model: Any  # transformers.CLIPTextModel
    tokenizer: Any  # transformers.CLIPTokenizer, with the pad token of the model's training
    layer: int = -1
    final_norm: bool = True  # whether that hidden state passes the final layer norm
    projection: Callable[[Tensor], Tensor] | None = None  # [B, D] -> [B, P], for the pooled output

    def encode(
        self, tokens: Tensor, layer: int | None = None, vectors: Mapping[tuple[int, int], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return hidden states [B, T, D] and pooled output [B, P] for token ids [B, T]; each row has an end token.

        `layer` replaces the encoder's own layer, for instance for clip skip. The pooled output is always the
        normalised output of the last layer at the first end token. `vectors` replace token embeddings, by row and
        position.
        """
        with self._replaced(vectors or {}):
            found = self.model(tokens.to(self.model.device), output_hidden_states=True)
        hidden = found.hidden_states[self.layer if layer is None else layer]
        if self.final_norm:
            hidden = self.model.final_layer_norm(hidden)
        pooled = found.pooler_output
        return hidden, pooled if self.projection is None else self.projection(pooled)

    @contextlib.contextmanager
    def _replaced(self, vectors: Mapping[tuple[int, int], Tensor]) -> Iterator[None]:
        """Replace token embeddings by vectors inside a with-block."""

        def put(module: Any, arguments: Any, output: Tensor) -> Tensor:  # noqa: ARG001
            found = output.clone()
            for place, vector in vectors.items():
                found[place] = vector.to(found)
            return found

        hook = self.model.embeddings.token_embedding.register_forward_hook(put) if vectors else None
        try:
            yield
        finally:
            if hook is not None:
                hook.remove()
