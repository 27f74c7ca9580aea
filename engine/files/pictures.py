"""Picture files: PNG with the record of its making, and careful reading of files that may be hostile."""

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentloom.engine.errors import FileError

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image as Pil

MAX_PIXELS = 178_956_970  # 13377 x 13377, where Pillow itself calls a picture a bomb
MAX_MEMORY = 2 * 2**30  # bytes that reading a picture may take: about 100 million pixels
DECODED, FLOAT = 4, 4  # bytes of a pixel in Pillow, at most, and of a channel here
BAND = 64  # rows that are converted at once
PACKED_TEXT = 2**20  # Pillow takes a longer compressed text for a bomb, and then refuses the picture
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # the others are rare, and some start other programs
WORKFLOW_CHUNK = "latentloom-workflow"
RECORD_CHUNK = "latentloom-record"
_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}


def encode_png(pixels: "npt.NDArray[np.float32]", texts: Mapping[str, str] | None = None, compress: int = 4) -> bytes:
    """PNG bytes of [H, W, C] floats in 0..1, rounded to 8 bits, with texts as iTXt chunks."""
    from PIL import Image as Pil
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in (texts or {}).items():
        info.add_itxt(name, text, zip=len(text.encode()) < PACKED_TEXT)
    out = io.BytesIO()
    Pil.fromarray(to_bytes(pixels)).save(out, "PNG", pnginfo=info, compress_level=compress)
    return out.getvalue()


def to_bytes(pixels: "npt.NDArray[np.float32]") -> "npt.NDArray[np.uint8]":
    """Floats in 0..1 as 0..255, rounded to the nearest."""
    return (pixels * 255 + 0.5).astype(np.uint8)


def read_picture(path: Path) -> "Pil.Image":
    """The decoded picture, turned as its EXIF says. Raises FileError for anything but an honest picture."""
    from PIL import Image as Pil
    from PIL import ImageOps

    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Pil.open(file, formats=FORMATS)
            _check_size(picture)
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return picture
    except Pil.DecompressionBombError:
        raise FileError("the picture is too large", expected=f"at most {MAX_PIXELS} pixels") from None
    except FileError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        raise FileError(
            f"'{path.name}' is not a picture that can be read", got=f"{type(error).__name__}: {error}"[:200]
        ) from None


def memory_of(picture: "Pil.Image") -> int:
    """The most bytes that reading a picture takes: decoded, turned, and as floats of three or four channels."""
    copies = 4 if picture.format == "WEBP" else 2  # its decoder makes two more
    return picture.width * picture.height * (copies * DECODED + FLOAT * len(_rgb_mode(picture)))


def _check_size(picture: "Pil.Image") -> None:
    """Before anything is decoded: a file of a few kilobytes may hold a picture of gigabytes."""
    from PIL import Image as Pil

    if picture.width * picture.height > MAX_PIXELS:
        raise Pil.DecompressionBombError
    needed = memory_of(picture)
    if needed > MAX_MEMORY:
        raise FileError(
            "the picture is too large to be read",
            expected=f"at most {MAX_MEMORY} bytes of memory",
            got=f"{picture.width} x {picture.height} pixels, which take {needed} bytes",
            hint="make it smaller with another program",
        )


def _rgb_mode(picture: "Pil.Image") -> str:
    return "RGBA" if "A" in "".join(picture.getbands()).upper() or "transparency" in picture.info else "RGB"


def as_rgb(picture: "Pil.Image") -> "npt.NDArray[np.float32]":
    """[H, W, 3] or, with transparency, [H, W, 4] floats in 0..1. Raises FileError for numbers that are not finite."""
    if picture.mode.startswith(("I", "F")):
        return _grey(np.array(picture, dtype=np.float32), 65535.0 if picture.mode.startswith("I") else None)
    mode = _rgb_mode(picture)
    pixels = np.empty((picture.height, picture.width, len(mode)), np.float32)
    for top in range(0, picture.height, BAND):  # piece by piece: no second copy of the whole
        bottom = min(top + BAND, picture.height)
        band = picture.crop((0, top, picture.width, bottom))
        if band.mode in _PREMULTIPLIED:
            band = band.convert(_PREMULTIPLIED[band.mode])
        np.divide(np.asarray(band.convert(mode)), np.float32(255), out=pixels[top:bottom])
    return pixels


def _grey(levels: "npt.NDArray[np.float32]", top: float | None) -> "npt.NDArray[np.float32]":
    """[H, W, 3] from one channel of more than 8 bits; floats beyond 1 are scaled down by the largest."""
    if not np.isfinite(levels).all():
        raise FileError("the picture holds numbers that are not finite")
    top = max(1.0, float(levels.max(initial=0))) if top is None else top
    np.clip(np.divide(levels, np.float32(top), out=levels), 0, 1, out=levels)
    return np.repeat(levels[..., None], 3, axis=2)


def read_making(path: Path) -> tuple[str, dict[str, Any]]:
    """The workflow text and the record that a saved picture carries. Raises FileError when it carries none."""
    texts = read_picture(path).info
    if WORKFLOW_CHUNK not in texts:
        raise FileError(
            f"'{path.name}' carries no workflow",
            hint="only PNG files saved by Latentloom do, and not those saved with --no-metadata",
        )
    try:
        record = json.loads(texts.get(RECORD_CHUNK, "{}"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FileError(f"the record in '{path.name}' is damaged: {error}") from None
    if not isinstance(record, dict):
        raise FileError(f"the record in '{path.name}' is damaged", expected="an object", got=type(record).__name__)
    return str(texts[WORKFLOW_CHUNK]), record


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number that JSON has")
