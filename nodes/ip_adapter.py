"""Nodes that use pictures as prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from latentloom.engine import Array, ClipVision, Context, Image, Mask, Model, ModelFile, Patch, Source, node
from latentloom.engine.errors import BadValueError, FileError

if TYPE_CHECKING:
    from torch import Tensor

Share = Annotated[float, Field(ge=0, le=1, description="Fraction of the steps: 0 is the first step, 1 the end.")]


@node(
    "LoadCLIPVision",
    display_name="Load CLIP vision",
    aliases=("CLIPVisionLoader", "image encoder"),
    category="ip_adapter",
)
def load_clip_vision(
    ctx: Context,
    clip_vision: Annotated[
        ModelFile, Source("models/clip_vision"), Field(description="A file or folder in models/clip_vision.")
    ],
) -> ClipVision:
    """Load a CLIP image encoder for IP-Adapters: ViT-H for most of them, ViT-bigG for the first SDXL adapter."""
    kind, facts = _recognised(ctx, clip_vision, "clip_vision", "picture encoder", "CLIP's in transformers' layout")
    return ClipVision(kind, [clip_vision.identity], {"component": "clip_vision", **facts})


@node(
    "IPAdapter",
    display_name="IP-Adapter",
    aliases=("image prompt", "style", "face", "reference"),
    category="ip_adapter",
    device=True,
)
def ip_adapter(
    ctx: Context,
    model: Model,
    clip_vision: ClipVision,
    image: Image,
    adapter: Annotated[ModelFile, Source("models/ipadapter"), Field(description="An IP-Adapter in models/ipadapter.")],
    weight: Annotated[float, Field(ge=-1, le=3, description="Weight of the image relative to the text prompt.")] = 1.0,
    start: Share = 0.0,
    end: Share = 1.0,
    mask: Mask | None = None,
) -> Model:
    """Use an image as a prompt (IP-Adapter, Ye et al. 2023).

    A batch of images forms one prompt; several IPAdapter nodes in a row add up. Only the central square of each image
    is used. Where the mask is 0, the image has no effect.
    """
    if start > end:
        raise BadValueError("the picture ends before it starts", expected=f"an end of at least {start}", got=str(end))
    kind, facts = _recognised(ctx, adapter, "ip_adapter", "IP-Adapter", "the plain or plus layout for SD 1.x or SDXL")
    _check(model, clip_vision, adapter, facts)
    info = {"component": "ip_adapter", **facts}
    with ctx.load(clip_vision, Model(kind, [adapter.identity], info)) as (encoder, net):
        states = _seen(encoder, image, clip_vision.info["side"], plus=facts["plus"])
        pairs = net(states.to(next(net.parameters())))
    arrays = [Array(part) for pair in pairs for part in map(_side_by_side, pair)]
    if mask is not None:
        arrays.append(Array(mask.numpy()[:, None]))
    parameters = {"weight": weight, "start": start, "end": end, "masked": mask is not None}
    return model.patched(Patch("ip_adapter", parameters, (adapter.identity,), tuple(arrays)))


def _recognised(ctx: Context, file: ModelFile, part: str, what: str, expected: str) -> tuple[str, dict[str, Any]]:
    found = ctx.recognise(file)
    if found is None or part not in found[1]:
        raise FileError(
            f"'{file.name}' is not a known {what}",
            expected=expected,
            got="a different kind of file" if found is None else found[1].get("about", found[0]),
        )
    kind, facts = found
    return kind, dict(facts[part])


def _check(model: Model, clip_vision: ClipVision, adapter: ModelFile, facts: dict[str, Any]) -> None:
    """Raise BadValueError if model, image encoder and adapter are not of matching families."""
    wanted, found = model.info.get("context"), facts["context"]
    if wanted is not None and wanted != found:
        raise BadValueError(
            f"the IP-Adapter '{adapter.name}' does not fit '{model.files[0].name}'",
            expected=f"one for text embeddings {wanted} wide",
            got=f"one for {found}",
            hint="an IP-Adapter works only with the model family it was trained on: SD 1.x or SDXL",
        )
    given = clip_vision.info["width" if facts["plus"] else "projection"]
    if given != facts["image"]:
        raise BadValueError(
            f"the picture encoder '{clip_vision.files[0].name}' does not fit the IP-Adapter '{adapter.name}'",
            expected=f"one whose {'states' if facts['plus'] else 'embeddings'} are {facts['image']} wide",
            got=f"{given}",
            hint="most take ViT-H; the first one of SDXL takes ViT-bigG",
        )


def _seen(encoder: Any, image: Image, side: int, *, plus: bool) -> Tensor:
    """Encode "no picture" and then each picture: embeddings [1 + B, E], or for plus hidden states [1 + B, T, E].

    "No picture" is an input of zeros for plus (grey pixels), and an embedding of zeros for the plain adapter.
    """
    import torch

    from latentloom.nodes.families.clip_vision.kind import pixel_values

    pixels = pixel_values(image, side)
    pixels = torch.cat([torch.zeros_like(pixels[:1]), pixels]) if plus else pixels
    found = encoder(pixels.to(encoder.device, encoder.dtype), output_hidden_states=True)
    if plus:
        states: Tensor = found.hidden_states[-2]
        return states
    return torch.cat([torch.zeros_like(found.image_embeds[:1]), found.image_embeds])


def _side_by_side(part: Tensor) -> Tensor:
    """[1 + B, tokens, width] -> [2, B * tokens, width]: "no picture" repeated B times, and all pictures joined."""
    import torch

    none, pictures = part[:1], part[1:]
    return torch.cat([none.repeat(1, len(pictures), 1), pictures.reshape(1, -1, part.shape[2])])


NODES = (load_clip_vision, ip_adapter)
