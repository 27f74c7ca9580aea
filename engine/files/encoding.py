"""Encodes saved pictures as PNG, JPEG, WebP or AVIF in sRGB, with the embedded workflow, record and label."""

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from latentloom.engine.errors import BadValueError
from latentloom.engine.files.checksums import sealed
from latentloom.engine.files.colour_profiles import srgb_profile
from latentloom.engine.files.deep_colour import deep_png
from latentloom.engine.files.pictures import encode_png, to_bytes

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image as Pil

    Floats = npt.NDArray[np.float32]

Form = Literal["png", "png 16 bits", "jpeg", "webp", "webp lossless", "avif"]
SUFFIXES: Mapping[Form, str] = {
    "png": ".png",
    "png 16 bits": ".png",
    "jpeg": ".jpg",
    "webp": ".webp",
    "webp lossless": ".webp",
    "avif": ".avif",
}
EXIF, COMMENT, SOFTWARE = 0x8769, 0x9286, 0x0131  # Exif 3.0: the Exif IFD, UserComment, Software
PLAIN, PACKED = b"ASCII\0\0\0", b"\0" * 8  # character codes of a UserComment; "undefined" is used for deflated text
ROOM, MOST_EXIF = 60_000, 65_533  # bytes of plain text and of all EXIF: a JPEG segment is at most 64 KiB


@dataclass(frozen=True, slots=True, eq=False)
class PictureToSave:
    """One picture [H, W, C] in 0..1 and its file format. `quality`, 1..100, is for jpeg, webp and avif."""

    pixels: "Floats"
    form: Form = "png"
    quality: int = 90


def encode(picture: PictureToSave, texts: Mapping[str, str], xmp: bytes | None = None) -> bytes:
    """Return the bytes of an sRGB file with embedded texts: iTXt chunks in PNG, else JSON in EXIF's UserComment.

    `xmp` is a packet of `labels`; the file is sealed with the checksum in it. JPEG has no transparency: the picture is
    composed over white. Raises BadValueError for a form that Pillow lacks.
    """
    return sealed(_encoded(picture, texts, xmp))


def _encoded(picture: PictureToSave, texts: Mapping[str, str], xmp: bytes | None) -> bytes:
    if picture.form == "png":
        return encode_png(picture.pixels, texts, icc_profile=srgb_profile(), xmp=xmp)
    if picture.form == "png 16 bits":
        one = np.zeros((1, 1, picture.pixels.shape[2]), np.float32)
        return deep_png(picture.pixels, encode_png(one, texts, icc_profile=srgb_profile(), xmp=xmp), compress=4)
    out, exif = io.BytesIO(), _exif(texts)
    _check_room(picture.form, exif)
    options = {"exif": exif, "icc_profile": srgb_profile(), "xmp": xmp or b"", **_options(picture)}
    _pillow(picture).save(out, _format(picture.form), **options)
    return out.getvalue()


def _pillow(picture: PictureToSave) -> "Pil.Image":
    from PIL import Image as Pil

    pixels = picture.pixels
    if picture.form == "jpeg" and pixels.shape[2] == 4:
        pixels = 1 + (pixels[..., :3] - 1) * pixels[..., 3:]
    return Pil.fromarray(to_bytes(pixels))


def _format(form: Form) -> str:
    from PIL import features

    if form == "avif" and not features.check("avif"):
        raise BadValueError("this Pillow cannot write AVIF", expected="Pillow 11.3 or newer", got="an older one")
    return {"jpeg": "JPEG", "avif": "AVIF"}.get(form, "WEBP")


def _options(picture: PictureToSave) -> dict[str, Any]:
    if picture.form == "webp lossless":
        return {"lossless": True, "exact": True, "quality": 80}  # the compression effort
    if picture.form == "jpeg":
        fine = picture.quality >= 90
        return {"quality": picture.quality, "subsampling": 0 if fine else 2, "optimize": True}
    return {"quality": picture.quality}


def _exif(texts: Mapping[str, str]) -> bytes:
    from PIL import Image as Pil

    exif = Pil.Exif()
    if texts:
        exif[SOFTWARE] = "Latentloom"
        exif.get_ifd(EXIF)[COMMENT] = _comment(json.dumps(dict(texts)).encode())
    return exif.tobytes()


def _comment(text: bytes) -> bytes:
    return PLAIN + text if len(text) < ROOM else PACKED + zlib.compress(text, 9)


def _check_room(form: Form, exif: bytes) -> None:
    if form == "jpeg" and len(exif) > MOST_EXIF:
        raise BadValueError(
            "the workflow is too large for a JPEG",
            expected=f"at most {MOST_EXIF} bytes, packed",
            got=str(len(exif)),
            hint="choose another format, or --no-metadata",
        )
