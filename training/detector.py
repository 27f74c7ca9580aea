"""The detector: recognises the scene in a picture without learned parts, and compares it with the requested scene."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from latentloom.training.pictures import PLACE_OFFSET, SIDE, outline
from latentloom.training.scenes import BACKGROUNDS, COLOURS, PLACES, RELATIONS, SHAPES, SIZES, Scene

Floats = np.ndarray[tuple[int, ...], np.dtype[np.floating]]
Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

APART = 0.2
"""Distance in RGB (0..1 per channel) above which a pixel is not background."""
NECK = 5
"""Width in pixels; a narrower neck does not connect two parts of a region."""
LEAST = 80
"""Area of the smallest object in pixels; a smaller region is an artefact."""
CORE = 30
"""Minimum pixels of a colour inside an object's border for it to be a colour of the object."""
PART = 0.12
"""Minimum share of a colour in a region's interior for it to be a separate, touching object."""
ASIDE = 12
"""Minimum pixels between the centres of two colours' parts for two objects instead of one of uneven colour."""
LIKENESS = 0.72
"""Overlap with an ideal shape below which an object has no shape."""
ODD_SIZE = 0.3
"""Penalty in overlap for a radius that is e times one of the two sizes. It tells a blurred small star, which has lost
its tips, from a circle: the rest is too small for a circle.
"""
FINE = 256


@dataclass(frozen=True, slots=True)
class Found:
    """One object in a picture; `shape` is "" if no shape matches. The centre is in pixels."""

    shape: str
    colour: str
    size: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The detected background and objects of a picture."""

    background: str
    objects: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The correct parts of a scene in a picture; `shape`, `colour` and `size` must be right for all objects."""

    count: bool
    shape: bool
    colour: bool
    size: bool
    place: bool
    background: bool

    @property
    def right(self) -> bool:
        """Whether all parts are right."""
        return self.count and self.shape and self.colour and self.size and self.place and self.background


class Detector:
    """Detects the objects in pictures; holds one ideal mask of unit area per shape."""

    def __init__(self, shapes: Sequence[str] = SHAPES) -> None:
        self._ideals = {shape: _ideal(shape) for shape in shapes}

    def read(self, picture: Floats) -> Reading:
        """Detect the scene of a picture [H, W, 3] in 0..1."""
        edge = np.concatenate([picture[:3].reshape(-1, 3), picture[-3:].reshape(-1, 3)])
        sides = np.concatenate([picture[:, :3].reshape(-1, 3), picture[:, -3:].reshape(-1, 3)])
        ground = np.median(np.concatenate([edge, sides]), axis=0)
        regions = _regions(_distance(picture, ground) > APART)
        found: list[Found] = []
        for region, box in enumerate(ndimage.find_objects(regions), start=1):
            mask = regions[box] == region
            if mask.sum() >= LEAST:
                corner = (box[1].start, box[0].start)
                found.extend(self._objects(picture[box], mask, ground, corner))
        return Reading(_nearest(ground, BACKGROUNDS), tuple(found))

    def judge(self, picture: Floats, scene: Scene) -> Report:
        """Compare a picture with the requested scene; the better of the possible pairings of objects is used."""
        reading = self.read(picture)
        ground = reading.background == scene.background
        if len(reading.objects) != len(scene.things):
            return Report(False, False, False, False, False, ground)
        reports = [_compare(order, scene, ground) for order in itertools.permutations(reading.objects)]
        return max(reports, key=lambda r: (r.shape + r.colour + r.size + r.place, r.place))

    def _objects(self, picture: Floats, mask: Mask, ground: Floats, corner: tuple[int, int]) -> list[Found]:
        """The objects of a connected region: one for each colour that fills a part of its interior."""
        inner = ndimage.binary_erosion(mask, iterations=2)
        palette = np.array(list(COLOURS.values())) / 255
        nearest = np.argmin(np.stack([_distance(picture, colour) for colour in palette]), axis=0)
        present = _parts(inner, nearest, len(palette))
        found = []
        for index in present:
            colour = np.median(picture[inner & (nearest == index)], axis=0)
            others = [palette[other] for other in present if other != index]
            cover = _coverage(picture, colour, ground) * mask
            for other in others:
                cover = cover * (_distance(picture, colour) < _distance(picture, other))
            if cover.sum() >= LEAST:
                found.append(self._object(cover, list(COLOURS)[index], corner))
        return found

    def _object(self, cover: Floats, colour: str, corner: tuple[int, int]) -> Found:
        area = float(cover.sum())
        y, x = (float((axis * cover).sum() / area) for axis in np.mgrid[: cover.shape[0], : cover.shape[1]])
        likeness = {shape: _overlap(cover, ideal, x, y, area) for shape, (ideal, _) in self._ideals.items()}
        sizes = {shape: _size((area / unit) ** 0.5) for shape, (_, unit) in self._ideals.items()}
        best = max(likeness, key=lambda shape: likeness[shape] - ODD_SIZE * sizes[shape][1])
        shape = best if likeness[best] >= LIKENESS else ""
        return Found(shape, colour, sizes[best][0], x + corner[0], y + corner[1])


def _regions(there: Mask) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Label connected regions from 1; a neck narrower than NECK pixels does not connect."""
    whole, _ = ndimage.label(there)
    cores, _ = ndimage.label(ndimage.binary_opening(there, np.ones((NECK, NECK))))
    _, nearest = ndimage.distance_transform_edt(cores == 0, return_indices=True)
    same = whole == whole[tuple(nearest)]
    return np.where(there & same, cores[tuple(nearest)], 0)


def _parts(inner: Mask, nearest: Floats, colours: int) -> list[int]:
    """The indices of the colours that are separate objects, the largest part first."""
    parts = {index: ndimage.binary_opening(inner & (nearest == index)) for index in range(colours)}
    sizes = {index: int(part.sum()) for index, part in parts.items()}
    least = max(CORE, PART * inner.sum())
    kept: dict[int, Floats] = {}
    for index in sorted(sizes, key=lambda index: -sizes[index]):
        if sizes[index] < least:
            break
        centre = np.array(ndimage.center_of_mass(parts[index]))
        if all(np.hypot(*(centre - other)) >= ASIDE for other in kept.values()):
            kept[index] = centre
    return list(kept)


def _size(radius: float) -> tuple[str, float]:
    """Return the nearest size, and the distance of the radius from it in log space."""
    off = {name: abs(float(np.log(radius / wanted))) for name, wanted in SIZES.items()}
    size = min(off, key=lambda name: off[name])
    return size, off[size]


def _compare(objects: tuple[Found, ...], scene: Scene, ground: bool) -> Report:
    pairs = list(zip(objects, scene.things, strict=True))
    return Report(
        True,
        all(found.shape == thing.shape for found, thing in pairs),
        all(found.colour == thing.colour for found, thing in pairs),
        all(found.size == thing.size for found, thing in pairs),
        place_of(objects) == scene.place,
        ground,
    )


def place_of(objects: tuple[Found, ...]) -> str:
    """Return the place of one object, or the relation of the first of two objects to the second."""
    first = objects[0]
    if len(objects) == 1:
        middle = (SIDE - 1) / 2
        dx, dy = (first.x - middle) / PLACE_OFFSET, (first.y - middle) / PLACE_OFFSET
        return min(PLACES, key=lambda place: (dx - PLACES[place][0]) ** 2 + (dy - PLACES[place][1]) ** 2)
    dx, dy = first.x - objects[1].x, first.y - objects[1].y
    return max(RELATIONS, key=lambda relation: dx * RELATIONS[relation][0] + dy * RELATIONS[relation][1])


def _distance(picture: Floats, colour: Floats) -> Floats:
    return np.sqrt(((picture - colour) ** 2).sum(axis=-1))


def _nearest(colour: Floats, palette: dict[str, tuple[int, int, int]]) -> str:
    return min(palette, key=lambda name: float(((colour - np.array(palette[name]) / 255) ** 2).sum()))


def _coverage(picture: Floats, colour: Floats, ground: Floats) -> Floats:
    """Return the share of the object's colour, as opposed to the background's, in each pixel, 0..1."""
    way = colour - ground
    return np.clip(((picture - ground) * way).sum(axis=-1) / (way * way).sum(), 0, 1)


def _ideal(shape: str) -> tuple[Floats, float]:
    """A shape's mask [FINE, FINE] over -1.5..1.5 in units of the square root of its area, and its area at radius 1."""
    corners = np.array(outline(shape, 1.0))
    after = np.roll(corners, -1, axis=0)
    cross = corners[:, 0] * after[:, 1] - after[:, 0] * corners[:, 1]
    area = abs(cross.sum()) / 2
    centre = ((corners + after) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
    points = ((corners - centre) / area**0.5 / 3 + 0.5) * FINE
    image = Image.new("L", (FINE, FINE))
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.asarray(image, np.float32), float(area)


def _overlap(cover: Floats, ideal: Floats, x: float, y: float, area: float) -> float:
    """Intersection over union of an object and an ideal shape with the same area and centre."""
    rows, columns = (
        np.clip(((np.arange(length) - centre) / area**0.5 / 3 + 0.5) * FINE, 0, FINE - 1).astype(int)
        for length, centre in zip(cover.shape, (y, x), strict=True)
    )
    wanted = ideal[np.ix_(rows, columns)]
    return float(np.minimum(cover, wanted).sum() / np.maximum(cover, wanted).sum())
