"""Reads picture files, which may be hostile, and encodes PNG with embedded texts."""

import contextlib
import functools
import io
import json
import warnings
import zlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from latentloom.engine.errors import FileError
from latentloom.engine.files.colour_profiles import transform_of
from latentloom.engine.files.deep_colour import deep_pixels, is_deep

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image as Pil

MAX_PIXELS = 178_956_970  # 13377 x 13377, Pillow's own limit for decompression bombs
MAX_MEMORY = 2 * 2**30  # bytes of memory for reading a picture: about 100 million pixels
DECODED, FLOAT = 4, 4  # maximum bytes of a pixel in Pillow, bytes of a channel here
BAND = 64  # rows converted at once
PACKED_TEXT = 2**20  # Pillow rejects a picture with a longer compressed text
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # other decoders are rare, and some start other programs
MAGIC = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)
AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
COMMENT = 0x9286  # EXIF's UserComment: holds the texts in JPEG, WebP and AVIF
MAX_COMMENT = 2**25  # uncompressed bytes
WORKFLOW_CHUNK = "latentloom-workflow"
RECORD_CHUNK = "latentloom-record"
XMP_CHUNK = "XML:com.adobe.xmp"  # never compressed (XMP specification, part 3, 1.1.5)
_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}


def encode_png(
    pixels: "npt.NDArray[np.float32]",
    texts: Mapping[str, str] | None = None,
    compress: int = 4,
    icc_profile: bytes | None = None,
    xmp: bytes | None = None,
) -> bytes:
    """Return PNG bytes of [H, W, C] floats in 0..1, rounded to 8 bits, with texts and XMP as iTXt chunks."""
    from PIL import Image as Pil
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in (texts or {}).items():
        info.add_itxt(name, text, zip=len(text.encode()) < PACKED_TEXT)
    if xmp is not None:
        info.add_itxt(XMP_CHUNK, xmp.decode())
    out = io.BytesIO()
    picture = Pil.fromarray(to_bytes(pixels))
    picture.save(out, "PNG", pnginfo=info, compress_level=compress, icc_profile=icc_profile)
    return out.getvalue()


def to_bytes(pixels: "npt.NDArray[np.float32]") -> "npt.NDArray[np.uint8]":
    """Convert floats in 0..1 to 0..255, rounded to nearest."""
    return (pixels * 255 + 0.5).astype(np.uint8)


def read_picture(path: Path) -> "Pil.Image":
    """Decode a picture and rotate it by its EXIF orientation. Raises FileError if it is damaged or too large."""
    from PIL import ImageOps

    with _careful(path) as file:
        picture = _opened(file)
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return picture


class PixelsRead(NamedTuple):
    """[H, W, 3] or, with transparency, [H, W, 4] floats in 0..1, sRGB; and the reason if the profile was not used."""

    pixels: "npt.NDArray[np.float32]"
    profile_fault: str | None = None


def read_pixels(path: Path) -> PixelsRead:
    """Read the pixels of a picture with 8 or 16 bits per channel, rotated by EXIF and converted to sRGB by ICC.

    Raises FileError if the picture is damaged or too large.
    """
    picture = read_picture(path)  # read completely before any conversion
    with _careful(path) as file:
        deep = deep_pixels(file, formats(), picture)
    profile = picture.info.get("icc_profile")
    if not profile:
        return PixelsRead(as_rgb(picture) if deep is None else deep)
    try:
        transform = transform_of(profile)
        if deep is None and picture.mode.startswith(("I", "F")):
            deep = as_rgb(picture)
        if transform is not None and deep is None:
            picture = transform.picture(picture)
        elif transform is not None and deep is not None:
            deep = transform.pixels(deep)
    except ValueError as error:
        return PixelsRead(as_rgb(picture) if deep is None else deep, str(error)[:200])
    return PixelsRead(as_rgb(picture) if deep is None else deep)


def formats() -> tuple[str, ...]:
    """Return the readable formats: AVIF if Pillow supports it, HEIC if pillow-heif is installed."""
    from PIL import features

    return (*FORMATS, *(("AVIF",) if features.check("avif") else ()), *(("HEIF",) if _heif() else ()))


@functools.cache
def _heif() -> bool:
    if find_spec("pillow_heif") is None:
        return False
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return True


@contextlib.contextmanager
def opened_picture(path: Path) -> Iterator["Pil.Image"]:
    """Open a picture without decoding its pixels. Raises FileError if it is damaged or too large."""
    with _careful(path) as file:
        yield _opened(file)


def _opened(file: IO[bytes]) -> "Pil.Image":
    """Open a picture and check its size. Its pixels are not decoded yet."""
    from PIL import Image as Pil

    picture = Pil.open(file, formats=formats())
    _check_size(picture)
    return picture


@contextlib.contextmanager
def _careful(path: Path) -> Iterator[IO[bytes]]:
    """Open a file. Converts all exceptions of decoders to FileError."""
    from PIL import Image as Pil

    head = b""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = file.read(12)
            file.seek(0)
            yield file
    except Pil.DecompressionBombError:
        raise FileError("the picture is too large", expected=f"at most {MAX_PIXELS} pixels") from None
    except FileError:
        raise
    except Exception as error:  # Pillow's decoders raise many types
        hint = "`pip install pillow-heif` lets it be read" if head[4:8] == b"ftyp" and head[8:] in HEIF_BRANDS else None
        raise FileError(
            f"'{path.name}' is not a picture that can be read",
            got=f"{type(error).__name__}: {error}"[:200],
            hint=None if _heif() else hint,
        ) from None


def memory_of(picture: "Pil.Image") -> int:
    """Return the maximum bytes for reading a picture: decoded, rotated, in sRGB, and as floats in 3 or 4 channels."""
    copies = 4 if picture.format in ("WEBP", "AVIF", "HEIF") else 2  # their decoders make two more copies
    copies += 1 if picture.info.get("icc_profile") else 0
    floats = 5 if is_deep(picture) else 1
    return picture.width * picture.height * (copies * DECODED + floats * FLOAT * len(_rgb_mode(picture)))


def _check_size(picture: "Pil.Image") -> None:
    """Check the size before decoding: a small file may contain a picture of gigabytes."""
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


def picture_suffix(data: bytes) -> str | None:
    """Return the suffix of a readable picture, detected from its first 12 bytes; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[4:8] == b"ftyp":
        return ".avif" if data[8:12] in AVIF_BRANDS else ".heic" if data[8:12] in HEIF_BRANDS else None
    return next((suffix for magic, suffix in MAGIC if data.startswith(magic)), None)


def picture_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a picture that this program encoded."""
    from PIL import Image as Pil

    with Pil.open(io.BytesIO(data), formats=formats()) as picture:
        return picture.size


def as_rgb(picture: "Pil.Image") -> "npt.NDArray[np.float32]":
    """Return [H, W, 3] or, with transparency, [H, W, 4] floats in 0..1. Raises FileError for non-finite numbers."""
    if picture.mode.startswith(("I", "F")):
        return _grey(np.array(picture, dtype=np.float32), 65535.0 if picture.mode.startswith("I") else None)
    mode = _rgb_mode(picture)
    pixels = np.empty((picture.height, picture.width, len(mode)), np.float32)
    for top in range(0, picture.height, BAND):  # in bands, to avoid a second full copy
        bottom = min(top + BAND, picture.height)
        band = picture.crop((0, top, picture.width, bottom))
        if band.mode in _PREMULTIPLIED:
            band = band.convert(_PREMULTIPLIED[band.mode])
        np.divide(np.asarray(band.convert(mode)), np.float32(255), out=pixels[top:bottom])
    return pixels


def _grey(levels: "npt.NDArray[np.float32]", top: float | None) -> "npt.NDArray[np.float32]":
    """Return [H, W, 3] from one channel of more than 8 bits. If floats exceed 1, all are divided by the largest."""
    if not np.isfinite(levels).all():
        raise FileError("the picture contains numbers that are not finite")
    top = max(1.0, float(levels.max(initial=0))) if top is None else top
    np.clip(np.divide(levels, np.float32(top), out=levels), 0, 1, out=levels)
    return np.repeat(levels[..., None], 3, axis=2)


def read_making(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the workflow text and the record embedded in a saved picture. Raises FileError if there are none."""
    texts = making_in(read_picture(path))
    if WORKFLOW_CHUNK not in texts:
        raise FileError(
            f"'{path.name}' contains no workflow",
            hint="only files saved by Latentloom without --no-metadata contain one",
        )
    try:
        record = json.loads(texts.get(RECORD_CHUNK, "{}"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FileError(f"the record in '{path.name}' is damaged: {error}") from None
    if not isinstance(record, dict):
        raise FileError(f"the record in '{path.name}' is damaged", expected="an object", got=type(record).__name__)
    return str(texts[WORKFLOW_CHUNK]), record


def making_in(picture: "Pil.Image") -> Mapping[Any, Any]:
    """Return the texts of a decoded picture: PNG chunks, or the texts in EXIF's UserComment."""
    return picture.info if WORKFLOW_CHUNK in picture.info else _from_comment(picture)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def _from_comment(picture: "Pil.Image") -> dict[str, str]:
    """Return the texts in EXIF's UserComment, as `encoding` writes them; none if another program wrote it."""
    comment = picture.getexif().get_ifd(0x8769).get(COMMENT, b"")
    text = comment if isinstance(comment, bytes) else str(comment).encode()
    try:
        if text.startswith(b"\0" * 8):
            text = zlib.decompressobj().decompress(text[8:], MAX_COMMENT)
        found = json.loads(text.removeprefix(b"ASCII\0\0\0"))
    except (ValueError, RecursionError, zlib.error):
        return {}
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}
