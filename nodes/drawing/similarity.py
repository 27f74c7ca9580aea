"""Similarity of two pictures: the peak signal-to-noise ratio and the structural similarity."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from latentloom.engine.types.values import Floats

    Doubles = npt.NDArray[np.float64]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in most implementations of SSIM
MAX_PSNR = 100.0  # dB; the rounding errors of float32 are of this size
RADIUS, SIGMA = 5, 1.5  # of the Gaussian window of SSIM, 11 pixels wide
WINDOW = 2 * RADIUS + 1
C1, C2 = 0.01**2, 0.03**2  # (K1 L)^2 and (K2 L)^2 with L = 1
STRIP = 2**20  # pixels that are computed at a time, so that large pictures need little memory


def psnr(first: "Floats", second: "Floats") -> float:
    """Return the peak signal-to-noise ratio of two pictures [H, W, C] in 0..1, in dB, at most MAX_PSNR.

    It is -10 log10 of the mean squared error of all channels.
    """
    error = float(np.mean(np.square(first - second), dtype=np.float64))
    return MAX_PSNR if error <= 0 else float(min(MAX_PSNR, -10 * np.log10(error)))


def ssim(first: "Floats", second: "Floats", check: Callable[[], None]) -> float:
    """Return the mean structural similarity (Wang et al. 2004) of the luma of two pictures [H, W, 3] in 0..1.

    The window is a Gaussian of sigma 1.5, 11 pixels wide; only windows within the picture count. Both sides must have
    at least 11 pixels. `check` is called now and then.
    """
    height, width = (side - 2 * RADIUS for side in first.shape[:2])
    total = 0.0
    for rows in strips(height, width + 2 * RADIUS):
        check()
        part = slice(rows.start, rows.stop + 2 * RADIUS)
        total += float(_similarities(_luma(first[part]), _luma(second[part])).sum())
    return total / (height * width)


def strips(height: int, width: int) -> Iterator[slice]:
    """Divide the rows of a picture into slices of about STRIP pixels."""
    step = max(1, STRIP // width)
    return (slice(top, min(height, top + step)) for top in range(0, height, step))


def _luma(pixels: "Floats") -> "Doubles":
    return pixels.astype(np.float64) @ np.array(LUMA)


def _similarities(x: "Doubles", y: "Doubles") -> "Doubles":
    """Return the SSIM of each window (eq. 13) of two planes [H, W], as [H - 10, W - 10]."""
    mean_x, mean_y = _weighted(x), _weighted(y)
    variances = _weighted(x * x) - mean_x**2 + _weighted(y * y) - mean_y**2
    covariance = _weighted(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return luminance * (2 * covariance + C2) / (variances + C2)


def _weighted(plane: "Doubles") -> "Doubles":
    from scipy.ndimage import gaussian_filter

    found: Doubles = gaussian_filter(plane, SIGMA, radius=RADIUS)[RADIUS:-RADIUS, RADIUS:-RADIUS]
    return found
