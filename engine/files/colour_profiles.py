"""ICC profiles: converts pictures in other colour spaces to sRGB, the colour space of all nodes and saved files."""

import functools
import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image as Pil

    Floats = npt.NDArray[np.float32]

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
NODES = 33  # grid points per axis of the table for 16-bit pictures
_DATE, _MADE = slice(24, 36), bytes.fromhex("07d0 0001 0001 0000 0000 0000")


class Transform(NamedTuple):
    """A transform from the colours of a profile to sRGB, computed by Pillow's littleCMS."""

    mode: str  # of the input pictures: RGB, L or CMYK
    cms: Any

    def picture(self, picture: "Pil.Image") -> "Pil.Image":
        """Convert an 8-bit picture to sRGB and keep its alpha. Raises ValueError if the profile has other channels."""
        from PIL import ImageCms

        if (self.mode == "CMYK") != (picture.mode == "CMYK") or (self.mode == "L" and _coloured(picture)):
            raise ValueError(f"a profile for {self.mode} on a picture with {picture.mode}")
        alpha = picture.convert("RGBA").getchannel("A") if _transparent(picture) else None
        made = ImageCms.applyTransform(picture.convert(self.mode), self.cms)
        assert made is not None  # only an in-place transform returns None
        if alpha is not None:
            made.putalpha(alpha)
        return made

    def pixels(self, pixels: "Floats") -> "Floats":
        """Convert [H, W, 3 or 4] floats in 0..1 to sRGB by interpolation in a table, without rounding to 8 bits.

        Raises ValueError for a CMYK profile.
        """
        from scipy.ndimage import map_coordinates

        if self.mode == "CMYK":
            raise ValueError("a profile for CMYK on a picture with RGB")
        places = np.moveaxis(pixels[..., :3] * np.float32(NODES - 1), -1, 0)
        table, found = self._table(), pixels.copy()
        for channel in range(3):
            found[..., channel] = map_coordinates(table[..., channel], places, order=1, mode="nearest")
        return found

    def changes_nothing(self) -> bool:
        """Whether the profile is sRGB, within the rounding of 8 bits."""
        return self.mode == "RGB" and bool(np.abs(self._table() - _grid() / np.float32(255)).max() < 1.5 / 255)

    def _table(self) -> "Floats":
        """Return the converted colours of a grid, [33, 33, 33, 3]."""
        from PIL import Image as Pil

        flat = Pil.fromarray(_grid().reshape(NODES, NODES * NODES, 3))
        made = np.asarray(self.picture(flat.convert(self.mode)), np.float32) / np.float32(255)
        return made.reshape(NODES, NODES, NODES, 3)


def _grid() -> "npt.NDArray[np.uint8]":
    levels = np.rint(np.linspace(0, 255, NODES)).astype(np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)


def _coloured(picture: "Pil.Image") -> bool:
    return picture.mode not in ("1", "L", "LA", "La", "I;16")


def _transparent(picture: "Pil.Image") -> bool:
    return "A" in picture.getbands() or "transparency" in picture.info


def transform_of(profile: bytes) -> Transform | None:
    """Return the transform from a profile to sRGB; None for sRGB itself. Raises ValueError if it cannot be read."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space not in _MODES:
            raise ValueError(f"a profile for {space}")
        cms = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), _MODES[space], "RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError(str(error)) from None
    transform = Transform(_MODES[space], cms)
    return None if transform.changes_nothing() else transform


@functools.cache
def srgb_profile() -> bytes:
    """Return the sRGB profile for saved pictures. Its bytes are always the same."""
    from PIL import ImageCms

    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[_DATE] = _MADE
    return bytes(made)
