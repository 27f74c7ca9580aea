"""Colours by name, and those of one picture made like those of another, by their first two moments."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from latentloom.engine.errors import BadValueError

if TYPE_CHECKING:
    import numpy.typing as npt

    from latentloom.engine.types.values import Floats

    Doubles = npt.NDArray[np.float64]

Likeness = Literal["mean", "spread", "covariance"]
SOLID = 1e-8 * np.eye(3)  # keeps the transport between colours of one hue finite
LEAST = 1e-6  # of a variance, a quarter of a level of 255: less is an even colour, which is moved and not stretched


def colour_of(text: str) -> "Floats":
    """Red, green and blue [3] in 0..1 of a colour such as #ff8000. Raises BadValueError."""
    from PIL import ImageColor

    try:
        found: Floats = np.float32(ImageColor.getrgb(text)[:3]) / np.float32(255)
    except ValueError:
        raise BadValueError("this is no colour", expected="#rrggbb", got=text) from None
    return found


def matched(
    pixels: "Floats", reference: "Floats", weights: "Floats", reference_weights: "Floats", likeness: Likeness
) -> "Floats":
    """The colour [H, W, 3] of a picture, made like a reference's, not clipped; a weight says how much a pixel counts.

    Raises BadValueError where nothing counts.
    """
    mean, covariance = _moments(pixels, weights)
    wanted, wanted_covariance = _moments(reference, reference_weights)
    change = _transport(covariance, wanted_covariance, likeness)
    found: Floats = ((pixels[..., :3] - mean) @ change.T + wanted).astype(np.float32)
    return found


def _moments(pixels: "Floats", weights: "Floats") -> "tuple[Doubles, Doubles]":
    """The mean [3] and the covariance [3, 3] of the colour; what is transparent counts less."""
    counted = (weights * pixels[..., 3] if pixels.shape[2] == 4 else weights).ravel().astype(np.float64)
    if counted.sum() <= 0:
        raise BadValueError(
            "there is nothing to compare colours by", expected="a part that the mask leaves", got="none"
        )
    colours = pixels[..., :3].reshape(-1, 3).astype(np.float64)
    mean = np.average(colours, axis=0, weights=counted)
    return mean, np.cov(colours, rowvar=False, aweights=counted, ddof=0)


def _transport(covariance: "Doubles", wanted: "Doubles", likeness: Likeness) -> "Doubles":
    """The matrix [3, 3] that takes one covariance to another (Pitié & Kokaram 2007, eq. 9), or only its diagonal."""
    if likeness == "mean":
        return np.eye(3)
    if likeness == "spread":
        old, new = np.diag(covariance), np.diag(wanted)
        return np.diag(np.sqrt(np.where(old > LEAST, new / np.maximum(old, LEAST), 1)))
    root, inverse = _root(covariance + SOLID)
    inner, _ = _root(root @ (wanted + SOLID) @ root)
    return inverse @ inner @ inverse


def _root(matrix: "Doubles") -> "tuple[Doubles, Doubles]":
    """The square root of a symmetric positive matrix, and the inverse of that."""
    values, vectors = np.linalg.eigh(matrix)
    roots = np.sqrt(np.maximum(values, 1e-12))
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
