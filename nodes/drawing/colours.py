"""Parses colours, and matches the colours of one picture to those of another by their first two moments."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from latentloom.engine.errors import BadValueError

if TYPE_CHECKING:
    import numpy.typing as npt

    from latentloom.engine.types.values import Floats

    Doubles = npt.NDArray[np.float64]

Likeness = Literal["mean", "spread", "covariance"]
SOLID = 1e-8 * np.eye(3)  # keeps the transport finite for degenerate covariances
LEAST = 1e-6  # smallest variance (a quarter of a level of 255); a more uniform colour is shifted but not scaled


def colour_of(text: str) -> "Floats":
    """Parse a colour such as #ff8000 to red, green and blue [3] in 0..1. Raises BadValueError."""
    from PIL import ImageColor

    try:
        found: Floats = np.float32(ImageColor.getrgb(text)[:3]) / np.float32(255)
    except ValueError:
        raise BadValueError("this is not a colour", expected="#rrggbb", got=text) from None
    return found


def matched(
    pixels: "Floats", reference: "Floats", weights: "Floats", reference_weights: "Floats", likeness: Likeness
) -> "Floats":
    """Match the colour [H, W, 3] of a picture to that of a reference; the result is not clipped.

    The weights [H, W] are those of the pixels. Raises BadValueError if their sum is 0.
    """
    mean, covariance = _moments(pixels, weights)
    wanted, wanted_covariance = _moments(reference, reference_weights)
    change = _transport(covariance, wanted_covariance, likeness)
    found: Floats = ((pixels[..., :3] - mean) @ change.T + wanted).astype(np.float32)
    return found


def _moments(pixels: "Floats", weights: "Floats") -> "tuple[Doubles, Doubles]":
    """Return the mean [3] and the covariance [3, 3] of the colour; weights are multiplied by alpha."""
    counted = (weights * pixels[..., 3] if pixels.shape[2] == 4 else weights).ravel().astype(np.float64)
    if counted.sum() <= 0:
        raise BadValueError("there are no pixels to compare", expected="an unmasked part", got="none")
    colours = pixels[..., :3].reshape(-1, 3).astype(np.float64)
    mean = np.average(colours, axis=0, weights=counted)
    return mean, np.cov(colours, rowvar=False, aweights=counted, ddof=0)


def _transport(covariance: "Doubles", wanted: "Doubles", likeness: Likeness) -> "Doubles":
    """The matrix [3, 3] that maps one covariance to another (Pitié & Kokaram 2007, eq. 9), or only the variances."""
    if likeness == "mean":
        return np.eye(3)
    if likeness == "spread":
        old, new = np.diag(covariance), np.diag(wanted)
        return np.diag(np.sqrt(np.where(old > LEAST, new / np.maximum(old, LEAST), 1)))
    root, inverse = _root(covariance + SOLID)
    inner, _ = _root(root @ (wanted + SOLID) @ root)
    return inverse @ inner @ inverse


def _root(matrix: "Doubles") -> "tuple[Doubles, Doubles]":
    """The square root of a symmetric positive matrix, and its inverse."""
    values, vectors = np.linalg.eigh(matrix)
    roots = np.sqrt(np.maximum(values, 1e-12))
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
