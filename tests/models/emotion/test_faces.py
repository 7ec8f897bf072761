"""models.emotion.faces: pictures are decoded safely, faces are proposed the same way each time, crops are level and framed."""

from __future__ import annotations

import io
import math
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from PIL import Image

from domain.errors import UnreadableImage, WeightsError
from models.emotion.faces import FaceFinder, cut, decode, whole
from models.encoders.image import CROP

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0" + b"\0" * 40, PORTRAIT.read_bytes()[:900]])
def test_broken_bytes_are_refused_with_one_sentence(data: bytes) -> None:
    """Whatever is no picture, or stops in the middle, raises UnreadableImage and nothing else."""
    with pytest.raises(UnreadableImage, match="picture_broken"):
        decode(data)


def test_an_opencv_without_the_finder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 5 has no cascades: said with what to install, not an AttributeError."""
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(WeightsError, match="opencv-python-headless 4"):
        FaceFinder()


def test_scale_leads_back_to_the_picture_given() -> None:
    """A large picture is read smaller, and the scale says by how much."""
    picture = decode(encoded(Image.new("L", (2600, 1300))))
    assert max(picture.grey.shape) <= 1300
    assert picture.scale * picture.grey.shape[1] == pytest.approx(2600, rel=0.01)


def test_a_portrait_has_one_face_around_its_eyes(finder: FaceFinder) -> None:
    """The box of a known portrait covers the face, and its crop has the agreed size."""
    faces = finder.find(decode(PORTRAIT.read_bytes()).grey)
    assert len(faces) == 1
    left, top, width, height = faces[0].box
    assert left < 230 < left + width
    assert top < 190 < top + height
    assert faces[0].crop.shape == (CROP, CROP)


def test_several_faces_are_found_each_once(finder: FaceFinder) -> None:
    """Two portraits side by side give two boxes that do not overlap, largest first."""
    grey = decode(PORTRAIT.read_bytes()).grey
    small = cv2.resize(grey, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    scene = np.full((grey.shape[0], grey.shape[1] + small.shape[1]), 200, np.uint8)
    scene[:, : grey.shape[1]] = grey
    scene[: small.shape[0], grey.shape[1] :] = small
    boxes = [face.box for face in finder.find(scene)]
    assert len(boxes) == 2
    assert boxes[0][2] > boxes[1][2]
    assert boxes[0][0] + boxes[0][2] < boxes[1][0]


def test_the_same_picture_gives_the_same_faces(finder: FaceFinder) -> None:
    """Nothing in the search is left to chance."""
    grey = decode(PORTRAIT.read_bytes()).grey
    first, second = finder.find(grey), finder.find(grey)
    assert [face.box for face in first] == [face.box for face in second]
    assert all(np.array_equal(a.crop, b.crop) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("shape", [(2, 2), (5, 900), (900, 5)])
def test_odd_shapes_hold_no_face(finder: FaceFinder, shape: tuple[int, int]) -> None:
    """Slivers and dots are answered, without a face."""
    assert finder.find(np.zeros(shape, np.uint8)) == []


def test_a_tilted_line_comes_out_level() -> None:
    """Cutting by the angle of two marks puts both at one height."""
    picture = np.zeros((200, 200), np.uint8)
    marks = [(70, 80), (130, 110)]
    for mark in marks:
        cv2.circle(picture, mark, 6, 255, -1)
    angle = math.atan2(marks[1][1] - marks[0][1], marks[1][0] - marks[0][0])
    crop = cut(picture, (50, 45, 100, 100), angle)
    rows = [np.argwhere(half > 128)[:, 0].mean() for half in (crop[:, : CROP // 2], crop[:, CROP // 2 :])]
    assert abs(rows[0] - rows[1]) < 2


def test_a_box_over_the_edge_goes_on_with_the_edge() -> None:
    """A face at the rim is completed by the rim's own grey, not by black."""
    crop = cut(np.full((50, 50), 90, np.uint8), (-10, 30, 40, 40), 0.0)
    assert crop.shape == (CROP, CROP)
    assert set(np.unique(crop)) == {90}


@pytest.mark.parametrize(
    ("shape", "tried"),
    [
        ((48, 48), True),
        ((128, 85), True),
        ((350, 350), True),
        ((12, 12), False),
        ((100, 200), False),
        ((900, 900), False),
    ],
)
def test_only_small_or_squarish_pictures_are_tried_whole(shape: tuple[int, int], tried: bool) -> None:
    """A data set's crop may be a face by itself; a wide or a large picture may not."""
    assert (whole(np.zeros(shape, np.uint8)) is not None) is tried
