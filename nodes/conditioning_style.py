"""Nodes that add a picture to a prompt as further tokens."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from latentloom.engine import (
    Advanced,
    Array,
    ClipVision,
    Cond,
    Conditioning,
    Context,
    Image,
    Model,
    ModelFile,
    Source,
    node,
)
from latentloom.engine.errors import BadValueError, FileError


@node(
    "ApplyStyleModel",
    display_name="Apply style model",
    aliases=("StyleModelApply", "redux", "style", "image prompt"),
    category="conditioning",
    device=True,
)
def apply_style_model(
    ctx: Context,
    conditioning: Conditioning,
    clip_vision: ClipVision,
    image: Image,
    style_model: Annotated[
        ModelFile, Source("models/style_models"), Field(description="A style model in models/style_models.")
    ],
    strength: Annotated[float, Field(ge=0, le=10, description="Factor of the image's tokens; 1 is usual.")] = 1.0,
    fit: Annotated[
        Literal["stretch", "fill"],
        Field(description="Stretch the image to a square, or crop it to the centre."),
        Advanced(),
    ] = "stretch",
) -> Conditioning:
    """Vary an image with Flux.1 Redux: its tokens, made by SigLIP and the style model, follow those of the prompt.

    Several images, of a batch or of nodes in a row, are combined. A strength below 1 gives the prompt more weight.
    """
    kind, facts = _recognised(ctx, style_model)
    _check(conditioning, clip_vision, style_model, facts)
    with ctx.load(clip_vision, Model(kind, [style_model.identity], {"component": "style_model", **facts})) as nets:
        tokens = _tokens(*nets, image, clip_vision.info["side"], fit).float().cpu() * strength
    return Conditioning([_with(entry, tokens) for entry in conditioning.entries])


def _recognised(ctx: Context, file: ModelFile) -> tuple[str, dict[str, Any]]:
    found = ctx.recognise(file)
    if found is None or "style_model" not in found[1]:
        raise FileError(
            f"'{file.name}' is no style model that Latentloom knows",
            expected="Flux.1 Redux (flux1-redux-dev.safetensors)",
            got="another kind of file" if found is None else found[1].get("about", found[0]),
        )
    return found[0], dict(found[1]["style_model"])


def _check(conditioning: Conditioning, clip_vision: ClipVision, file: ModelFile, facts: dict[str, Any]) -> None:
    """Raise BadValueError if prompt and image encoder are not those of the style model's family."""
    if not clip_vision.info.get("siglip") or clip_vision.info["width"] != facts["image"]:
        what = "SigLIP" if clip_vision.info.get("siglip") else "CLIP"
        raise BadValueError(
            f"the image encoder '{clip_vision.files[0].name}' does not fit the style model '{file.name}'",
            expected=f"a SigLIP {facts['image']} wide (sigclip_vision_patch14_384.safetensors)",
            got=f"a {what} {clip_vision.info['width']} wide",
        )
    for width in (entry.embedding.shape[2] for entry in conditioning.entries):
        if width != facts["context"]:
            raise BadValueError(
                f"the style model '{file.name}' does not fit the prompt",
                expected=f"a prompt {facts['context']} wide, of Flux.1",
                got=f"one {width} wide",
            )


def _tokens(encoder: Any, redux: Any, image: Image, side: int, fit: Literal["stretch", "fill"]) -> Any:
    """Return the tokens of all images, one image's after another's: [1, B * T, D]."""
    from latentloom.nodes.families.clip_vision.siglip import siglip_pixels

    weight = encoder.embeddings.patch_embedding.weight
    states = encoder(siglip_pixels(image, side, fit).to(weight.device, weight.dtype)).last_hidden_state
    found = redux(states.to(redux.device, redux.dtype)).image_embeds
    return found.reshape(1, -1, found.shape[2])


def _with(entry: Cond, tokens: Any) -> Cond:
    import torch

    return replace(entry, embedding=Array(torch.cat([entry.embedding.tensor(), tokens], dim=1)))


NODES = (apply_style_model,)
