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
            if picture.width * picture.height > MAX_PIXELS:
                raise Pil.DecompressionBombError
            return ImageOps.exif_transpose(picture)
    except Pil.DecompressionBombError:
        raise FileError("the picture is too large", expected=f"at most {MAX_PIXELS} pixels") from None
    except Exception as error:  # Pillow's decoders raise many kinds
        raise FileError(
            f"'{path.name}' is not a picture that can be read", got=f"{type(error).__name__}: {error}"[:200]
        ) from None


def as_rgb(picture: "Pil.Image") -> "npt.NDArray[np.float32]":
    """[H, W, 3] or, with transparency, [H, W, 4] floats in 0..1. Raises FileError for numbers that are not finite."""
    if picture.mode.startswith(("I", "F")):
        return _grey(np.asarray(picture, dtype=np.float32), 65535.0 if picture.mode.startswith("I") else None)
    if picture.mode in _PREMULTIPLIED:
        picture = picture.convert(_PREMULTIPLIED[picture.mode])
    alpha = "A" in picture.getbands() or "transparency" in picture.info
    return np.asarray(picture.convert("RGBA" if alpha else "RGB"), dtype=np.float32) / np.float32(255)


def _grey(levels: "npt.NDArray[np.float32]", top: float | None) -> "npt.NDArray[np.float32]":
    """[H, W, 3] from one channel of more than 8 bits; floats beyond 1 are scaled down by the largest."""
    if not np.isfinite(levels).all():
        raise FileError("the picture holds numbers that are not finite")
    top = max(1.0, float(levels.max(initial=0))) if top is None else top
    return np.repeat(np.clip(levels / np.float32(top), 0, 1)[..., None], 3, axis=2)


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
