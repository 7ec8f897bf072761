"""Pictures from strangers: checked before they are decoded, made small, and written again without their metadata."""

from __future__ import annotations

import hashlib
import io
import struct
import threading
from contextlib import suppress
from functools import cache

import filetype
import numpy as np
import pi_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from domain.errors import TooLarge, UnreadableImage
from domain.types import ImageRef

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 25_000_000
MAX_SIDE = 1024
QUALITY = 90

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF")
"""The decoders that strangers' bytes may reach."""

_DECODING = threading.BoundedSemaphore(2)
"""A picture of 25 megapixels takes 100 MB and more while it is decoded; callers beyond the second wait."""

_ADVICE = "Send a JPEG, PNG, WebP, GIF or HEIC."
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, RuntimeError, struct.error)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def clean_picture(data: bytes) -> tuple[ImageRef, bytes]:
    """A JPEG of at most 1,024 pixels a side, upright, sRGB-like, without metadata; the same bytes in give the same out.

    Of an animation the first frame is taken; transparency becomes white.

    Raises:
        TooLarge: more than 20 MB or 25 megapixels, found out without decoding.
        UnreadableImage: not a picture, or a broken one; the message says what it looks like.
    """
    if not data:
        raise UnreadableImage(f"The picture is an empty file (0 bytes). {_ADVICE}")
    if len(data) > MAX_BYTES:
        raise TooLarge(f"The picture has {len(data) / 2**20:.0f} MB; image too large (max 20 MB). Send a smaller one.")
    _prepare()
    try:
        with _DECODING, Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_size(opened.size)
            upright = _upright(opened)
    except _BOMB:
        raise TooLarge("The picture is too large: image too large (max 25 Mpx). Send a smaller one.") from None
    except UnidentifiedImageError:
        raise UnreadableImage(f"That file is {_what(data)}, not a picture that can be read. {_ADVICE}") from None
    except _BROKEN:
        raise UnreadableImage(f"The picture is broken or cut off and cannot be decoded. {_ADVICE}") from None
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=QUALITY)
    cleaned = out.getvalue()
    return ImageRef(hashlib.sha256(cleaned).hexdigest(), "image/jpeg", *upright.size), cleaned


@cache
def _prepare() -> None:
    """Load the decoders; iPhones send HEIC, which Pillow leaves to others."""
    Image.init()
    pi_heif.register_heif_opener()


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise TooLarge(f"The picture has {width} × {height} pixels; image too large (max 25 Mpx). Send a smaller one.")


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


def _what(data: bytes) -> str:
    """What the first bytes look like, in words."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html")) or b"<body" in head:
        return "a web page (HTML)"
    if b"<svg" in head:
        return "an SVG drawing"
    kind = filetype.guess(data)
    if kind is None:
        return "something else" if any(byte < 9 or 13 < byte < 32 for byte in data[:512]) else "plain text"
    family, name = kind.mime.partition("/")[0], kind.extension.upper()
    named = {
        "image": f"a {name} picture of a kind that is not taken, or cut off",
        "video": "a video",
        "audio": "a sound",
    }
    return named.get(family, f"a file of type {name}")
