"""Colour that files hold beside 8 bits of sRGB: profiles, 16 bits, AVIF and HEIC."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pil
from PIL import ImageCms
from profiles import ADOBE_RGB, DISPLAY_P3, SRGB, grey_profile, rgb_profile

from latentloom.engine.errors import FileError
from latentloom.engine.files import pictures
from latentloom.engine.files.colour_profiles import srgb_profile
from latentloom.engine.files.pictures import read_picture, read_pixels

PROFILES = {"Display P3": rgb_profile(DISPLAY_P3, 2.2), "Adobe RGB": rgb_profile(ADOBE_RGB, 2.19921875)}


def noise(size=(20, 30), channels=3, top=256, seed=0):
    return np.random.default_rng(seed).integers(0, top, (*size, channels))


@pytest.fixture
def put(tmp_path):
    def write(picture, name="picture.png", **options):
        if isinstance(picture, Pil.Image):
            picture.save(tmp_path / name, **options)
        else:
            (tmp_path / name).write_bytes(picture)
        return tmp_path / name

    return write


def levels(path):
    return read_pixels(path).pixels * 255


# Profiles


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("format", ["png", "jpg", "webp", "tiff", "avif"])
def test_a_profile_is_applied_as_littlecms_does(name, format, put):
    profile = PROFILES[name]
    picture = Pil.fromarray(noise().astype(np.uint8))
    path = put(picture, f"picture.{format}", icc_profile=profile)
    opened = Pil.open(path).convert("RGB")
    expected = ImageCms.profileToProfile(opened, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert np.array_equal(levels(path).round(), np.asarray(expected))
    assert np.abs(levels(path) - np.asarray(opened)).max() > 5


@pytest.mark.parametrize(("name", "expected"), [("Display P3", (215, 104, 40)), ("Adobe RGB", (226, 110, 54))])
def test_a_photo_of_a_phone_has_its_colours(name, expected, put):
    path = put(Pil.new("RGB", (4, 4), (200, 110, 60)), icc_profile=PROFILES[name])
    assert np.abs(levels(path)[0, 0] - expected).max() <= 1


def test_transparency_goes_round_the_profile(put):
    pixels = noise(channels=4).astype(np.uint8)
    path = put(Pil.fromarray(pixels), icc_profile=PROFILES["Display P3"])
    plain = put(Pil.fromarray(pixels[..., :3]), "plain.png", icc_profile=PROFILES["Display P3"])
    assert np.array_equal(levels(path)[..., 3].round(), pixels[..., 3])
    assert np.array_equal(levels(path)[..., :3], levels(plain))


@pytest.mark.parametrize("profile", [srgb_profile(), rgb_profile(SRGB, 2.2)], ids=["sRGB", "near it"])
def test_a_picture_in_srgb_stays_bit_for_bit_or_nearly(profile, put):
    pixels = noise().astype(np.uint8)
    change = np.abs(levels(put(Pil.fromarray(pixels), icc_profile=profile)).round() - pixels)
    assert change.max() <= (0 if profile == srgb_profile() else 10)  # its dark end is another curve


def test_a_grey_profile_changes_the_brightness(put):
    path = put(Pil.new("L", (2, 2), 128), icc_profile=grey_profile(1.0))
    assert levels(path).round()[0, 0].tolist() == [188, 188, 188]  # linear light 0.5 in sRGB


@pytest.mark.parametrize(
    ("mode", "profile", "why"),
    [
        ("RGB", b"no profile at all", ""),
        ("RGB", PROFILES["Display P3"][:200], ""),
        ("RGB", grey_profile(2.2), "a profile for L on a picture with RGB"),
        ("CMYK", PROFILES["Display P3"], "a profile for RGB on a picture with CMYK"),
    ],
)
def test_a_profile_that_cannot_be_used_is_told_and_the_picture_read(mode, profile, why, put):
    picture = Pil.fromarray(noise().astype(np.uint8)).convert(mode)
    found = read_pixels(put(picture, "picture.tiff", icc_profile=profile))
    assert found.profile_fault is not None
    assert why in found.profile_fault
    assert np.array_equal((found.pixels * 255).round(), np.asarray(picture.convert("RGB")))


# 16 bits


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(found, extra=b""):
    """A PNG of 16 bits, as its specification has it."""
    height, width, channels = found.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in found)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def deep_tiff(found, order):
    """An uncompressed TIFF 6.0 of 16 bits."""
    height, width, channels = found.shape
    data = found.astype(f"{order}u2").tobytes()
    depths = struct.pack(f"{order}{channels}H", *[16] * channels)
    fields = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, 8), (259, 3, 1, 1), (262, 3, 1, 2)]
    fields += [(273, 4, 1, 8 + len(depths)), (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data))]
    fields += [(338, 3, 1, 2)] if channels == 4 else []

    def field(tag, kind, count, value):
        where = struct.pack(f"{order}HH", value, 0) if (kind, count) == (3, 1) else struct.pack(f"{order}I", value)
        return struct.pack(f"{order}HHI", tag, kind, count) + where

    offset = 8 + len(depths) + len(data)
    directory = struct.pack(f"{order}H", len(fields)) + b"".join(field(*f) for f in fields) + b"\0" * 4
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", offset) + depths + data + directory


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_of_a_png_are_read_exactly(channels, put):
    found = noise(channels=channels, top=65536)
    read = read_pixels(put(deep_png(found))).pixels
    expected = found if channels > 2 else np.concatenate([found[..., :1].repeat(3, -1), found[..., 1:]], axis=-1)
    assert np.array_equal(np.rint(read * 65535), expected)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_of_a_tiff_are_read_exactly(channels, order, put):
    found = noise(channels=channels, top=65536)
    read = read_pixels(put(deep_tiff(found, order), "picture.tiff")).pixels
    assert np.array_equal(np.rint(read * 65535), found)


def test_a_deep_picture_is_turned_as_its_exif_says(put):
    found, exif = noise((4, 6), top=65536), Pil.Exif()
    exif[0x0112] = 6
    read = read_pixels(put(deep_png(found, chunk(b"eXIf", exif.tobytes()[6:])))).pixels
    assert np.array_equal(np.rint(read * 65535), np.rot90(found, -1))


def test_a_deep_picture_with_a_profile_keeps_its_fine_steps(put):
    ramp = np.linspace(20000, 21000, 400).astype(np.int64)[None, :, None].repeat(3, -1)  # four levels of 8 bits
    ramp = np.concatenate([ramp, ramp], axis=0)
    profile = PROFILES["Display P3"]
    packed = chunk(b"iCCP", b"test\0\0" + zlib.compress(profile))
    read = read_pixels(put(deep_png(ramp, packed))).pixels
    shallow = Pil.fromarray((ramp / 257).round().astype(np.uint8))
    expected = ImageCms.profileToProfile(shallow, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert np.abs(read * 255 - np.asarray(expected)).max() < 1.3
    assert len(np.unique(read[0, :, 0])) > 300
    assert (np.diff(read[0, :, 0]) >= -1e-6).all()


def test_a_damaged_deep_picture_is_refused(put):
    data = bytearray(deep_png(noise(top=65536)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(FileError, match="not a picture that can be read"):
        read_pixels(put(bytes(data)))


# AVIF and HEIC


@pytest.mark.parametrize("length", [1.0, 0.6, 0.2])
def test_avif_is_read_to_its_end_or_refused(length, put):
    out = io.BytesIO()
    Pil.fromarray(noise((64, 64)).astype(np.uint8)).save(out, "AVIF")
    path = put(out.getvalue()[: int(len(out.getvalue()) * length)], "picture.avif")
    if length == 1:
        assert read_pixels(path).pixels.shape == (64, 64, 3)
    else:
        with pytest.raises(FileError, match="not a picture that can be read"):
            read_pixels(path)


def heic():
    import pillow_heif

    out = io.BytesIO()
    picture = Pil.new("RGB", (64, 48), (200, 110, 60))
    pillow_heif.from_pillow(picture).save(out, quality=95)
    return out.getvalue()


def test_heic_is_read_where_its_library_is_installed(put):
    found = levels(put(heic(), "photo.heic"))
    assert found.shape == (48, 64, 3)
    assert np.abs(found - [200, 110, 60]).max() < 6


def test_heic_without_its_library_says_what_to_install(put, monkeypatch):
    path = put(heic(), "photo.heic")
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    pictures._heif.cache_clear()
    try:
        with pytest.raises(FileError) as caught:
            read_picture(path)
    finally:
        pictures._heif.cache_clear()
    assert caught.value.problem.hint == "`pip install pillow-heif` lets it be read"
