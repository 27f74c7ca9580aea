"""Pictures: draws a scene as 128x128 RGB pixels."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from latentloom.training.scenes import BACKGROUNDS, COLOURS, PLACES, RELATIONS, SHAPES, SIZES, Scene

SIDE = 128
STAMP = 64
"""Side of the square that holds any one object."""
PLACE_OFFSET = 31
"""Pixels between the centre and a lone object at an edge."""
PAIR_OFFSET = 32
"""Pixels between the centre and each of two objects."""
FINE = 8
"""Sub-pixels per pixel and axis, for smooth edges."""

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
"""[H, W, 3]"""


def outline(shape: str, radius: float) -> list[tuple[float, float]]:
    """Return the corners of a shape around the origin; y points down."""
    if shape == "circle":
        return _around([radius] * 90)
    if shape == "square":
        return _around([radius * 1.2] * 4, turn=math.pi / 4)
    if shape == "triangle":
        return [(x, y + radius * 0.12) for x, y in _around([radius * 1.12] * 3)]
    if shape == "star":
        return _around([radius * 1.04, radius * 0.45] * 5)
    if shape == "heart":
        return _heart(radius)
    arm, bar = radius, radius * 0.32
    quarter = [(bar, -arm), (bar, -bar), (arm, -bar)]
    turns = [quarter, [(-y, x) for x, y in quarter], [(-x, -y) for x, y in quarter], [(y, -x) for x, y in quarter]]
    return [corner for turn in turns for corner in turn]


def _heart(radius: float) -> list[tuple[float, float]]:
    """A shape that the embedded models do not know, for tests and examples of training."""
    turns = [2 * math.pi * index / 120 for index in range(120)]
    x = [16 * math.sin(t) ** 3 for t in turns]
    y = [-(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) for t in turns]
    return [(a * radius / 15.5, b * radius / 15.5 - radius * 0.12) for a, b in zip(x, y, strict=True)]


def _around(radii: list[float], turn: float = 0.0) -> list[tuple[float, float]]:
    angles = [turn + 2 * math.pi * index / len(radii) for index in range(len(radii))]
    return [(r * math.sin(angle), -r * math.cos(angle)) for r, angle in zip(radii, angles, strict=True)]


class Painter:
    """Draws scenes; holds one coverage mask per shape and size."""

    def __init__(self, shapes: Sequence[str] = SHAPES) -> None:
        self._masks = {(shape, size): _mask(shape, radius) for shape in shapes for size, radius in SIZES.items()}

    def paint(self, scene: Scene, rng: np.random.Generator) -> Pixels:
        """Draw the scene; each object is shifted randomly by a few pixels."""
        picture = np.empty((SIDE, SIDE, 3), np.float32)
        picture[:] = BACKGROUNDS[scene.background]
        for thing, (x, y) in zip(scene.things, places(scene, rng), strict=True):
            mask = self._masks[thing.shape, thing.size]
            left, top = x - STAMP // 2, y - STAMP // 2
            x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + STAMP, SIDE), min(top + STAMP, SIDE)
            part = picture[y0:y1, x0:x1]
            part += mask[y0 - top : y1 - top, x0 - left : x1 - left, None] * (COLOURS[thing.colour] - part)
        return (picture + 0.5).astype(np.uint8)


def places(scene: Scene, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw the centres (x, y) of a scene's objects, in pixels."""
    middle = SIDE // 2
    if len(scene.things) == 1:
        dx, dy = PLACES[scene.place]
        jitter = rng.integers(-4, 5, size=2)
        return [(int(middle + PLACE_OFFSET * dx + jitter[0]), int(middle + PLACE_OFFSET * dy + jitter[1]))]
    dx, dy = RELATIONS[scene.place]
    along, across = rng.integers(-2, 3, size=2), rng.integers(-5, 6, size=2)
    return [
        (
            int(middle + sign * PAIR_OFFSET * dx + (along[index] if dx else across[index])),
            int(middle + sign * PAIR_OFFSET * dy + (along[index] if dy else across[index])),
        )
        for index, sign in enumerate((1, -1))
    ]


def _mask(shape: str, radius: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    image = Image.new("L", (STAMP * FINE, STAMP * FINE))
    middle = STAMP * FINE / 2
    ImageDraw.Draw(image).polygon([(middle + x * FINE, middle + y * FINE) for x, y in outline(shape, radius)], fill=255)
    fine = np.asarray(image, np.float32) / 255
    return fine.reshape(STAMP, FINE, STAMP, FINE).mean(axis=(1, 3))


def grid(pictures: list[Pixels], columns: int) -> Image.Image:
    """Arrange pictures in a grid on one sheet, two pixels apart."""
    side = pictures[0].shape[0] + 2
    sheet = Image.new("RGB", (columns * side - 2, math.ceil(len(pictures) / columns) * side - 2), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (index % columns * side, index // columns * side))
    return sheet
