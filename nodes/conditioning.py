"""Nodes that turn text into conditioning."""

import re
from typing import Annotated, Any

from pydantic import Field

from latentloom.engine import Array, Clip, Cond, Conditioning, Context, Text, node

SMALL_VOCABULARY = 2000
WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


@node("CLIPEncode", category="conditioning", device=True)
def clip_encode(
    ctx: Context,
    clip: Clip,
    text: Annotated[
        Text, Field(description="What the picture shows, or for a negative prompt what it must not show.")
    ] = "",
) -> Conditioning:
    """Read a prompt with a checkpoint's text encoder.

    What is beyond the encoder's length is left out, with a warning.
    """
    import torch

    with ctx.load(clip) as (encoder,):
        (first,) = encoder.encoders
        tokenizer = first.tokenizer
        _warn(ctx, tokenizer, text)
        tokens = tokenizer(
            text,
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with torch.no_grad():
            hidden, pooled = first.encode(tokens)
    return Conditioning([Cond(Array(hidden), arrays={"pooled": Array(pooled)})])


def _warn(ctx: Context, tokenizer: Any, text: str) -> None:
    length = len(tokenizer(text).input_ids)
    if length > tokenizer.model_max_length:
        most = tokenizer.model_max_length - 2
        ctx.warn("text_truncated", f"the text has {length - 2} tokens; the model reads the first {most}")
    unknown = unknown_words(tokenizer, text)
    if unknown:
        words = ", ".join(f"'{word}'" for word in unknown[:8])
        ctx.warn(
            "unknown_words",
            f"the embedded model does not know {words}: it draws plain shapes in plain colours. "
            "For other pictures add a Stable Diffusion checkpoint: loom models add DIR",
        )


def unknown_words(tokenizer: Any, text: str) -> list[str]:
    """The words that a model with a small vocabulary of its own has no token for, in order; else none."""
    if len(tokenizer) > SMALL_VOCABULARY:
        return []
    words = dict.fromkeys(word.lower() for word in WORD.findall(text))
    return [word for word in words if len(tokenizer.tokenize(word)) != 1]


NODES = (clip_encode,)
