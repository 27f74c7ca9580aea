"""Nodes that upscale pictures with a network."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from latentloom.engine import Context, Image, Model, ModelFile, Source, node
from latentloom.engine.errors import FileError
from latentloom.nodes.drawing.infill import hidden_filled
from latentloom.nodes.drawing.resize import Size, resize
from latentloom.nodes.families.upscale.spandrel import installed

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Floats

MARGIN, MOST_MARGIN = 16, 48  # pixels around a tile that are computed with it and discarded


@node(
    "UpscaleWithModel",
    display_name="Upscale with a model",
    aliases=("ImageUpscaleWithModel", "ESRGAN", "super resolution", "4x", "enlarge", "UpscaleModelLoader"),
    category="upscale",
    device=True,
)
def upscale_with_model(
    ctx: Context,
    image: Image,
    upscaler: Annotated[
        ModelFile, Source("models/upscale_models"), Field(description="An upscaler in models/upscale_models.")
    ],
    tile: Annotated[int, Field(ge=64, le=4096, multiple_of=8, description="Side of a tile in pixels.")] = 512,
) -> Image:
    """Upscale images in tiles with an upscaling network (ESRGAN, Real-ESRGAN, or its compact network, SRVGG).

    The network sets the scale factor, usually 2 or 4. Alpha is resized with a filter. Smaller tiles need less memory.
    The network always runs in float32. If spandrel is installed, every architecture that it reads can be used.
    """
    found = ctx.recognise(upscaler)
    if found is None or "upscaler" not in found[1]:
        raise FileError(
            f"'{upscaler.name}' is not an upscaler that Latentloom knows",
            expected="RRDBNet (ESRGAN, Real-ESRGAN) or SRVGG as a safetensors file",
            got="a different kind of file" if found is None else found[1].get("about", found[0]),
            hint=None if installed() else "`pip install spandrel` adds support for other kinds",
        )
    kind, facts = found
    handle = Model(kind, [upscaler.identity], {"component": "upscaler", **facts["upscaler"]})
    pixels = Image(hidden_filled(image.numpy())).tensor()
    with ctx.load(handle) as (network,):
        margin = min(facts["upscaler"].get("reach", MARGIN), MOST_MARGIN)
        found = upscaled(ctx, network, pixels, facts["upscaler"]["scale"], tile, margin)
    return Image(_with_alpha(found.numpy(), image))


def _with_alpha(pixels: "Floats", image: Image) -> "Floats":
    """Add the transparency of the original picture, if it has any, to the upscaled one."""
    if image.shape[3] == 3:
        return pixels
    alpha = resize(image.numpy()[..., 3:], Size(pixels.shape[2], pixels.shape[1]), "lanczos")
    return np.concatenate([pixels, alpha], axis=3)


def upscaled(ctx: Context, network: Any, pixels: "Tensor", scale: int, tile: int, margin: int = MARGIN) -> "Tensor":
    """Upscale pictures [B, H, W, 3]; each side becomes `scale` times as long.

    `margin` is the radius of the network's receptive field. Pixels beyond `MOST_MARGIN`, as in RRDBNet, have hardly any
    effect (docs/large-pictures.md).
    """
    import torch
    from torch.nn.functional import pad

    weight = next(network.parameters())
    batch, height, width = pixels.shape[:3]
    found = torch.empty(batch, height * scale, width * scale, 3)
    padded = pad(pixels.movedim(-1, 1), (margin,) * 4, mode="replicate")
    places = [(item, top, left) for item in range(batch) for top, left in _tiles(height, width, tile)]
    for step, (item, top, left) in enumerate(places, 1):
        tall, wide = min(tile, height - top), min(tile, width - left)
        part = padded[item : item + 1, :, top : top + tall + 2 * margin, left : left + wide + 2 * margin]
        part = pad(part, (0, -part.shape[3] % 8, 0, -part.shape[2] % 8), mode="replicate")
        large = network(part.to(weight)).float().cpu().clamp(0, 1)[0].movedim(0, -1)
        edge = margin * scale
        inner = large[edge : edge + tall * scale, edge : edge + wide * scale]
        found[item, top * scale : (top + tall) * scale, left * scale : (left + wide) * scale] = inner
        ctx.progress(step, len(places))
    return found


def _tiles(height: int, width: int, tile: int) -> Iterator[tuple[int, int]]:
    return ((top, left) for top in range(0, height, tile) for left in range(0, width, tile))


NODES = (upscale_with_model,)
