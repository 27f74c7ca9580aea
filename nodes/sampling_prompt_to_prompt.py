"""PromptToPrompt: change a word of a prompt and keep the layout of its picture."""

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import (
    Advanced,
    Array,
    Clip,
    Cond,
    Conditioning,
    Context,
    Latent,
    Mask,
    Model,
    Patch,
    Seed,
    Text,
    node,
)
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.plan import Plan, sigmas_of
from latentloom.nodes.diffusion.run import sample_latent
from latentloom.nodes.noise import NoiseRule
from latentloom.nodes.sampling import ECONOMIES, Cfg, SamplerName, ScheduleName, Steps
from latentloom.nodes.text.prompt_alignment import Edit, alignment, one_chunk
from latentloom.nodes.text.prompt_weights import parse
from latentloom.nodes.text.reader import clip_of

Share = Annotated[
    float, Field(ge=0, le=1, description="Fraction of the steps in which the source's attention maps are used.")
]


class Pair(NamedTuple):
    """The results for the source prompt and for the edited prompt."""

    source: Latent
    edited: Latent


@node(
    "PromptToPrompt",
    display_name="Prompt-to-prompt editing",
    aliases=("p2p", "attention", "edit"),
    category="sampling",
    device=True,
    economies=ECONOMIES,
)
def prompt_to_prompt(
    ctx: Context,
    model: Model,
    clip: Clip,
    negative: Conditioning,
    latent: Latent,
    source: Annotated[Text, Field(max_length=2000, description="Prompt of the original image.")] = "",
    edited: Annotated[Text, Field(max_length=2000, description="Prompt of the edited image.")] = "",
    how: Annotated[
        Edit, Field(description="replace: both prompts match word for word. refine: words may be added or removed.")
    ] = "replace",
    cross: Share = 0.8,
    self_attention: Share = 0.4,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    schedule: ScheduleName = "karras",
    noise_rule: Annotated[NoiseRule, Advanced()] = "per_item",
) -> Pair:
    """Sample an image and an edited version with the same layout (Prompt-to-Prompt, Hertz et al. 2023).

    Both prompts start from the same noise, and the edited image uses the attention maps of the source: cross-attention
    during `cross` of the steps, self-attention during `self_attention`. Weights in `edited`, as in (red:2), scale the
    attention to a word; with the same text as `source` this is the paper's re-weighting. The sampler must not draw
    noise during its steps.
    """
    from latentloom.nodes.diffusion.noise import first_noise

    if ctx.facts("sampler", sampler).get("noise", "none") != "none":
        raise BadValueError("the sampler draws noise at its steps", expected="one without, such as euler", got=sampler)
    positive, arrays = _read(ctx, clip, (source, edited), how, latent.shape[0])
    patch = Patch("prompt_to_prompt", {"cross": cross, "self_attention": self_attention}, arrays=arrays)
    sigmas = sigmas_of(ctx, model, sampler, schedule, steps, 1.0, latent)
    noise = Latent(first_noise(latent.shape, seed, noise_rule))
    plan = Plan(sampler, sigmas, seed, noise_rule, cfg, noise=_twice(noise))
    patched = Model(model.model_kind, model.files, model.info, (patch, *model.patches))  # innermost
    found = sample_latent(ctx, patched, positive, negative, _twice(latent), plan).tensor()
    return Pair(*(Latent(half.clone(), latent.noise_mask, downscale=latent.downscale) for half in found.chunk(2)))


def _read(
    ctx: Context, clip: Clip, texts: tuple[str, str], how: Edit, batch: int
) -> tuple[Conditioning, tuple[Array, ...]]:
    """Return the prompts' embeddings, for `batch` sources and then as many edits, and the arrays of their alignment."""
    from latentloom.nodes.text.embedding import embed

    with ctx.load(clip) as (encoder,):
        tokenizer = clip_of(encoder, "PromptToPrompt").tokenizer
        parts = [one_chunk(tokenizer, text, name) for text, name in zip(texts, ("source", "edited"), strict=True)]
        found = [embed(encoder, _bare(text), "plain") for text in texts]
    arrays = tuple(Array(part) for part in alignment(tokenizer, parts[0], parts[1], how))
    embedding, pooled = (
        np.concatenate([np.repeat(part.numpy(), batch, 0) for part in both]) for both in zip(*found, strict=True)
    )
    return Conditioning([Cond(Array(embedding), arrays={"pooled": Array(pooled)})]), arrays


def _bare(text: str) -> str:
    """Remove the brackets of a prompt: its weights are applied to the attention here, not to the embedding."""
    return "".join(span.text for section in parse(text) for span in section)


def _twice(latent: Latent) -> Latent:
    """Repeat a batch."""
    mask = latent.noise_mask
    if mask is not None and mask.shape[0] > 1:
        mask = Mask(np.concatenate([mask.numpy()] * 2))
    return Latent(np.concatenate([latent.numpy()] * 2), mask, downscale=latent.downscale)


NODES = (prompt_to_prompt,)
