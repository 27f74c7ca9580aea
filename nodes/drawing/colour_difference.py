"""CIELAB colours of sRGB pictures, and the colour difference CIEDE2000."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from latentloom.nodes.drawing.similarity import strips

if TYPE_CHECKING:
    import numpy.typing as npt

    from latentloom.engine.types.values import Floats

    Doubles = npt.NDArray[np.float64]

TO_XYZ = np.array(  # IEC 61966-2-1, white point D65
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
EDGE = 6 / 29  # below its cube, the curve of CIELAB is a line


def mean_delta_e(first: "Floats", second: "Floats", check: Callable[[], None]) -> float:
    """Return the mean CIEDE2000 of the pixels of two sRGB pictures [H, W, 3] in 0..1.

    `check` is called now and then.
    """
    total = 0.0
    for rows in strips(*first.shape[:2]):
        check()
        total += float(delta_e(lab(first[rows]), lab(second[rows])).sum())
    return total / (first.shape[0] * first.shape[1])


def lab(pixels: "Floats") -> "Doubles":
    """Convert sRGB [..., 3] in 0..1 to CIELAB (D65): L in 0..100, a and b."""
    values = pixels.astype(np.float64)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    x, y, z = np.moveaxis(np.where(xyz > EDGE**3, np.cbrt(xyz), xyz / (3 * EDGE**2) + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def delta_e(first: "Doubles", second: "Doubles") -> "Doubles":
    """Return the CIEDE2000 difference of CIELAB colours [..., 3], as in Sharma, Wu & Dalal 2005, eq. 2 to 22."""
    boost = 1.5 - 0.5 * _saturation((_chroma(first) + _chroma(second)) / 2)  # 1 + G
    (chroma, hue), (chroma2, hue2) = _polar(first, boost), _polar(second, boost)
    turn, middle = _hues(hue, hue2, chroma * chroma2 == 0)
    mean, light = (chroma + chroma2) / 2, ((first[..., 0] + second[..., 0]) / 2 - 50) ** 2
    by_light = (second[..., 0] - first[..., 0]) / (1 + 0.015 * light / np.sqrt(20 + light))
    by_chroma = (chroma2 - chroma) / (1 + 0.045 * mean)
    by_hue = 2 * np.sqrt(chroma * chroma2) * _sin(turn / 2) / (1 + 0.015 * mean * _hue_weight(middle))
    rotation = -_sin(60 * np.exp(-(((middle - 275) / 25) ** 2))) * 2 * _saturation(mean)
    squares: Doubles = by_light**2 + by_chroma**2 + by_hue**2 + rotation * by_chroma * by_hue
    return np.sqrt(np.maximum(squares, 0))


def _chroma(colours: "Doubles") -> "Doubles":
    found: Doubles = np.hypot(colours[..., 1], colours[..., 2])
    return found


def _saturation(chroma: "Doubles") -> "Doubles":
    """Return sqrt(C^7 / (C^7 + 25^7))."""
    return np.sqrt(chroma**7 / (chroma**7 + 25.0**7))


def _polar(colours: "Doubles", boost: "Doubles") -> "tuple[Doubles, Doubles]":
    """Return the chroma C' and the hue h' in 0..360 degrees, with a multiplied by `boost`."""
    a, b = colours[..., 1] * boost, colours[..., 2]
    return np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360


def _hues(first: "Doubles", second: "Doubles", grey: "npt.NDArray[np.bool_]") -> "tuple[Doubles, Doubles]":
    """Return the difference and the mean of hues in degrees, the shorter way round; grey colours have no hue."""
    turn, total = second - first, first + second
    far = np.abs(turn) > 180
    shorter = np.where(far, turn - 360 * np.sign(turn), turn)
    mean = np.where(far, np.where(total < 360, total + 360, total - 360), total) / 2
    return np.where(grey, 0, shorter), np.where(grey, total, mean)


def _hue_weight(hue: "Doubles") -> "Doubles":
    """Return T (eq. 15)."""
    waves = ((0.17, 1, -30, -1), (0.24, 2, 0, 1), (0.32, 3, 6, 1), (0.20, 4, -63, -1))
    return 1 + sum((sign * size * _sin(times * hue + shift + 90) for size, times, shift, sign in waves), start=0 * hue)


def _sin(degrees: "Doubles") -> "Doubles":
    found: Doubles = np.sin(np.radians(degrees))
    return found
