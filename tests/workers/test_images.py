"""Pictures from strangers: refused by name, or made plain."""

from __future__ import annotations

import base64
import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from answer.catalogue import texts
from answer.words import explain
from domain.errors import MoodtapeError, TooLarge, UnreadableImage
from workers.client.images import MAX_BYTES, MAX_SIDE, clean_picture

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAaFtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAAAAAERA"
    "AAIAAQAAAAABxQABAAAAAAAAAFIAAgAAAAACFwABAAAAAAAAAD4AAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQAC"
    "AABFeGlmAAAAAA5waXRtAAAAAAABAAAA4GlwcnAAAADAaXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAA"
    "AAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoDyAyWW6kkprm4CGgwIAAAMAMgAAAwACEGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0A"
    "BoAAAAAUaXNwZQAAAAAAAAB4AAAAyAAAABBwaXhpAAAAAAMICAgAAAAJaXJvdAMAAAAYaXBtYQAAAAAAAAABAAEFgQIDBIUAAAAaaXJlZgAAAAAAAAAO"
    "Y2RzYwACAAEAAQAAAJhtZGF0AAAATigBr1j5DpJf//mYHyP2O0/+RdDGxkwaOz8m0AAAElGagStMMX/meSiRM5NvWK1k484QQFtHovHVNIYYBDjf51Rm"
    "AARTACjxlgAAeYRRlQAAAAZFeGlmAABNTQAqAAAACAACAQ4AAgAAAA0AAAAmARIAAwAAAAEABgAAAAAAAHNlY3JldCBwbGFjZQAA"
)
"""A phone's photo: red left and blue right once it is turned as the camera says, with a secret in its metadata.

Nothing that is installed here can write HEIC, so it stands here as bytes.
"""


def photo(width: int = 200, height: int = 120) -> Image.Image:
    """Left half red, right half blue, with a little noise."""
    pixels = np.random.default_rng(0).integers(0, 40, (height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2, 0] += 200
    pixels[:, width // 2 :, 2] += 200
    return Image.fromarray(pixels)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bomb(side: int) -> bytes:
    """A valid black PNG of side × side pixels in a few kilobytes."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    squeeze, row = zlib.compressobj(9), b"\0" * (side // 8 + 1)
    rows = b"".join([*(squeeze.compress(row) for _ in range(side)), squeeze.flush()])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def opened(cleaned: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(cleaned))
    picture.load()
    return picture


@pytest.mark.parametrize("side", [5_001, 9_400, 10_000, 14_000])
def test_a_small_file_of_many_pixels_is_refused_with_flat_memory(side: int) -> None:
    """88 megapixels in 10 KB, and more than Pillow itself warns of, are refused without being decoded."""
    data = bomb(side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLarge, match=r"picture_(pixels|huge).* 25\)"):
        clean_picture(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


def test_a_file_of_many_bytes_is_refused() -> None:
    """More than 20 MB are not even looked at."""
    with pytest.raises(TooLarge, match=r"picture_bytes \(megabytes 20, most 20\)"):
        clean_picture(b"\xff\xd8" + b"\0" * MAX_BYTES)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "picture_empty"),
        (encoded(photo(), "JPEG")[:900], "picture_broken"),
        (encoded(photo(), "PNG")[:10], "picture_not_taken .name PNG"),
        (encoded(photo(), "PNG")[:2000], "picture_broken"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "kind svg"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "kind html"),
        (b"%PDF-1.7 ...", "file_of_type .name PDF"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 64, "picture_not_taken .name HEIC"),
        (HEIC[:500], "picture_not_taken .name HEIC"),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 64, "kind video"),
        (b"hello, this is no picture", "kind text"),
        (bytes(range(256)), "kind other"),
        (encoded(photo(), "TIFF"), "picture_not_taken .name TIF"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, named: str) -> None:
    """The error says what the file is instead, and what to send."""
    with pytest.raises(UnreadableImage, match=named) as caught:
        clean_picture(data)
    assert caught.value.http_status == 415
    assert "send a JPEG" in explain(caught.value, texts().speaker("en"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIC"])
def test_damaged_pictures_never_break_the_process(kind: str) -> None:
    """Random damage ends in a cleaned picture or in an error of ours, nothing else."""
    random = np.random.default_rng(7)
    whole = HEIC if kind == "HEIC" else encoded(photo(48, 48), kind)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 6):
            data[place] = random.integers(0, 256)
        try:
            clean_picture(bytes(data))
        except MoodtapeError:
            refused += 1
    assert refused < 60 or kind in ("PNG", "WEBP", "AVIF", "HEIC")


@pytest.mark.parametrize(
    "data",
    [
        encoded(photo().convert("CMYK"), "JPEG", quality=95),
        encoded(photo().convert("RGBA"), "PNG"),
        encoded(photo().quantize(64), "PNG"),
        encoded(photo().quantize(64), "GIF", save_all=True, append_images=[Image.new("P", (200, 120))]),
        encoded(photo(), "WEBP", save_all=True, append_images=[Image.new("RGB", (200, 120))], quality=95),
        encoded(photo(), "BMP"),
        encoded(photo(), "AVIF"),
        HEIC,
    ],
    ids=["cmyk", "alpha", "palette", "animated gif", "animated webp", "bmp", "avif", "heic"],
)
def test_every_kind_becomes_the_same_plain_picture(data: bytes) -> None:
    """Colour spaces, palettes and animations end as one JPEG of the first frame, red left and blue right."""
    ref, cleaned = clean_picture(data)
    picture = opened(cleaned)
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (200, 120))
    assert (ref.mime, ref.width, ref.height) == ("image/jpeg", 200, 120)
    left, right = picture.getpixel((40, 60)), picture.getpixel((160, 60))
    assert left[0] > 150 > left[2]
    assert right[2] > 150 > right[0]


def test_a_large_heic_is_refused_before_it_is_decoded() -> None:
    """Its header alone says how many pixels there would be; a phone's 48 million are decoded, here to find them missing."""
    size = HEIC.index(b"ispe") + 8
    with pytest.raises(TooLarge, match=r"picture_(pixels|huge).* 50\)"):
        clean_picture(HEIC[:size] + struct.pack(">II", 9_000, 6_000) + HEIC[size + 8 :])
    with pytest.raises(UnreadableImage, match="picture_broken"):
        clean_picture(HEIC[:size] + struct.pack(">II", 8_064, 6_048) + HEIC[size + 8 :])
    assert b"secret" in HEIC
    assert b"secret" not in clean_picture(HEIC)[1]


def test_sixteen_bits_keep_their_brightness() -> None:
    """A 16-bit picture is scaled, not cut off at 255."""
    pixels = np.full((40, 40), 32_768, np.uint16)
    _, cleaned = clean_picture(encoded(Image.fromarray(pixels), "PNG"))
    assert opened(cleaned).getpixel((20, 20)) == pytest.approx((128, 128, 128), abs=2)


def test_transparency_becomes_white() -> None:
    """What is see-through shows white paper, not black."""
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    _, cleaned = clean_picture(encoded(clear, "PNG"))
    assert opened(cleaned).getpixel((20, 20)) == (255, 255, 255)


def test_the_camera_note_is_obeyed_and_dropped() -> None:
    """A picture is turned upright; its place, comment and camera are gone."""
    note = Image.Exif()
    note[0x0112] = 6
    note[0x010F] = "a camera"
    note.get_ifd(0x8825)[1] = "N"
    data = encoded(photo(), "JPEG", exif=note, comment=b"a secret", icc_profile=b"a profile")
    ref, cleaned = clean_picture(data)
    picture = opened(cleaned)
    assert (ref.width, ref.height) == picture.size == (120, 200)
    assert not picture.getexif()
    assert b"secret" not in cleaned
    assert b"camera" not in cleaned
    assert not {"comment", "icc_profile", "exif"} & set(picture.info)


@pytest.mark.parametrize("made", [photo().convert("RGBA"), Image.fromarray(np.full((120, 200), 40_000, np.uint16))])
def test_the_camera_note_is_obeyed_whatever_the_colours(made: Image.Image) -> None:
    """See-through and 16-bit pictures are turned too."""
    note = Image.Exif()
    note[0x0112] = 6
    ref, _ = clean_picture(encoded(made, "PNG", exif=note))
    assert (ref.width, ref.height) == (120, 200)


def test_large_photos_are_made_small_the_same_way_each_time() -> None:
    """No side over 1,024 pixels; equal bytes in are equal bytes out, so a picture has one hash."""
    data = encoded(photo(3000, 2000), "JPEG")
    ref, cleaned = clean_picture(data)
    assert max(ref.width, ref.height) == MAX_SIDE
    assert clean_picture(data) == (ref, cleaned)


def test_a_phones_picture_of_48_megapixels_is_read() -> None:
    """A JPEG of 8,000 × 6,000 is decoded at a fraction; one of more than 50 megapixels is refused."""
    ref, _ = clean_picture(encoded(Image.new("RGB", (8_000, 6_000), "orange"), "JPEG"))
    assert (ref.width, ref.height) == (1024, 768)
    with pytest.raises(TooLarge, match=r"picture_pixels.* 50\)"):
        clean_picture(encoded(Image.new("RGB", (8_000, 6_400)), "JPEG"))


@pytest.mark.parametrize("lacking", [1, 2, 3])
def test_a_jpeg_that_lacks_its_last_bytes_is_read(lacking: int) -> None:
    """As copies that were broken off at the very end; one that lacks its lower half is still refused."""
    data = encoded(photo(), "JPEG")
    ref, _ = clean_picture(data[:-lacking])
    assert (ref.width, ref.height) == photo().size
    with pytest.raises(UnreadableImage, match="picture_broken"):
        clean_picture(data[: len(data) // 2])


def varieties() -> dict[str, tuple[bytes, str | tuple[int, int]]]:
    """Pictures as people have them, each with its right size or the reason why it is refused."""
    picture = photo(640, 480)
    turned = Image.Exif()
    turned[0x0112] = 6
    whole = encoded(picture, "JPEG")
    return {
        "progressive": (encoded(picture, "JPEG", progressive=True), (640, 480)),
        "two bytes less": (whole[:-2], (640, 480)),
        "two fifths less": (whole[: int(len(whole) * 0.6)], "picture_broken"),
        "more behind": (whole + b"junk" * 1000, (640, 480)),
        "turned": (encoded(picture, "JPEG", exif=turned), (480, 640)),
        "two in one": (encoded(picture, "MPO", save_all=True, append_images=[picture.rotate(90)]), (640, 480)),
        "strip": (encoded(Image.new("RGB", (8000, 1)), "PNG"), (1024, 1)),
        "bomb": (encoded(Image.new("1", (9400, 9400)), "PNG"), "picture_pixels"),
        "tiff": (encoded(picture, "TIFF"), "picture_not_taken"),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "not_a_picture"),
        "page": (b"<!DOCTYPE html><html></html>", "not_a_picture"),
        "heic cut": (HEIC[: len(HEIC) - 40], "picture_not_taken"),
    }


@pytest.mark.parametrize("name", varieties())
def test_further_pictures(name: str) -> None:
    """Read at its right size, or refused for its right reason."""
    data, right = varieties()[name]
    if isinstance(right, str):
        with pytest.raises((TooLarge, UnreadableImage), match=right):
            clean_picture(data)
    else:
        ref, _ = clean_picture(data)
        assert (ref.width, ref.height) == right
