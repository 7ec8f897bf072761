"""models.emotion.image: faces answered, everything else abstained from, broken pictures alone in their failure."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from domain.errors import InputError, MoodtapeError, UnreadableImage
from domain.types import EMOTIONS
from models.emotion import image as emotion_image
from models.emotion.image import FOLDER, NO_FACE, ImageMoodReader
from models.encoders.image import ImageEncoder, MoodNet
from models.parts import ImageReading

PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
SETTINGS = {"temperature": 1.0, "whole_threshold": 0.5, "box_threshold": 0.5, "mirror": True}
shipped = pytest.mark.skipif(
    not (FOLDER / "model.safetensors").is_file(), reason="the picture model is not trained here"
)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def credulous(face: float = 5.0) -> ImageMoodReader:
    """A reader of an untrained network that takes every box (or, below 0, none) for a face."""
    torch.manual_seed(0)
    net = MoodNet(ImageEncoder.from_name("test_efficientnet", pretrained=False), 32)
    torch.nn.init.zeros_(net.face.weight)
    torch.nn.init.constant_(net.face.bias, face)
    return ImageMoodReader(net, SETTINGS)


@pytest.fixture(scope="module")
def reader() -> ImageMoodReader:
    return ImageMoodReader.from_pretrained()


def test_a_broken_picture_fails_alone() -> None:
    """Errors stand in their places; the neighbours have the readings they would have had by themselves."""
    sound = PORTRAIT.read_bytes()
    reader = credulous()
    mixed = reader.read([b"nothing", sound, sound[:2000], sound])
    alone = reader.read([sound])[0]
    assert [isinstance(item, UnreadableImage) for item in mixed] == [True, False, True, False]
    assert isinstance(alone, ImageReading)
    for place in (1, 3):
        item = mixed[place]
        assert isinstance(item, ImageReading)
        assert np.allclose(item.probabilities, alone.probabilities, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 13, 128, 300])
def test_crops_go_through_in_powers_of_two(count: int) -> None:
    """Every crop once, in order, in few sizes."""
    cuts = list(emotion_image.pieces(count))
    assert [i for cut in cuts for i in range(count)[cut]] == list(range(count))
    assert {cut.stop - cut.start for cut in cuts} <= {2**n for n in range(8)}


def test_the_network_goes_to_the_device() -> None:
    """Encoder and heads lie where the reader was told."""
    reader = ImageMoodReader(credulous().net, SETTINGS, device="meta")
    assert {parameter.device.type for parameter in reader.net.parameters()} == {"meta"}


def test_no_pictures_give_no_readings() -> None:
    """An empty batch is no special case for the caller."""
    assert credulous().read([]) == []


def test_probabilities_are_a_distribution_over_the_faces_found() -> None:
    """Two faces of different sizes give one distribution, the larger one weighing more, and both boxes."""
    grey = np.array(Image.open(PORTRAIT).convert("L"))
    small = cv2.resize(grey[:, ::-1], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    scene = np.full((grey.shape[0], grey.shape[1] + small.shape[1]), 200, np.uint8)
    scene[:, : grey.shape[1]], scene[: small.shape[0], grey.shape[1] :] = grey, small
    reading = credulous().read([png(scene)])[0]
    assert isinstance(reading, ImageReading)
    assert reading.probabilities is not None
    assert reading.faces == len(reading.boxes) == 2
    assert reading.probabilities.shape == (len(EMOTIONS),)
    assert reading.probabilities.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_network_has_the_last_word_on_faces() -> None:
    """A box that the cascade proposes and the network denies is none; the reading says why it abstains."""
    reading = credulous(-5.0).read([PORTRAIT.read_bytes()])[0]
    assert reading == ImageReading(None, 0, abstained=NO_FACE)


def test_a_small_square_picture_is_a_face_by_itself() -> None:
    """A data set's 48-pixel crop is read whole, without the cascade, if the network takes it for a face."""
    reading = credulous().read([png(np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8))])[0]
    assert isinstance(reading, ImageReading)
    assert reading.boxes == ((0, 0, 48, 48),)


def test_boxes_are_in_pixels_of_the_picture_given() -> None:
    """A picture too large to be searched as it is still gets boxes in its own pixels."""
    large = Image.open(PORTRAIT).resize((2048, 2400))
    buffer = io.BytesIO()
    large.save(buffer, "JPEG")
    reading = credulous().read([buffer.getvalue()])[0]
    assert isinstance(reading, ImageReading)
    left, top, width, height = reading.boxes[0]
    assert left < 920 < left + width
    assert top < 760 < top + height


def test_why_names_regions_inside_the_face() -> None:
    """Weights fall, sum to at most one, and every region lies within the largest face."""
    reader = credulous()
    reading = reader.read([PORTRAIT.read_bytes()])[0]
    assert isinstance(reading, ImageReading)
    left, top, width, height = reading.boxes[0]
    regions = reader.why(PORTRAIT.read_bytes(), "joy")
    weights = [region["weight"] for region in regions]
    assert weights == sorted(weights, reverse=True)
    assert 0 < sum(weights) <= 1.001
    for region in regions:
        x, y, wide, high = region["box"]
        assert left - 1 <= x
        assert top - 1 <= y
        assert x + wide <= left + width + 1
        assert y + high <= top + height + 1


def test_why_refuses_what_it_cannot_explain() -> None:
    """An unknown label is the caller's mistake; a picture without a face has no regions."""
    with pytest.raises(InputError, match="no emotion called bliss"):
        credulous().why(PORTRAIT.read_bytes(), "bliss")
    assert credulous(-5.0).why(PORTRAIT.read_bytes(), "joy") == []


def test_many_crops_go_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer does not depend on how many pictures come at once."""
    rng = np.random.default_rng(1)
    pictures = [png(rng.integers(0, 256, (40, 40), dtype=np.uint8)) for _ in range(7)]
    reader = credulous()
    once = reader.read(pictures)
    monkeypatch.setattr(emotion_image, "BATCH", 3)
    assert _probabilities(reader.read(pictures)) == pytest.approx(_probabilities(once), abs=1e-4)


def _probabilities(readings: list[ImageReading | MoodtapeError]) -> np.ndarray:
    return np.stack([r.probabilities for r in readings if isinstance(r, ImageReading) and r.probabilities is not None])


def charts() -> list[bytes]:
    """Line, bar, pie, scatter, heat map and candles, as people post them."""
    rng = np.random.default_rng(3)
    pictures = []
    for kind in range(6):
        figure = Figure((6, 4))
        axes = figure.subplots()
        if kind == 0:
            axes.plot(np.cumsum(rng.normal(size=200)))
        elif kind == 1:
            axes.bar(range(9), rng.random(9))
        elif kind == 2:
            axes.pie(rng.random(5) + 0.1)
        elif kind == 3:
            axes.scatter(*rng.normal(size=(2, 200)))
        elif kind == 4:
            axes.imshow(rng.random((12, 12)))
        else:
            level = np.cumsum(rng.normal(size=40))
            axes.bar(range(39), np.abs(np.diff(level)) + 0.05, bottom=np.minimum(level[1:], level[:-1]))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        pictures.append(buffer.getvalue())
    return pictures


def written() -> list[bytes]:
    """Screenshots full of text, upright and wide, light and dark."""
    pictures = []
    for shape, paper in (((900, 500), 255), ((400, 700), 25), ((400, 400), 240), ((128, 128), 255)):
        picture = np.full((*shape, 3), paper, np.uint8)
        ink = (10, 10, 10) if paper > 100 else (240, 240, 240)
        for row in range(30, shape[0], 34):
            cv2.putText(
                picture, "BTC to the moon, hold 42", (8, row), cv2.FONT_HERSHEY_SIMPLEX, 0.8, ink, 2, cv2.LINE_AA
            )
        pictures.append(png(picture))
    return pictures


def plain() -> list[bytes]:
    """Noise, gradients, one colour, checks; small enough to be tried as crops, and large."""
    rng = np.random.default_rng(4)
    pictures = []
    for side in (48, 128, 400):
        ramp = np.tile(np.linspace(0, 255, side, dtype=np.uint8), (side, 1))
        checks = (np.indices((side, side)) // max(side // 8, 1)).sum(0) % 2 * 255
        pictures += [png(rng.integers(0, 256, (side, side), dtype=np.uint8)), png(ramp), png(checks.astype(np.uint8))]
        pictures.append(png(np.full((side, side), 128, np.uint8)))
    return pictures


@shipped
def test_the_shipped_model_abstains_where_there_is_no_face(reader: ImageMoodReader) -> None:
    """Charts, text and patterns: at least nine in ten are turned down, with the reason said."""
    readings = reader.read(charts() + written() + plain())
    reasons = [r.abstained for r in readings if isinstance(r, ImageReading)]
    assert len(reasons) == len(readings)
    assert reasons.count(NO_FACE) >= 0.9 * len(readings)


@shipped
def test_the_shipped_model_reads_a_portrait_small_and_large(reader: ImageMoodReader) -> None:
    """A portrait has one face, as a whole picture and as a tight crop of 128 and of 48 pixels."""
    image = Image.open(PORTRAIT).convert("L")
    first = reader.read([PORTRAIT.read_bytes()])[0]
    assert isinstance(first, ImageReading)
    assert first.faces == 1
    left, top, width, height = first.boxes[0]
    crop = image.crop((left, top, left + width, top + height))
    small = reader.read([png(np.asarray(crop.resize((side, side)))) for side in (128, 48)])
    assert [r.faces for r in small if isinstance(r, ImageReading)] == [1, 1]


@shipped
def test_the_shipped_model_is_small_and_says_what_it_was_made_of() -> None:
    """At most 12 MB of float16, with a card that names data, licences and figures."""
    assert (FOLDER / "model.safetensors").stat().st_size <= 12_000_000
    card = (FOLDER / "README.md").read_text()
    for word in ("muxspace", "FER2013", "terms of the original", "macro-F1", "hold-out"):
        assert word in card
