"""Find faces in a picture, eyes brought level: OpenCV's cascades propose, the mood network confirms.

The cascades come inside the opencv wheel, so nothing is fetched. They find most upright faces and also some in clouds and
charts; :class:`models.emotion.image.ImageMoodReader` drops those by the network's face-or-not head. A cascade's box frames
a face just as the training pictures do (its width is .98 of theirs, the median of 300), so crops are cut to the box.
"""

from __future__ import annotations

import io
import math
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domain.errors import UnreadableImage, WeightsError
from domain.reasons import Reason
from models.encoders.image import CROP

Grey = NDArray[np.uint8]
Box = tuple[int, int, int, int]

CUT_SIDE = 160
"""Pixels up to which a picture is most likely a cut-out face already, as in data sets and avatars."""

FORMATS = ("JPEG", "PNG")
_READ_SIDE = 1280
_SEARCH_SIDE = 480
_MOST = 12
_STEEPEST = math.radians(30)


@dataclass(frozen=True, slots=True)
class Picture:
    """``grey``: uint8 (h, w), at most 1280 pixels long; ``scale``: pixels of the picture given per pixel of ``grey``."""

    grey: Grey
    scale: float


@dataclass(frozen=True, slots=True)
class Face:
    """``box``: left, top, width, height in pixels of ``Picture.grey``; ``crop``: uint8 (CROP, CROP), eyes level."""

    box: Box
    crop: Grey


def decode(data: bytes) -> Picture:
    """A stored picture to grey pixels. What a stranger sent was checked, turned and flattened before it was stored.

    Raises:
        UnreadableImage: the bytes are no picture any more.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        image.draft("L", (_READ_SIDE, _READ_SIDE))
        grey = image.convert("L")
        grey.thumbnail((_READ_SIDE, _READ_SIDE))
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, OverflowError):
        raise UnreadableImage(Reason("picture_broken")) from None
    pixels = np.asarray(grey, dtype=np.uint8)
    return Picture(pixels, max(width, height) / max(pixels.shape))


def fit(grey: Grey) -> Grey:
    """Any grey picture resized to (CROP, CROP), by area when it shrinks and bilinear when it grows."""
    how = cv2.INTER_AREA if min(grey.shape) > CROP else cv2.INTER_LINEAR
    return _grey(cv2.resize(grey, (CROP, CROP), interpolation=how))


def whole(grey: Grey) -> Face | None:
    """The picture itself as a face crop, if size and shape allow that it is one.

    Up to ``CUT_SIDE`` pixels any face's shape will do (it is stretched to a square, as in training); up to 512 pixels the
    picture must be nearly square itself.
    """
    height, width = grey.shape
    slim = max(height, width) / min(height, width)
    if max(height, width) <= CUT_SIDE:
        fits = min(height, width) >= 16 and slim <= 3
    else:
        fits = max(height, width) <= 512 and slim <= 1.34
    return Face((0, 0, width, height), fit(grey)) if fits else None


class FaceFinder:
    """Proposes faces, at most 12 in one picture, largest first; same picture, same faces. Safe to share by threads."""

    def __init__(self) -> None:
        if not hasattr(cv2, "CascadeClassifier"):
            raise WeightsError(f"OpenCV {cv2.__version__} has no face finder; install opencv-python-headless 4.")
        folder = Path(cv2.__file__).parent / "data"
        self._cascades = [
            cv2.CascadeClassifier(str(folder / f"haarcascade_{name}.xml"))
            for name in ("frontalface_alt2", "frontalface_default", "profileface")
        ]
        self._eyes = cv2.CascadeClassifier(str(folder / "haarcascade_eye_tree_eyeglasses.xml"))
        self._lock = threading.Lock()

    def find(self, grey: Grey) -> list[Face]:
        """Proposed faces of a grey picture, uint8 (h, w); the first cascade that finds any decides."""
        scale = _SEARCH_SIDE / max(grey.shape)
        if min(grey.shape) * scale < 40:
            return []
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        seen = grey
        if scale < 1 or scale > 2:
            seen = _grey(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=how))
        scale = max(seen.shape) / max(grey.shape)
        seen = _grey(cv2.equalizeHist(seen))
        with self._lock:
            boxes = self._boxes(seen)
            return [self._face(grey, tuple(round(v / scale) for v in box)) for box in boxes]

    def _boxes(self, seen: Grey) -> list[Box]:
        least = max(24, min(seen.shape) // 16)
        for cascade, neighbours in zip(self._cascades, (3, 5, 5), strict=True):
            boxes = cascade.detectMultiScale(seen, 1.1, neighbours, minSize=(least, least))
            if len(boxes):
                ordered = sorted((tuple(int(v) for v in box) for box in boxes), key=lambda b: (-b[2], b))
                return _apart(ordered)[:_MOST]
        return []

    def _face(self, grey: Grey, box: Any) -> Face:
        return Face(box, cut(grey, box, self._slope(cut(grey, box, 0.0))))

    def _slope(self, crop: Grey) -> float:
        """Angle of the line through both eyes in radians, 0 where two eyes are not found."""
        seen = cv2.resize(crop[: CROP * 6 // 10], None, fx=1.5, fy=1.5, interpolation=cv2.INTER_LINEAR)
        eyes = self._eyes.detectMultiScale(seen, 1.1, 3, minSize=(CROP // 6, CROP // 6))
        if len(eyes) != 2:
            return 0.0
        (x1, y1), (x2, y2) = sorted((float(x + w / 2), float(y + h / 2)) for x, y, w, h in eyes)
        if x2 - x1 < 0.3 * CROP:
            return 0.0
        angle = math.atan2(y2 - y1, x2 - x1)
        return angle if abs(angle) <= _STEEPEST else 0.0


def cut(grey: Grey, box: Box, angle: float) -> Grey:
    """The box turned by ``angle`` radians about its middle, uint8 (CROP, CROP); beyond the picture its edge goes on."""
    left, top, width, height = box
    side = max(width, height)
    room = round(side * 0.25)
    x, y = left + width // 2 - side // 2 - room, top + height // 2 - side // 2 - room
    full = side + 2 * room
    above, before = max(0, -y), max(0, -x)
    below, after = max(0, y + full - grey.shape[0]), max(0, x + full - grey.shape[1])
    padded = cv2.copyMakeBorder(grey, above, below, before, after, cv2.BORDER_REPLICATE)
    patch = padded[y + above : y + above + full, x + before : x + before + full]
    target = round(CROP * full / side)
    how = cv2.INTER_AREA if full > target else cv2.INTER_LINEAR
    patch = cv2.resize(patch, (target, target), interpolation=how)
    if angle:
        turn = cv2.getRotationMatrix2D((target / 2, target / 2), math.degrees(angle), 1.0)
        patch = cv2.warpAffine(patch, turn, (target, target), borderMode=cv2.BORDER_REPLICATE)
    start = (target - CROP) // 2
    return np.ascontiguousarray(patch[start : start + CROP, start : start + CROP])


def _grey(pixels: Any) -> Grey:
    return np.asarray(pixels, dtype=np.uint8)


def _apart(boxes: list[Any]) -> list[Box]:
    kept: list[Box] = []
    for box in boxes:
        if all(_overlap(box, other) < 0.3 for other in kept):
            kept.append(box)
    return kept


def _overlap(a: Box, b: Box) -> float:
    """Shared area over the smaller box's area."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(wide, 0) * max(high, 0) / min(a[2] * a[3], b[2] * b[3])
