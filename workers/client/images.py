"""Pictures from strangers: checked before they are decoded, made small, and written again without their metadata."""

from __future__ import annotations

import hashlib
import io
import struct
import threading
from contextlib import nullcontext, suppress
from functools import cache

import filetype
import numpy as np
import pi_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from domain.errors import TooLarge, UnreadableImage
from domain.reasons import Reason
from domain.types import ImageRef

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 25_000_000
"""Most pixels that are decoded."""
MAX_PHONE_PIXELS = 50_000_000
"""Most pixels of what phones make, 48 and 50 million: a JPEG is decoded at a half, a quarter or an eighth of its size, a HEIC
picture whole, one at a time."""
MAX_SIDE = 1024
QUALITY = 90

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF")
"""The decoders that strangers' bytes may reach."""

_DECODING = threading.BoundedSemaphore(2)
"""A picture of 25 megapixels takes 100 MB and more while it is decoded; callers beyond the second wait."""

_DECODING_LARGE = threading.BoundedSemaphore(1)
"""A HEIC picture of 48 megapixels takes 330 MB for 1.7 s."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, RuntimeError, struct.error)
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def clean_picture(data: bytes) -> tuple[ImageRef, bytes]:
    """A JPEG of at most 1,024 pixels a side, upright, sRGB-like, without metadata; the same bytes in give the same out.

    Of an animation the first frame is taken; transparency becomes white.

    Raises:
        TooLarge: more than 20 MB, or 25 megapixels (JPEG and HEIC: 50), found out without decoding.
        UnreadableImage: not a picture, or a broken one; the message says what it looks like.
    """
    if not data:
        raise UnreadableImage(Reason("picture_empty"))
    if len(data) > MAX_BYTES:
        raise TooLarge(Reason("picture_bytes", {"megabytes": round(len(data) / 2**20), "most": MAX_BYTES // 2**20}))
    _prepare()
    try:
        upright = _read(data)
    except _BOMB:
        raise TooLarge(Reason("picture_huge", {"most": MAX_PIXELS // 10**6})) from None
    except UnidentifiedImageError:
        raise UnreadableImage(_what(data)) from None
    except _BROKEN:
        raise UnreadableImage(Reason("picture_broken")) from None
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=QUALITY)
    cleaned = out.getvalue()
    return ImageRef(hashlib.sha256(cleaned).hexdigest(), "image/jpeg", *upright.size), cleaned


def _read(data: bytes) -> Image.Image:
    """The picture, upright and small; a JPEG may lack its last bytes, as copies that were broken off do."""
    try:
        return _decoded(data)
    except UnidentifiedImageError:
        raise
    except OSError:
        if not data.startswith(_JPEG_BEGIN) or data.endswith(_JPEG_END):
            raise
    picture = _decoded(data + _JPEG_END)
    band = np.asarray(picture.crop((0, picture.height - max(1, picture.height // 20), picture.width, picture.height)))
    if (band == band[0, 0]).all():  # the decoder fills what is missing with one colour
        raise OSError("the lower part of the picture is missing")
    return picture


def _decoded(data: bytes) -> Image.Image:
    with _DECODING, Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        _check_size(opened)
        whole = opened.format == "HEIF" and opened.width * opened.height > MAX_PIXELS
        with _DECODING_LARGE if whole else nullcontext():
            return _upright(opened)


@cache
def _prepare() -> None:
    """Load the decoders; iPhones send HEIC, which Pillow leaves to others."""
    Image.init()
    pi_heif.register_heif_opener()


def _check_size(opened: Image.Image) -> None:
    width, height = opened.size
    most = MAX_PHONE_PIXELS if opened.format in ("JPEG", "MPO", "HEIF") else MAX_PIXELS
    if width * height > most:
        raise TooLarge(Reason("picture_pixels", {"width": width, "height": height, "most": most // 10**6}))


def _upright(opened: Image.Image) -> Image.Image:
    """Decoded small, in RGB, turned as the camera says."""
    opened.draft("RGB", (MAX_SIDE, MAX_SIDE))
    opened.load()
    picture = _eight_bits(opened)
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    picture.info |= opened.info
    with suppress(*_BROKEN, Warning):  # a damaged note of the camera does not make a picture unreadable
        ImageOps.exif_transpose(picture, in_place=True)
    picture.info.clear()
    return picture


def _eight_bits(picture: Image.Image) -> Image.Image:
    """In RGB, or in RGBA where something is see-through."""
    if picture.mode in ("RGB", "RGBA") and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        return _stretched(np.asarray(picture, dtype=np.float64)).convert("RGB")
    if picture.mode in ("LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture.convert("RGB")


def _stretched(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Image.Image:
    """Grey values of any range, black at the least and white at the greatest."""
    values = np.nan_to_num(values)
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low or 1.0) * 255.0
    return Image.fromarray(scaled.astype(np.uint8))


def _what(data: bytes) -> Reason:
    """What the bytes are instead, by their first ones."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html")) or b"<body" in head:
        return Reason("not_a_picture", {"kind": "html"})
    if b"<svg" in head:
        return Reason("not_a_picture", {"kind": "svg"})
    kind = filetype.guess(data)
    if kind is None:
        binary = any(byte < 9 or 13 < byte < 32 for byte in data[:512])
        return Reason("not_a_picture", {"kind": "other" if binary else "text"})
    family, name = kind.mime.partition("/")[0], kind.extension.upper()
    if family in ("video", "audio"):
        return Reason("not_a_picture", {"kind": family})
    return Reason("picture_not_taken" if family == "image" else "file_of_type", {"name": name})
