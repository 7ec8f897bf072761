"""The chart: size, weight, and that it shows what the answer says."""

from __future__ import annotations

import io

import numpy as np
import pytest
from msgspec import structs
from PIL import Image

from answer.catalogue import texts
from answer.chart import BAND, BLUE, HEIGHT, ORANGE, PLOT, WIDTH, draw
from domain.answer import to_answer
from tests.fakes.answers import verdict


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def area(png: bytes, color: tuple[int, int, int]) -> int:
    """Pixels of about that colour inside the plot."""
    left, top, right, bottom = PLOT
    inside = pixels(png)[top:bottom, left:right]
    return int((np.abs(inside - color).sum(-1) < 12).sum())


@pytest.mark.parametrize("seed", range(4))
def test_a_chart_is_small_and_of_the_promised_size(seed: int) -> None:
    """900 × 600 PNG in at most 60 KB, however wild the matches."""
    png = draw(to_answer(verdict(seed=seed, matches=40)))
    assert Image.open(io.BytesIO(png)).size == (WIDTH, HEIGHT) == (900, 600)
    assert png.startswith(b"\x89PNG")
    assert len(png) <= 60 * 1024


def test_the_median_and_a_wider_band_are_seen() -> None:
    """The median's line is there, and a band twice as wide covers more of the plot against the same range."""
    plain = to_answer(verdict(matches=1))
    narrow = to_answer(verdict(matches=1))
    paths = narrow["trajectories"]
    for side in ("low", "high"):
        paths[side] = [(a + b) / 2 for a, b in zip(paths["median"], paths[side], strict=True)]
    paths["matches"] = [{**paths["matches"][0], "change": plain["trajectories"]["high"]}] * 2
    plain["trajectories"]["matches"] = paths["matches"]
    assert area(draw(plain), BLUE) > 500
    assert area(draw(plain), BAND) > 1.3 * area(draw(narrow), BAND)


def test_without_trajectories_the_moods_are_drawn_and_the_reason_told() -> None:
    """No band, but a picture all the same."""
    png = draw(to_answer(structs.replace(verdict(), trajectories=None)))
    assert area(png, BAND) == 0
    assert len(np.unique(pixels(png).reshape(-1, 3), axis=0)) > 10


def test_the_median_is_bold_and_the_control_dashed() -> None:
    """The control's colour is seen only where there is one; the median covers more than its width in pixels."""
    answer = to_answer(verdict(matches=0))
    left, _, right, _ = PLOT
    assert area(draw(answer), BLUE) > 2.5 * (right - left)
    dashed = area(draw(answer), ORANGE)
    assert 0.5 * (right - left) < dashed < 2 * (right - left)
    answer["trajectories"]["control_mean"] = None
    assert area(draw(answer), ORANGE) == 0


def test_the_chart_speaks_its_readers_language() -> None:
    """Another language is another picture, and drawn as quickly."""
    answer = to_answer(verdict())
    assert draw(answer) == draw(answer, texts().speaker("en"))
    assert draw(answer) != draw(answer, texts().speaker("de"))


def test_odd_answers_are_drawn() -> None:
    """Matches whose steps are gone, flat prices, huge moves and letters the font lacks break nothing."""
    answer = to_answer(verdict(matches=2))
    answer["trajectories"]["matches"][0]["change"] = []
    for name in ("median", "low", "high", "matches_mean", "control_mean"):
        answer["trajectories"][name] = [0.0] * 256
    answer["trajectories"]["high"][-1] = 40_000.0
    answer["hype"]["symbol"] |= {"probability": None, "reason": {"code": "worded", "text": "比特币 – zu wenig Händel"}}
    assert len(draw(answer)) < 60 * 1024


def test_the_same_answer_gives_the_same_picture() -> None:
    """Nothing random, no clock."""
    answer = to_answer(verdict())
    assert draw(answer) == draw(answer)
