"""Scenes: the content of pictures, and their captions."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (30, 60, 220),
    "yellow": (245, 220, 30),
    "orange": (245, 130, 20),
    "purple": (130, 40, 170),
    "cyan": (40, 205, 225),
    "pink": (250, 140, 190),
}
SIZES = {"small": 16, "large": 27}
"""Radius in pixels."""
BACKGROUNDS = {"white": (250, 250, 250), "black": (8, 8, 8), "gray": (128, 128, 128), "brown": (105, 65, 35)}
PLACES = {
    "in the center": (0, 0),
    "on the left": (-1, 0),
    "on the right": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
}
"""Where a lone object is, as a direction (x, y) from the centre."""
RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""Where the first of two objects is, as a direction (x, y) from the centre; the second is opposite."""
OPPOSITES = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
GLUE = ("a", "an", "the", "and", "background", ",")
"""Words that carry no attribute."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object."""

    shape: str
    colour: str
    size: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two objects on a background; `place` is from PLACES for one object, from RELATIONS for two."""

    things: tuple[Thing, ...]
    place: str
    background: str


@dataclass(frozen=True, slots=True)
class Wording:
    """The parts that a caption mentions, and its style."""

    sizes: tuple[bool, ...] = (True, True)
    place: bool = True
    background: bool = True
    article: bool = True
    commas: bool = False


def caption(scene: Scene, wording: Wording | None = None) -> str:
    """Return the caption of a scene; the full caption if no wording is given."""
    said = wording or Wording()
    names = [
        _name(thing, size=size, article=said.article) for thing, size in zip(scene.things, said.sizes, strict=False)
    ]
    if len(names) == 2:
        parts = [f"{names[0]} {scene.place if said.place else 'and'} {names[1]}"]
    else:
        parts = [names[0], *([scene.place] if said.place else [])]
    if said.background:
        parts.append(f"on a {scene.background} background")
    return (", " if said.commas else " ").join(parts)


def _name(thing: Thing, *, size: bool, article: bool) -> str:
    words = ([thing.size] if size else []) + [thing.colour, thing.shape]
    if article:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    return " ".join(words)


def words() -> list[str]:
    """Return every word of the grammar once, in a stable order."""
    phrases = (GLUE, SHAPES, COLOURS, SIZES, BACKGROUNDS, PLACES, RELATIONS)
    return list(dict.fromkeys(word for phrase in itertools.chain(*phrases) for word in phrase.split()))


def draw_wording(rng: np.random.Generator) -> Wording:
    """Draw a wording for training: full in half of the cases, else with parts left out."""
    commas = bool(rng.random() < 0.1)
    if rng.random() < 0.5:
        return Wording(commas=commas)
    say = rng.random(5) < (0.6, 0.6, 0.8, 0.6, 0.8)
    return Wording((bool(say[0]), bool(say[1])), bool(say[2]), bool(say[3]), bool(say[4]), commas)


def draw_scene(rng: np.random.Generator, count: int) -> Scene:
    """Draw a scene of one or two objects, possibly a held-out one; two objects differ in colour or shape."""
    first = _draw_thing(rng)
    background = str(rng.choice(list(BACKGROUNDS)))
    if count == 1:
        return Scene((first,), str(rng.choice(list(PLACES))), background)
    second = _draw_thing(rng)
    while (second.colour, second.shape) == (first.colour, first.shape):
        second = _draw_thing(rng)
    return Scene((first, second), str(rng.choice(list(RELATIONS))), background)


def _draw_thing(rng: np.random.Generator) -> Thing:
    shape, colour, size = (str(rng.choice(list(options))) for options in (SHAPES, COLOURS, SIZES))
    return Thing(shape, colour, size)


def held_out(scene: Scene) -> bool:
    """Whether this combination is excluded from training: one in eight, by a stable hash.

    The background is ignored. The two descriptions of one picture (A above B, B below A) are one combination.
    """
    if scene.place in ("right of", "below"):
        scene = replace(scene, things=scene.things[::-1], place=OPPOSITES[scene.place])
    key = "|".join([scene.place, *(f"{thing.size} {thing.colour} {thing.shape}" for thing in scene.things)])
    return hashlib.blake2b(key.encode(), digest_size=4).digest()[0] % 8 == 0


def training_scenes(rng: np.random.Generator, two: float = 0.6) -> Iterator[Scene]:
    """An endless sequence of scenes for training; a share `two` of them has two objects."""
    while True:
        scene = draw_scene(rng, 2 if rng.random() < two else 1)
        if not held_out(scene):
            yield scene


def test_scenes(seed: int, count: int, each: int) -> list[Scene]:
    """Return `each` different held-out scenes of `count` objects; there are 196 with one object, which then repeat."""
    rng = np.random.default_rng([seed, count])
    drawn = (scene for scene in iter(lambda: draw_scene(rng, count), None) if held_out(scene))
    different = list(dict.fromkeys(itertools.islice(drawn, 6 * each)))
    return [different[index % len(different)] for index in range(each)]
