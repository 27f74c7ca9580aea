"""Picture files: careful reading of files that may be hostile, and PNG with the record of its making."""

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
from latentloom.engine.files.deep_colour import deep_pixels

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image as Pil

MAX_PIXELS = 178_956_970  # 13377 x 13377, where Pillow itself calls a picture a bomb
PACKED_TEXT = 2**20  # Pillow takes a longer compressed text for a bomb, and then refuses the picture
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # the others are rare, and some start other programs
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
COMMENT = 0x9286  # EXIF's UserComment, where JPEG, WebP and AVIF carry what PNG has in its chunks
MAX_COMMENT = 2**25  # characters, unpacked
WORKFLOW_CHUNK = "latentloom-workflow"
RECORD_CHUNK = "latentloom-record"
_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}


def encode_png(
    pixels: "npt.NDArray[np.float32]",
    texts: Mapping[str, str] | None = None,
    compress: int = 4,
    icc_profile: bytes | None = None,
) -> bytes:
    """PNG bytes of [H, W, C] floats in 0..1, rounded to 8 bits, with texts as iTXt chunks."""
    from PIL import Image as Pil
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in (texts or {}).items():
        info.add_itxt(name, text, zip=len(text.encode()) < PACKED_TEXT)
    out = io.BytesIO()
    picture = Pil.fromarray(to_bytes(pixels))
    picture.save(out, "PNG", pnginfo=info, compress_level=compress, icc_profile=icc_profile)
    return out.getvalue()


def to_bytes(pixels: "npt.NDArray[np.float32]") -> "npt.NDArray[np.uint8]":
    """Floats in 0..1 as 0..255, rounded to the nearest."""
    return (pixels * 255 + 0.5).astype(np.uint8)


def read_picture(path: Path) -> "Pil.Image":
    """The decoded picture, turned as its EXIF says. Raises FileError for anything but an honest picture."""
    from PIL import ImageOps

    with _careful(path) as file:
        return ImageOps.exif_transpose(_opened(file))


class PixelsRead(NamedTuple):
    """[H, W, 3] or, with transparency, [H, W, 4] floats in 0..1, sRGB; why the file's colour profile was not used."""

    pixels: "npt.NDArray[np.float32]"
    profile_fault: str | None = None


def read_pixels(path: Path) -> PixelsRead:
    """The pixels of a picture, 8 or 16 bits a channel, turned as its EXIF says, in sRGB as its ICC profile says.

    Raises FileError for anything but an honest picture.
    """
    picture = read_picture(path)  # to its end, before anything is made of it
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
    """The formats that are read here: AVIF where Pillow has it, HEIC where pillow-heif is installed."""
    from PIL import features

    return (*FORMATS, *(("AVIF",) if features.check("avif") else ()), *(("HEIF",) if _heif() else ()))


@functools.cache
def _heif() -> bool:
    if find_spec("pillow_heif") is None:
        return False
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return True


def _opened(file: IO[bytes]) -> "Pil.Image":
    """A picture whose size is known and whose pixels are not decoded yet."""
    from PIL import Image as Pil

    picture = Pil.open(file, formats=formats())
    if picture.width * picture.height > MAX_PIXELS:
        raise Pil.DecompressionBombError
    return picture


@contextlib.contextmanager
def _careful(path: Path) -> Iterator[IO[bytes]]:
    """The file, with whatever a decoder raises as a FileError."""
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
    except Exception as error:  # Pillow's decoders raise many kinds
        hint = "`pip install pillow-heif` lets it be read" if head[4:8] == b"ftyp" and head[8:] in HEIF_BRANDS else None
        raise FileError(
            f"'{path.name}' is not a picture that can be read",
            got=f"{type(error).__name__}: {error}"[:200],
            hint=None if _heif() else hint,
        ) from None


def picture_suffix(data: bytes) -> str | None:
    """The suffix of a kind of picture that is read here, told by its first 12 bytes; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[4:8] == b"ftyp":
        return ".avif" if data[8:12] in AVIF_BRANDS else ".heic" if data[8:12] in HEIF_BRANDS else None
    return next((suffix for magic, suffix in MAGIC if data.startswith(magic)), None)


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height of a picture that this program has encoded."""
    from PIL import Image as Pil

    with Pil.open(io.BytesIO(data), formats=formats()) as picture:
        return picture.size


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
    picture = read_picture(path)
    texts = picture.info if WORKFLOW_CHUNK in picture.info else _from_comment(picture)
    if WORKFLOW_CHUNK not in texts:
        raise FileError(
            f"'{path.name}' carries no workflow",
            hint="only files saved by Latentloom do, and not those saved with --no-metadata",
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


def _from_comment(picture: "Pil.Image") -> dict[str, str]:
    """The texts in EXIF's comment, as `encoding` writes them; none in the comment of another program."""
    comment = picture.getexif().get_ifd(0x8769).get(COMMENT, b"")
    text = comment if isinstance(comment, bytes) else str(comment).encode()
    try:
        if text.startswith(b"\0" * 8):
            text = zlib.decompressobj().decompress(text[8:], MAX_COMMENT)
        found = json.loads(text.removeprefix(b"ASCII\0\0\0"))
    except (ValueError, RecursionError, zlib.error):
        return {}
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}
