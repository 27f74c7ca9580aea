"""From a prompt to what a UNet reads: hidden states, weighed, of one encoder or of several side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_weights import Grammar, Section, parse
from latentloom.nodes.text.tokens import Chunk, chunks, ids_of, vectors_of, weights_of

LEAST_MEAN = 0.02  # of the mean magnitude; that of CLIP ViT-L is above 0.1

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.text.encoder import Encoder
    from latentloom.nodes.text.reader import TextReader


def embed(
    text_encoder: TextReader,
    text: str | Sequence[str],
    grammar: Grammar,
    clip_skip: int = 1,
    embeddings: Callable[[Sequence[Section]], Sequence[Section]] = tuple,
) -> tuple[Tensor, Tensor]:
    """The embedding [1, T, D] and the pooled output [1, P] of a text that does not change with the steps.

    `text` is one for all encoders, or one for each. T is the encoder's length times the number of chunks, where a
    shorter text goes on with empty ones; D adds up over the encoders; the pooled output is that of the last encoder's
    first chunk. `clip_skip` counts layers from the last, 1; what the model was trained with is the least that is left
    out. `embeddings` puts embeddings in the place of their names.
    Raises BadValueError for what the grammar refuses, and for more layers left out than there are.
    """
    import torch

    encoders = text_encoder.encoders
    each = [text] * len(encoders) if isinstance(text, str) else text
    read = [
        chunks(embeddings(parse(own, grammar)), encoder.tokenizer, grammar)
        for encoder, own in zip(encoders, each, strict=True)
    ]
    longest = max(map(len, read))
    parts = [
        _part(encoder, [*found, *[()] * (longest - len(found))], grammar, clip_skip)
        for encoder, found in zip(encoders, read, strict=True)
    ]
    return torch.cat([hidden for hidden, _ in parts], dim=2), parts[-1][1]


def _part(encoder: Encoder, found: Sequence[Chunk], grammar: Grammar, clip_skip: int) -> tuple[Tensor, Tensor]:
    """What one encoder gives for its chunks."""
    import torch

    tokenizer, layer = encoder.tokenizer, _layer(encoder, clip_skip)
    ids = torch.tensor([ids_of(chunk, tokenizer) for chunk in found])
    hidden, pooled = encoder.encode(ids, layer, vectors_of(found, encoder.name))
    weights = torch.tensor([weights_of(chunk, tokenizer) for chunk in found]).to(hidden)[..., None]
    if (weights == 1).all():
        pass  # so that a prompt without weights is exactly what the encoder gives
    elif grammar == "comfyui":
        empty, _ = encoder.encode(torch.tensor([ids_of((), tokenizer)]), layer)
        hidden = torch.lerp(empty, hidden, weights)
    else:
        hidden = scaled(hidden, weights)
    return hidden.reshape(1, -1, hidden.shape[2]).float().cpu(), pooled[:1].float().cpu()


def scaled(hidden: Tensor, weights: Tensor) -> Tensor:
    """Each token times its weight, and every chunk with the mean that it had (AUTOMATIC1111's "original" emphasis).

    A mean that is small beside the numbers themselves, as a model's may be, says nothing and is left alone: the
    quotient of two such means has any size and sign.
    """
    import torch

    found = hidden * weights
    old, new, size = (part.mean((1, 2), keepdim=True) for part in (hidden, found, found.abs()))
    return found * torch.where(torch.minimum(old.abs(), new.abs()) > LEAST_MEAN * size, old / new, 1)


def _layer(encoder: Encoder, clip_skip: int) -> int:
    """The layer to read, counted from the end as `Encoder.layer` is: never one behind that of the training."""
    count: int = encoder.model.config.num_hidden_layers
    if clip_skip > count:
        raise BadValueError(
            "clip_skip leaves out more layers than the text encoder has",
            expected=f"at most {count}",
            got=str(clip_skip),
        )
    return min(encoder.layer, -clip_skip)
