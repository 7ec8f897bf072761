"""An answer as a picture: what prices did after similar posts, and the mood. 900 × 600, PNG, a few milliseconds."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from answer.words import DISCLAIMER, facts, move
from domain.answer import Json

WIDTH, HEIGHT = 900, 600
PAPER, INK, GREY, GRID = (255, 255, 255), (28, 35, 43), (98, 110, 122), (229, 233, 238)
BAND, BLUE, ORANGE, FAINT, STEEL, PURPLE, PANE = (
    (213, 230, 243),
    (0, 98, 165),
    (196, 78, 0),
    (186, 200, 213),
    (142, 166, 188),
    (168, 70, 128),
    (243, 246, 249),
)
"""After Okabe and Ito: told apart with any kind of colour vision, and by line style as well."""

PLOT = (70, 128, 574, 508)
PANEL = (664, 128, 872, 508)
LEGEND = 545
TICKS = (1.0, 2.0, 2.5, 5.0, 10.0)
SHIFT = 4
MOST_LINES = 12
"""Matches that are drawn; more would hide the band."""
SQUEEZE = 4
"""zlib's level: 6 takes four times as long for 4 % fewer bytes."""
HOUR = 60
DASH = 14

Canvas = NDArray[np.uint8]
Color = tuple[int, int, int]


def draw(answer: Json) -> bytes:
    """The PNG: matched trajectories, mean, band and baseline on the left, the emotions on the right.

    An answer without trajectories shows the emotions and says why there are none.
    """
    canvas = np.full((HEIGHT, WIDTH, 3), PAPER[0], np.uint8)
    paths = answer["trajectories"]
    scale = _Scale(paths) if paths else None
    if scale is not None:
        _band(canvas, scale, paths)
        _curves(canvas, scale, paths)
    _bars(canvas, answer["emotions"])
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    said = facts(answer)
    _header(pen, said)
    if scale is None:
        _notice(pen, said)
    else:
        _axes(pen, scale, said)
        _legend(pen, said)
    _emotions(pen, answer["emotions"])
    _footer(pen, answer, said)
    return _png(np.asarray(picture))


class _Scale:
    """Minutes and percent to pixels. The range shows the band, the means, and the middle nine tenths of the matches."""

    def __init__(self, paths: Json) -> None:
        self.minutes = len(paths["mean"])
        rows = [paths["mean"], paths["low"], paths["high"], paths["baseline_mean"], [0.0]]
        values = np.concatenate([np.asarray(row, dtype=np.float64) for row in rows])
        matched = [m["change"] for m in paths["matches"] if m["change"]]
        spread = np.percentile(np.asarray(matched), (5, 95)) if matched else (0.0, 0.0)
        low, high = min(values.min(), spread[0]), max(values.max(), spread[1])
        room = max(0.06 * (high - low), 0.05)
        self.low, self.high = low - room, high + room

    def x(self, minute: NDArray[np.float64] | float) -> Any:
        left, _, right, _ = PLOT
        return left + np.asarray(minute) * (right - left) / (self.minutes - 1)

    def y(self, percent: NDArray[np.float64] | float) -> Any:
        _, top, _, bottom = PLOT
        return bottom - (np.asarray(percent) - self.low) * (bottom - top) / (self.high - self.low)

    def line(self, values: Sequence[float]) -> NDArray[np.int32]:
        """Points with a fraction of :data:`SHIFT` bits, as OpenCV takes them."""
        y = self.y(np.asarray(values, dtype=np.float64))
        points = np.stack([self.x(np.arange(len(values), dtype=np.float64)), y], axis=1)
        return np.round(points * (1 << SHIFT)).astype(np.int32)

    def ticks(self) -> list[float]:
        """Four to eight round percentages inside the range."""
        rough = (self.high - self.low) / 6
        power = 10.0 ** np.floor(np.log10(rough))
        step = next(t * power for t in TICKS if t * power >= rough)
        return [float(k * step) for k in range(int(np.ceil(self.low / step)), int(self.high // step) + 1)]


def _band(canvas: Canvas, scale: _Scale, paths: Json) -> None:
    """The band, with the grid over it."""
    outline = np.concatenate([scale.line(paths["low"]), scale.line(paths["high"])[::-1]])
    cv2.fillPoly(canvas, [outline], BAND, cv2.LINE_AA, SHIFT)
    left, top, right, bottom = PLOT
    for minute in range(0, scale.minutes, HOUR):
        x = round(float(scale.x(minute)))
        cv2.line(canvas, (x, top), (x, bottom), GRID, 1)
    for tick in scale.ticks():
        y = round(float(scale.y(tick)))
        cv2.line(canvas, (left, y), (right, y), GREY if tick == 0 else GRID, 1)


def _curves(canvas: Canvas, scale: _Scale, paths: Json) -> None:
    """Matches, baseline and mean; what leaves the plot is cut off at its edge."""
    left, top, right, bottom = PLOT
    view = canvas[top : bottom + 1, left : right + 1]
    origin = np.array([left, top], np.int32) << SHIFT

    def stroke(lines: Sequence[NDArray[np.int32]], color: Color, width: int) -> None:
        cv2.polylines(view, [line - origin for line in lines], False, color, width, cv2.LINE_AA, SHIFT)

    mean, baseline = scale.line(paths["mean"]), scale.line(paths["baseline_mean"])
    dashes = [baseline[k : k + DASH] for k in range(0, len(baseline), DASH + 10)]
    matched = [m["change"] for m in paths["matches"][:MOST_LINES] if m["change"]]
    stroke([scale.line(change)[::2] for change in matched], FAINT, 1)
    stroke(dashes, ORANGE, 2)
    stroke([mean], PAPER, 6)
    stroke([mean], BLUE, 3)


def _header(pen: ImageDraw.ImageDraw, said: dict[str, Any]) -> None:
    mood = f"mood: {said['label']}, {said['certainty']} %" if said["label"] else "no mood claimed"
    pen.text((30, 24), f"{said['symbol']}   {mood}" if said["symbol"] else mood.capitalize(), INK, _font(30))
    if said["hype"] is None:
        hype = f"Hype: no forecast: {said['hype_reason'] or 'not enough is known'}"
    else:
        usual = "" if said["base_rate"] is None else f" (usually {said['base_rate']} %)"
        hype = f"Hype: {said['hype']} % chance of unusual activity within {said['hype_minutes']} minutes{usual}"
    pen.text((30, 66), textwrap.shorten(_plain(hype), 104, placeholder=" ..."), GREY, _font(17))


def _axes(pen: ImageDraw.ImageDraw, scale: _Scale, said: dict[str, Any]) -> None:
    left, top, right, bottom = PLOT
    ticks = scale.ticks()
    digits = 0 if all(tick == round(tick) for tick in ticks) else 2 if ticks[1] - ticks[0] < 0.1 else 1
    for tick in ticks:
        sign = "+" if tick > 0 else "-" if tick < 0 else ""
        pen.text((left - 8, float(scale.y(tick))), f"{sign}{abs(tick):.{digits}f}", GREY, _font(14), anchor="rm")
    for minute in range(0, scale.minutes, HOUR):
        pen.text((float(scale.x(minute)), bottom + 8), str(minute), GREY, _font(14), anchor="ma")
    pen.text((left - 44, top - 22), "price change, percent", INK, _font(14))
    pen.text((right + 60, bottom + 28), "minutes after the post", INK, _font(14), anchor="ra")
    _ends(pen, scale, said)


def _ends(pen: ImageDraw.ImageDraw, scale: _Scale, said: dict[str, Any]) -> None:
    """Where mean and band end, beside the plot; a band's number that would touch the mean's is left out."""
    _, top, right, bottom = PLOT
    mean = min(max(float(scale.y(said["end"])), top), bottom)
    pen.text((right + 6, mean), _plain(move(said["end"])), BLUE, _font(15), anchor="lm")
    for end in (said["low"], said["high"]):
        y = min(max(float(scale.y(end)), top), bottom)
        if abs(y - mean) >= 18:
            pen.text((right + 6, y), _plain(move(end)), GREY, _font(13), anchor="lm")


def _legend(pen: ImageDraw.ImageDraw, said: dict[str, Any]) -> None:
    y = LEGEND
    pen.rectangle((70, y - 7, 94, y + 7), BAND)
    pen.text((100, y), f"{said['coverage']} % band", INK, _font(14), anchor="lm")
    pen.line((182, y, 206, y), BLUE, 3)
    pen.text((212, y), "mean", INK, _font(14), anchor="lm")
    pen.line((260, y, 268, y), ORANGE, 2)
    pen.line((275, y, 284, y), ORANGE, 2)
    pen.text((290, y), "usual", INK, _font(14), anchor="lm")
    pen.line((338, y, 362, y), FAINT, 2)
    pen.text((368, y), "matches", INK, _font(14), anchor="lm")


def _notice(pen: ImageDraw.ImageDraw, said: dict[str, Any]) -> None:
    left, top, right, bottom = PLOT
    pen.rounded_rectangle((left - 40, top, right, bottom), 10, PANE)
    middle = ((left - 40 + right) // 2, (top + bottom) // 2)
    pen.text((middle[0], middle[1] - 40), "No price trajectories", INK, _font(22), anchor="mm")
    reason = said["warnings"][0] if said["warnings"] else "No similar past post had a known outcome at that time."
    pen.multiline_text(
        middle, textwrap.fill(_plain(reason), 60), GREY, _font(16), anchor="ma", align="center", spacing=6
    )


def _bars(canvas: Canvas, emotions: Json) -> None:
    """One bar per emotion for both together; a ring marks what the words alone say, a diamond what the picture says."""
    left, _, right, _ = PANEL
    width = right - left
    for label, share, y in _rows(emotions):
        bar = round(y) + 30
        cv2.line(canvas, (left + 5, bar), (right - 5, bar), GRID, 10, cv2.LINE_AA)
        if share >= 0.01:
            end = left + 5 + round(share * (width - 10))
            cv2.line(
                canvas, (left + 5, bar), (end, bar), BLUE if label == emotions["label"] else STEEL, 10, cv2.LINE_AA
            )
        if emotions["text"]:
            _ring(canvas, left + 5 + emotions["text"][label] * (width - 10), bar)
        if emotions["image"]:
            _diamond(canvas, left + 5 + emotions["image"][label] * (width - 10), bar)
    if emotions["text"]:
        _ring(canvas, left + 6, LEGEND)
    if emotions["image"]:
        _diamond(canvas, left + 80, LEGEND)


def _rows(emotions: Json) -> list[tuple[str, float, float]]:
    """(label, probability, top in pixels), likeliest first."""
    ranked = sorted(emotions["probabilities"].items(), key=lambda item: -item[1])
    step = (PANEL[3] - PANEL[1]) / len(ranked)
    return [(label, share, PANEL[1] + 2 + step * row) for row, (label, share) in enumerate(ranked)]


def _emotions(pen: ImageDraw.ImageDraw, emotions: Json) -> None:
    left, top, right, _ = PANEL
    pen.text((left, top - 22), "mood, percent", INK, _font(14))
    for label, share, y in _rows(emotions):
        color = INK if label == emotions["label"] else GREY
        pen.text((left, y), label, color, _font(16))
        pen.text((right, y), f"{100 * share:.0f}", color, _font(16), anchor="ra")
    if emotions["text"]:
        pen.text((left + 18, LEGEND), "words", INK, _font(14), anchor="lm")
    if emotions["image"]:
        pen.text((left + 92, LEGEND), "picture", INK, _font(14), anchor="lm")


def _ring(canvas: Canvas, x: float, y: int) -> None:
    cv2.circle(canvas, (round(x), y), 6, PAPER, -1, cv2.LINE_AA)
    cv2.circle(canvas, (round(x), y), 5, ORANGE, 2, cv2.LINE_AA)


def _diamond(canvas: Canvas, x: float, y: int) -> None:
    for size, color in ((9, PAPER), (7, PURPLE)):
        corners = [(round(x) + dx, y + dy) for dx, dy in ((0, -size), (size, 0), (0, size), (-size, 0))]
        cv2.fillPoly(canvas, [np.array(corners, np.int32)], color, cv2.LINE_AA)


def _footer(pen: ImageDraw.ImageDraw, answer: Json, said: dict[str, Any]) -> None:
    pen.line((30, 566, WIDTH - 28, 566), GRID)
    source = f"{said['windows']} independent windows, " if said["symbol"] else ""
    note = f"{source}models {answer['revision'][:12]}, trained on data until {answer['trained_until'][:10]}"
    pen.text((30, 574), f"moodtape: {note}", GREY, _font(13))
    pen.text((WIDTH - 28, 574), DISCLAIMER, INK, _font(13), anchor="ra")


def _png(pixels: Canvas) -> bytes:
    """A PNG of few colours, a third of the bytes of true colour."""
    table, palette = _palette()
    red, green, blue = (pixels[..., k].astype(np.uint16) >> 3 for k in range(3))
    picture = Image.fromarray(table[red << 10 | green << 5 | blue])
    picture.putpalette(palette)
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=SQUEEZE)
    return out.getvalue()


@cache
def _palette() -> tuple[Canvas, bytes]:
    """uint8[32768], from 5 bits of red, green and blue to the nearest colour: every ink at a few strengths on paper."""
    shares = np.linspace(0.0, 1.0, 6)[:, None]
    inks, grounds = (INK, GREY, GRID, BLUE, ORANGE, FAINT, STEEL, PURPLE, BAND, PANE), (PAPER, BAND, FAINT)
    mixed = [np.asarray(ink) * shares + np.asarray(ground) * (1 - shares) for ink in inks for ground in grounds]
    colors = np.unique(np.round(np.concatenate(mixed)).astype(np.uint8), axis=0)
    levels = np.arange(32)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3) * 255 / 31
    far = (cube**2).sum(1)[:, None] - 2 * cube @ colors.T + (colors.astype(float) ** 2).sum(1)
    return far.argmin(1).astype(np.uint8), colors.tobytes()


_SPELLED = str.maketrans({"–": "-", "−": "-", "—": "-", "…": "...", "“": '"', "”": '"', "’": "'", "·": "-"})
"""Pillow's face has no glyphs for these."""


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own face (Aileron), so that no machine lacks it."""
    return ImageFont.load_default(size)


def _plain(text: str) -> str:
    """Without letters that the face lacks."""
    return "".join(c if " " <= c <= "~" else "?" for c in text.translate(_SPELLED))
