"""Loaded text encoders: what a CLIP handle becomes when a node loads it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Encoder:
    """One CLIP text model and how its checkpoint reads it.

    `layer` counts as transformers' `hidden_states` do: -1 is what the last layer gives, -2 the one before it.
    """

    name: Literal["l", "g", "h"]  # OpenAI's ViT-L/14, OpenCLIP's ViT-bigG/14 and ViT-H/14
    model: Any  # transformers.CLIPTextModel
    tokenizer: Any  # transformers.CLIPTokenizer; its pad token is the one that the model was trained with
    layer: int = -1
    final_norm: bool = True  # whether that hidden state passes the final layer norm
    projection: Callable[[Tensor], Tensor] | None = None  # [B, D] -> [B, P], for the pooled output

    def encode(
        self, tokens: Tensor, layer: int | None = None, vectors: Mapping[tuple[int, int], Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Hidden states [B, T, D] and pooled output [B, P] for token ids [B, T], which hold an end token each.

        `layer` stands in for the encoder's own, for instance for clip skip. The pooled output always is that of the
        last layer, normed, at the first end token. `vectors` stand in for the tokens' own, by row and place.
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
        """Let the model read vectors where they are given, for the time of a with-block."""

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


@dataclass(frozen=True)
class TextEncoder:
    """The encoders of a checkpoint: "l" for SD 1.x, "h" for SD 2.x, "g" for the SDXL refiner, "l" and "g" for SDXL.

    Their hidden states are concatenated along the last dimension; the pooled output is that of the last encoder.
    """

    encoders: tuple[Encoder, ...]
    modules: Any = field(init=False)  # everything with weights, for whoever counts or moves them

    def __post_init__(self) -> None:
        from torch import nn

        parts = [part for encoder in self.encoders for part in (encoder.model, encoder.projection)]
        object.__setattr__(self, "modules", nn.ModuleList([part for part in parts if isinstance(part, nn.Module)]))

    @property
    def tokenizer(self) -> Any:
        """That of the first encoder; all of them split words in the same way."""
        return self.encoders[0].tokenizer

    @property
    def widths(self) -> dict[str, int]:
        """How wide the vector of a token is, by encoder."""
        return {encoder.name: encoder.model.config.hidden_size for encoder in self.encoders}
