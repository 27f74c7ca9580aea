"""Nodes that join pictures to a batch and select items of a batch."""

from typing import Annotated

import numpy as np
from pydantic import Field

from latentloom.engine import Image, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.batch import Count, First, Times, picked
from latentloom.nodes.drawing.blend import parts
from latentloom.nodes.drawing.limits import check_size


@node(
    "JoinImages",
    display_name="Batch of images",
    aliases=("ImageBatch", "BatchImagesNode", "ImageBatchMulti", "make batch", "combine images", "image list"),
    category="image",
)
def join_images(
    images: Annotated[list[Image], Field(description="Images of the same size, in order.")],
) -> Image:
    """Join images or batches into one batch, for nodes that use the whole batch, such as IPAdapter.

    If one has an alpha channel, the others get an opaque one.
    """
    if not images:
        raise BadValueError("there are no pictures to join", expected="at least one")
    sizes = {image.shape[1:3] for image in images}
    if len(sizes) > 1:
        raise BadValueError(
            "the pictures have different sizes",
            got=", ".join(f"{width}x{height}" for height, width in sorted(sizes)),
            hint="resize those that differ with ImageScale",
        )
    ((height, width),) = sizes
    check_size(width, height, sum(len(image) for image in images))
    pixels = [image.numpy() for image in images]
    if any(item.shape[3] == 4 for item in pixels):
        pixels = [np.concatenate(parts(item), axis=3) for item in pixels]
    return Image(np.concatenate(pixels))


@node(
    "PickImages",
    display_name="Pick images of a batch",
    aliases=("ImageFromBatch", "select", "index", "slice"),
    category="image",
)
def pick_images(images: Image, first: First = 0, count: Count = 1) -> Image:
    """Select consecutive images from a batch."""
    return Image(picked(images.numpy(), first, count))


@node("RepeatImage", display_name="Repeat image", aliases=("RepeatImageBatch", "duplicate", "batch"), category="image")
def repeat_image(image: Image, times: Times = 2) -> Image:
    """Repeat images to form a larger batch."""
    check_size(image.shape[2], image.shape[1], len(image) * times)
    return Image(np.tile(image.numpy(), (times, 1, 1, 1)))


NODES = (join_images, pick_images, repeat_image)
