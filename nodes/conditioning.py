"""Nodes that turn text into conditioning."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from latentloom.engine import Array, Clip, Cond, Conditioning, Context, Mentions, Text, node
from latentloom.nodes.families.textual_inversion.words import SOURCE, Embeddings, warn_unusable
from latentloom.nodes.text.prompt_editing import Variant, variants
from latentloom.nodes.text.prompt_weights import Grammar, parse
from latentloom.nodes.text.vocabulary import unknown_words

PromptGrammar = Annotated[
    Literal["a1111", "comfyui", "plain"],
    Field(description="Whose brackets and weights the prompt has; plain: a bracket is a bracket."),
]


@node("CLIPEncode", category="conditioning", device=True)
def clip_encode(
    ctx: Context,
    clip: Clip,
    text: Annotated[
        Text,
        Mentions(SOURCE),
        Field(max_length=20_000, description="What the picture shows, or for a negative prompt what it must not show."),
    ] = "",
    grammar: PromptGrammar = "a1111",
    clip_skip: Annotated[
        int, Field(ge=1, le=24, description="1 reads the layer that the model was trained with, 2 the one before it.")
    ] = 1,
    steps: Annotated[
        int, Field(ge=1, le=10_000, description="The sampler's steps; counts only where a prompt names one: [a:b:10].")
    ] = 20,
) -> Conditioning:
    """Read a prompt with a checkpoint's text encoder.

    `(word:1.3)` and `[word]` weigh words, `[a:b:0.4]` and `[a|b]` change them while the picture is made, BREAK begins a
    new part. Prompts of any length are read in parts as long as the encoder. `embedding:name` stands for the vectors of
    a file below models/embeddings.
    """
    from latentloom.nodes.text.embedding import embed

    found = variants(text, steps) if grammar == "a1111" else (Variant(text),)
    with ctx.load(clip) as (encoder,):
        embeddings = Embeddings(ctx.mentioned, grammar, encoder, name_of(clip))
        _warn(ctx, encoder.encoders[0].tokenizer, _bare(found, grammar, embeddings))
        warn_unusable(ctx, embeddings)
        parts = {one.text: embed(encoder, one.text, grammar, clip_skip, embeddings) for one in found}
    arrays = {key: (Array(embedding), Array(pooled)) for key, (embedding, pooled) in parts.items()}
    return Conditioning([Cond(arrays[one.text][0], _times(one), {"pooled": arrays[one.text][1]}) for one in found])


def name_of(clip: Clip) -> str:
    """What messages call a text encoder."""
    return clip.files[0].name if clip.files else clip.model_kind


def _bare(found: Sequence[Variant], grammar: Grammar, embeddings: Embeddings) -> str:
    """The words of a prompt's texts, without brackets, weights and embeddings."""
    sections = [section for one in found for section in embeddings(parse(one.text, grammar))]
    return "\n".join("".join(span.text for span in section if span.embedding is None) for section in sections)


def _times(variant: Variant) -> dict[str, Any]:
    """What an entry says about when it counts; nothing for one that always does."""
    found: dict[str, Any] = {}
    if (variant.start, variant.end) != (0, 1):
        found |= {"start": variant.start, "end": variant.end}
    if variant.period > 1:
        found |= {"turn": variant.turn, "period": variant.period}
    return found


def _warn(ctx: Context, tokenizer: Any, text: str) -> None:
    unknown = unknown_words(tokenizer, text)
    if unknown:
        words = ", ".join(f"'{word}'" for word in unknown[:8])
        ctx.warn(
            "unknown_words",
            f"the embedded model does not know {words}: it draws plain shapes in plain colours. "
            "For other pictures add a Stable Diffusion checkpoint: loom models add DIR",
        )


NODES = (clip_encode,)
