"""Picture files: what is refused, and what a saved picture carries."""

import io
import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image as Pil
from PIL.PngImagePlugin import PngInfo

from latentloom.engine.errors import FileError
from latentloom.engine.files.pictures import (
    MAX_MEMORY,
    MAX_PIXELS,
    RECORD_CHUNK,
    WORKFLOW_CHUNK,
    as_rgb,
    encode_png,
    read_making,
    read_picture,
    to_bytes,
)


def picture(mode="RGB", size=(40, 30)):
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), np.uint8)
    return Pil.fromarray(noise, "RGBA").convert(mode)


def encoded(format, image=None, **options):
    out = io.BytesIO()
    (image or picture()).save(out, format, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb_png(width, height):
    """A PNG of a few kilobytes that claims to be large."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


@pytest.fixture
def put(tmp_path):
    def write(data, name="picture.png"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_truncated_picture_is_refused_wherever_it_ends(format, put):
    data = encoded(format)
    for length in (len(data) * 2 // 3, len(data) // 3, 30, 9):
        with pytest.raises(FileError) as caught:
            read_picture(put(data[:length]))
        assert caught.value.problem.message == "'picture.png' is not a picture that can be read"


@pytest.mark.parametrize("data", [b"", b"\0" * 5000, b"GIF89a", b"<svg/>", b"\x89PNG\r\n\x1a\n", bytes(range(256))])
def test_what_is_no_picture_is_refused(data, put):
    with pytest.raises(FileError, match=r"'fake\.jpg' is not a picture that can be read"):
        read_picture(put(data, "fake.jpg"))


def test_a_file_that_would_start_another_program_is_refused(put):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file\n"
    with pytest.raises(FileError) as caught:
        read_picture(put(postscript))
    assert caught.value.problem.got.startswith("UnidentifiedImageError")


@pytest.mark.parametrize("format", ["PPM", "TGA", "ICO", "PCX", "DDS", "JPEG2000"])
def test_a_kind_of_picture_that_is_not_offered_is_refused(format, put):
    with pytest.raises(FileError, match="not a picture that can be read"):
        read_picture(put(encoded(format), "other.png"))


def test_a_flipped_byte_in_the_pixels_is_refused(put):
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(FileError, match="not a picture that can be read"):
        read_picture(put(bytes(data)))


@pytest.mark.parametrize("size", [(16_384, 16_384), (100_000, 100_000), (2**31 - 1, 2**31 - 1), (MAX_PIXELS + 1, 1)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(size, put):
    with pytest.raises(FileError) as caught:
        read_picture(put(bomb_png(*size)))
    assert caught.value.problem.message == "the picture is too large"
    assert caught.value.problem.expected == f"at most {MAX_PIXELS} pixels"


def test_a_picture_that_takes_more_memory_than_it_may_is_refused_before_it_is_unpacked(put):
    with pytest.raises(FileError) as caught:
        read_picture(put(bomb_png(13_377, 13_377)))
    problem = caught.value.problem
    assert problem.message == "the picture is too large to be read"
    assert problem.expected == f"at most {MAX_MEMORY} bytes of memory"
    assert problem.got == f"13377 x 13377 pixels, which take {13_377 * 13_377 * 20} bytes"


def test_a_picture_just_within_the_limit_is_read_on(put):
    with pytest.raises(FileError, match="not a picture that can be read"):  # there are no pixels behind the header
        read_picture(put(bomb_png(10_000, MAX_MEMORY // 20 // 10_000)))


MEASURE = """
import sys
from pathlib import Path
import numpy, PIL.ImageOps, PIL.PngImagePlugin, PIL.JpegImagePlugin, PIL.WebPImagePlugin, PIL.TiffImagePlugin
from latentloom.engine.files.pictures import as_rgb, memory_of, read_picture
peak = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
before = peak()
picture = read_picture(Path(sys.argv[1]))
pixels = as_rgb(picture)
picture.format = sys.argv[2]
print(peak() - before, memory_of(picture))
"""


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "LA"),
        ("PNG", "I;16"),
        ("WEBP", "RGBA"),
        ("TIFF", "F"),
        ("JPEG", "CMYK"),
    ],
)
def test_reading_takes_no_more_memory_than_was_estimated(format, mode, tmp_path):
    path, exif = tmp_path / "picture", Pil.Exif()
    exif[0x0112] = 6  # it is turned, too
    Pil.new(mode, (2048, 2048)).save(path, format, **({"exif": exif} if format != "TIFF" else {}))

    done = subprocess.run([sys.executable, "-c", MEASURE, path, format], capture_output=True, text=True, check=True)

    taken, estimated = map(int, done.stdout.split())
    assert 2048 * 2048 * 12 < taken <= estimated + 32 * 2**20


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "La", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV"])
def test_a_picture_is_converted_piece_by_piece_as_it_would_be_as_a_whole(mode):
    made = picture("RGBA", (30, 200)).convert("LA" if mode == "La" else "RGBA" if mode == "RGBa" else mode)
    made = made.convert(mode)
    whole = made.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode))
    wanted = np.asarray(whole.convert("RGBA" if "A" in whole.mode else "RGB"), np.float32) / np.float32(255)

    assert np.array_equal(as_rgb(made), wanted)


def test_a_bomb_of_text_is_refused(put):
    info = PngInfo()
    info.add_itxt("comment", "a" * 50_000_000, zip=True)
    with pytest.raises(FileError, match="not a picture that can be read"):
        read_picture(put(encoded("PNG", pnginfo=info)))


def test_no_error_quotes_a_whole_file(put):
    with pytest.raises(FileError) as caught:
        read_picture(put(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"x" * 5000)))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "I;16", "I;16B", "I", "F"])
def test_every_mode_without_alpha_becomes_rgb(mode, put):
    image = picture("L").convert("I").point(lambda v: v * 257).convert(mode) if mode.startswith("I") else picture(mode)
    pixels = as_rgb(read_picture(put(encoded("TIFF", image))))
    assert pixels.shape == (30, 40, 3)
    assert pixels.dtype == np.float32
    assert 0 <= pixels.min() < 0.1 < 0.9 < pixels.max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_every_mode_with_alpha_becomes_rgba(mode):
    assert as_rgb(picture("RGBA").convert(mode)).shape == (30, 40, 4)


def test_a_transparent_colour_of_a_palette_becomes_alpha(put):
    image = Pil.new("P", (2, 1), 0)
    image.putpixel((1, 0), 1)
    pixels = as_rgb(read_picture(put(encoded("GIF", image, transparency=1), "two.gif")))
    assert pixels[..., 3].tolist() == [[1, 0]]


def test_sixteen_bits_keep_their_precision(put):
    levels = np.array([[0, 1, 257, 65535]], np.uint16)
    pixels = as_rgb(read_picture(put(encoded("PNG", Pil.fromarray(levels)))))
    assert np.allclose(pixels[0, :, 0], levels[0] / 65535, atol=1e-8)


def test_numbers_that_are_not_finite_are_refused():
    levels = np.array([[0, np.nan, 1]], np.float32)
    with pytest.raises(FileError, match="the picture contains numbers that are not finite"):
        as_rgb(Pil.fromarray(levels))


def test_the_first_frame_of_an_animation_is_read(put):
    frames = [Pil.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    data = encoded("GIF", frames[0], save_all=True, append_images=frames[1:])
    assert as_rgb(read_picture(put(data, "moving.gif")))[0, 0, :3].tolist() == [1, 0, 0]


def test_a_picture_is_turned_as_its_exif_says(put):
    image, exif = Pil.new("RGB", (40, 20)), Pil.Exif()
    exif[0x0112] = 6
    assert read_picture(put(encoded("JPEG", image, exif=exif))).size == (20, 40)


def test_a_damaged_exif_does_no_harm(put):
    data = encoded("JPEG", picture(), exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert read_picture(put(data)).size == (40, 30)


def test_levels_are_rounded_to_the_nearest():
    assert to_bytes(np.float32([0, 0.4 / 255, 0.6 / 255, 1])).tolist() == [0, 0, 1, 255]


def test_a_saved_picture_reads_as_it_was(put):
    pixels = np.random.default_rng(2).integers(0, 256, (5, 7, 4)).astype(np.float32) / np.float32(255)
    assert np.array_equal(as_rgb(read_picture(put(encode_png(pixels)))), pixels)


def making(put, **texts):
    return read_making(put(encode_png(np.zeros((2, 2, 3), np.float32), texts)))


def test_a_saved_picture_carries_its_making(put):
    texts = {WORKFLOW_CHUNK: '{"name": "Grüße 円"}', RECORD_CHUNK: json.dumps({"seed": 7})}
    assert making(put, **texts) == ('{"name": "Grüße 円"}', {"seed": 7})


def test_a_large_workflow_leaves_the_picture_readable(put):
    text = json.dumps({"name": "x" * 3_000_000})
    assert making(put, **{WORKFLOW_CHUNK: text}) == (text, {})


def test_a_picture_without_a_workflow_says_so(put):
    with pytest.raises(FileError) as caught:
        making(put)
    assert caught.value.problem.message == "'picture.png' contains no workflow"
    assert caught.value.problem.hint == ("only files saved by Latentloom without --no-metadata contain one")


@pytest.mark.parametrize("record", ["{", "[1]", "7", "[" * 100_000, '"text"'])
def test_a_damaged_record_is_refused(record, put):
    with pytest.raises(FileError, match=r"the record in 'picture\.png' is damaged"):
        making(put, **{WORKFLOW_CHUNK: "{}", RECORD_CHUNK: record})
