"""Nodes that compute the input pictures of ControlNets, without a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Image, node
from latentloom.nodes.drawing.blend import flattened
from latentloom.nodes.drawing.blur import blurred
from latentloom.nodes.drawing.resize import Size, resize

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

Sigma = Annotated[float, Field(ge=0, le=100, description="Standard deviation of the Gaussian blur in pixels.")]
Radius = Annotated[
    int, Field(ge=0, le=1000, description="Radius of the blur kernel in pixels; 0 means four times sigma.")
]
Level = Annotated[float, Field(ge=0, le=1, description="Gradient threshold; 1 is a step from black to white.")]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@node(
    "CannyEdges",
    display_name="Canny edges",
    aliases=("Canny", "edge detection", "preprocessor", "lines"),
    category="preprocessors",
)
def canny_edges(image: Image, low: Level = 0.1, high: Level = 0.2, sigma: Annotated[Sigma, Advanced()] = 1.0) -> Image:
    """Detect edges (Canny 1986): white lines, one pixel wide, on black, as canny ControlNets expect.

    Edges with a gradient above `high` are drawn, and edges above `low` that are connected to one of them.
    """
    return _each(image, lambda grey: canny(grey, low, high, sigma))


@node("Lineart", display_name="Line art", aliases=("preprocessor", "sketch", "lines"), category="preprocessors")
def lineart(
    image: Image,
    sigma: Sigma = 1.0,
    gain: Annotated[
        float, Field(ge=0, le=100, description="Factor from contrast to brightness of the lines."), Advanced()
    ] = 8.0,
) -> Image:
    """Draw white lines on black where an image is darker than its surroundings (difference of two Gaussian blurs)."""
    from scipy.ndimage import gaussian_filter

    def lines(grey: Floats) -> Floats:
        inner, outer = (gaussian_filter(grey, scale, mode="nearest") for scale in (sigma, 1.6 * sigma))
        return np.clip((outer - inner) * gain, 0, 1)

    return _each(image, lines)


@node("BlurImage", display_name="Blur image", aliases=("ImageBlur", "gaussian"), category="preprocessors")
def blur_image(image: Image, sigma: Sigma = 4.0, radius: Annotated[Radius, Advanced()] = 0) -> Image:
    """Blur images with a Gaussian kernel. Hidden colours of transparent pixels do not affect the result."""
    return Image(blurred(image.numpy(), sigma, radius))


@node("SharpenImage", display_name="Sharpen image", aliases=("ImageSharpen", "unsharp mask"), category="preprocessors")
def sharpen_image(
    image: Image,
    sigma: Annotated[
        float,
        Field(ge=0.1, le=10, description="Size of the sharpened details: standard deviation of the blur in pixels."),
    ] = 1.0,
    amount: Annotated[float, Field(ge=0, le=50, description="Strength; 0 changes nothing.")] = 1.0,
    radius: Annotated[Radius, Advanced()] = 0,
) -> Image:
    """Sharpen images by unsharp masking: the difference from a blurred copy is added. Transparency is kept."""
    pixels = image.numpy().copy()
    pixels[..., :3] += (pixels[..., :3] - blurred(pixels[..., :3], sigma, radius)) * np.float32(amount)
    return Image(pixels.clip(0, 1))


@node("TileImage", display_name="Tile preprocessor", aliases=("controlnet tile", "detail"), category="preprocessors")
def tile_image(
    image: Image,
    factor: Annotated[int, Field(ge=1, le=64, description="Downscale factor.")] = 4,
) -> Image:
    """Downscale images and scale them back up, so they keep colours and lose detail, as tile ControlNets expect."""
    height, width = image.shape[1:3]
    small = resize(image.numpy(), Size(max(1, width // factor), max(1, height // factor)), "area")
    return Image(resize(small, Size(width, height), "bilinear"))


@node("InvertImage", display_name="Invert image", aliases=("ImageInvert", "negative"), category="preprocessors")
def invert_image(image: Image) -> Image:
    """Invert the colours of images. Transparency is kept."""
    pixels = image.numpy().copy()
    pixels[..., :3] = 1 - pixels[..., :3]
    return Image(pixels)


def _each(image: Image, draw: Callable[[Floats], Floats]) -> Image:
    """Apply `draw` to the luma of each picture over white; returns grey RGB pictures."""
    grey = flattened(image.numpy(), 1) @ LUMA
    return Image(np.repeat(np.stack([draw(item) for item in grey])[..., None], 3, axis=-1))


def canny(grey: Floats, low: float, high: float, sigma: float) -> Floats:
    """Return the edges of a picture [H, W] in 0..1, as 0 and 1."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(grey, sigma, mode="nearest")
    dy, dx = (ndimage.sobel(smooth, axis, mode="nearest") / 4 for axis in (0, 1))
    steep = np.hypot(dx, dy)
    thin = steep >= np.maximum(*_along(steep, dx, dy)) - 1e-7
    labels, count = ndimage.label(thin & (steep > low), structure=np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[labels[thin & (steep > high)]] = True
    strong[0] = False
    return strong[labels].astype(np.float32)


def _along(steep: Floats, dx: Floats, dy: Floats) -> tuple[Floats, Floats]:
    """Return the gradient magnitude one pixel ahead and one behind, in the nearest of eight gradient directions."""
    height, width = steep.shape
    angle = np.round(np.arctan2(dy, dx) / (np.pi / 4)).astype(int)
    step_x, step_y = np.rint(np.cos(angle * np.pi / 4)).astype(int), np.rint(np.sin(angle * np.pi / 4)).astype(int)
    rows, columns = np.indices((height, width))
    around = np.pad(steep, 1)
    return (
        around[rows + step_y + 1, columns + step_x + 1],
        around[rows - step_y + 1, columns - step_x + 1],
    )


NODES = (canny_edges, lineart, blur_image, sharpen_image, tile_image, invert_image)
