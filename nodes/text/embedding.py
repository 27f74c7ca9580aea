"""Converts a prompt to an embedding: the weighted hidden states of one encoder, or of several concatenated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_weights import Grammar, Section, parse
from latentloom.nodes.text.tokens import Chunk, chunks, ids_of, vectors_of, weights_of

LEAST_MEAN = 0.02  # relative to the mean magnitude; CLIP ViT-L has more than 0.1

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
    """Return the embedding [1, T, D] and the pooled output [1, P] of a text that does not change with the steps.

    `text` is one text for all encoders, or one for each. T is the encoder's length times the number of chunks; shorter
    texts are filled with empty chunks. D is the sum over the encoders. The pooled output is that of the last encoder's
    first chunk. `clip_skip` counts layers from the end, 1 is the last; at least as many layers are skipped as in the
    model's training. `embeddings` replaces the names of embeddings by their vectors.
    Raises BadValueError for text that the grammar does not allow, and if clip_skip exceeds the number of layers.
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
    """Return the hidden states and the pooled output of one encoder for its chunks."""
    import torch

    tokenizer, layer = encoder.tokenizer, _layer(encoder, clip_skip)
    ids = torch.tensor([ids_of(chunk, tokenizer) for chunk in found])
    hidden, pooled = encoder.encode(ids, layer, vectors_of(found, encoder.name))
    weights = torch.tensor([weights_of(chunk, tokenizer) for chunk in found]).to(hidden)[..., None]
    if (weights == 1).all():
        pass  # a prompt without weights keeps the exact output of the encoder
    elif grammar == "comfyui":
        empty, _ = encoder.encode(torch.tensor([ids_of((), tokenizer)]), layer)
        hidden = torch.lerp(empty, hidden, weights)
    else:
        hidden = scaled(hidden, weights)
    return hidden.reshape(1, -1, hidden.shape[2]).float().cpu(), pooled[:1].float().cpu()


def scaled(hidden: Tensor, weights: Tensor) -> Tensor:
    """Multiply each token by its weight, then restore the mean of each chunk (AUTOMATIC1111's "original" emphasis).

    The mean is not restored if it is small compared with the mean magnitude, because the quotient of two such means
    can have any size and sign.
    """
    import torch

    found = hidden * weights
    old, new, size = (part.mean((1, 2), keepdim=True) for part in (hidden, found, found.abs()))
    return found * torch.where(torch.minimum(old.abs(), new.abs()) > LEAST_MEAN * size, old / new, 1)


def _layer(encoder: Encoder, clip_skip: int) -> int:
    """Return the layer to read, counted from the end like `Encoder.layer`: never later than that of the training."""
    count: int = encoder.model.config.num_hidden_layers
    if clip_skip > count:
        raise BadValueError(
            "clip_skip is larger than the number of layers of the text encoder",
            expected=f"at most {count}",
            got=str(clip_skip),
        )
    return min(encoder.layer, -clip_skip)
