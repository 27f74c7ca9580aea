"""Pictures with 16 bits per channel: Pillow reduces colour to 8 bits when it reads, and cannot write 16 bits."""

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image as Pil

    Floats = npt.NDArray[np.float32]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OTHER = {"big": "L", "little": "B"}[sys.byteorder]
_LOW = {  # raw modes with which Pillow reads the other byte of a channel
    **{f"{mode};16B": f"{mode};16L" for mode in ("RGB", "RGBA")},
    **{f"{mode};16L": f"{mode};16B" for mode in ("RGB", "RGBA")},
    **{f"{mode};16N": f"{mode};16{_OTHER}" for mode in ("RGB", "RGBA")},
    "LA;16B": "RGBA",  # all four bytes of a pixel, unchanged
}
_COLOUR_TYPES = {3: 2, 4: 6}  # number of channels -> PNG colour type


def deep_pixels(file: IO[bytes], formats: tuple[str, ...], picture: "Pil.Image") -> "Floats | None":
    """Return [H, W, 3 or 4] floats in 0..1 of a picture with 16-bit colour or alpha, rotated by EXIF; else None.

    `picture` is the file as Pillow reads it: the upper byte of each channel. Raises Pillow's exceptions.
    """
    from PIL import Image as Pil

    def opened() -> "Pil.Image":
        file.seek(0)
        return Pil.open(file, formats=formats)

    if not is_deep(head := opened()):
        return None
    raw = _raw_mode(head)
    low: Floats = np.asarray(_loaded(opened(), _LOW[raw]), np.float32)
    high: Floats = np.asarray(picture, np.float32)
    if raw.startswith("LA"):
        high, low = low[..., [0, 0, 0, 2]], low[..., [1, 1, 1, 3]]
    levels: Floats = (high * np.float32(256) + low) / np.float32(65535)
    return levels


def is_deep(picture: "Pil.Image") -> bool:
    """Whether an opened but not yet decoded picture has 16-bit colour or alpha."""
    return _raw_mode(picture) in _LOW


def _raw_mode(picture: "Pil.Image") -> str:
    """Return the raw mode of the file's tiles if all have the same, else ""."""
    found = {_raw(tile[3]) for tile in getattr(picture, "tile", ())}
    return found.pop() if len(found) == 1 else ""


def _raw(arguments: object) -> str:
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _loaded(picture: "Pil.Image", raw: str) -> "Pil.Image":
    from PIL import ImageOps

    def told(arguments: object) -> object:
        return (raw, *arguments[1:]) if isinstance(arguments, tuple) else raw

    picture.tile = [(*tile[:3], told(tile[3])) for tile in picture.tile]  # type: ignore[attr-defined]
    return ImageOps.exif_transpose(picture)


def deep_png(pixels: "Floats", like: bytes, compress: int) -> bytes:
    """Return PNG bytes of [H, W, 3 or 4] floats in 0..1, rounded to 16 bits, with the other chunks of PNG `like`."""
    height, width, channels = pixels.shape
    levels = (pixels * 65535 + 0.5).astype(">u2").reshape(height, -1).view(np.uint8)
    rows = np.full((height, levels.shape[1] + 1), 2, np.uint8)  # filter "up": each row minus the one above
    rows[0, 1:] = levels[0]
    rows[1:, 1:] = levels[1:] - levels[:-1]
    head = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    own = {b"IHDR": head, b"IDAT": zlib.compress(rows.tobytes(), compress)}
    return SIGNATURE + b"".join(_chunk(kind, own.get(kind, data)) for kind, data in _chunks(like))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    file = io.BytesIO(png[len(SIGNATURE) :])
    while head := file.read(8):
        length, kind = struct.unpack(">I4s", head)
        yield kind, file.read(length)
        file.seek(4, io.SEEK_CUR)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
