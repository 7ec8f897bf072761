"""An answer as a picture: what prices did after similar posts, and the mood. 900 × 600, PNG, a few milliseconds."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from answer.catalogue import FALLBACK, Say, texts
from answer.words import Facts, facts, hype_line, move, sentence
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


def draw(answer: Json, say: Say | None = None) -> bytes:
    """The PNG: the band with its median, matches and their control on the left, the emotions on the right.

    An answer without trajectories shows the emotions and says why there are none. ``say`` is English unless given.
    """
    say = say or texts().speaker(FALLBACK)
    canvas = np.full((HEIGHT, WIDTH, 3), PAPER[0], np.uint8)
    paths = answer["trajectories"]
    scale = _Scale(paths) if paths else None
    if scale is not None:
        _band(canvas, scale, paths)
        _curves(canvas, scale, paths)
    emotions, said = answer["emotions"], facts(answer)
    legend = _mood_legend(emotions, say)
    _bars(canvas, emotions, legend)
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    _header(pen, said, say)
    if scale is None:
        _notice(pen, said, say)
    else:
        _axes(pen, scale, said, say)
        _legend(pen, said, say)
    _emotions(pen, emotions, legend, say)
    _footer(pen, answer, said, say)
    return _png(np.asarray(picture))


class _Scale:
    """Minutes and percent to pixels. The range shows band, control, and the middle nine tenths of the matches."""

    def __init__(self, paths: Json) -> None:
        self.minutes = len(paths["median"])
        rows = [paths["median"], paths["low"], paths["high"], paths["control_mean"] or [0.0], [0.0]]
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
    """Matches thin, the control of random windows dashed, the median bold; what leaves the plot is cut off at its edge."""
    left, top, right, bottom = PLOT
    view = canvas[top : bottom + 1, left : right + 1]
    origin = np.array([left, top], np.int32) << SHIFT

    def stroke(lines: Sequence[NDArray[np.int32]], color: Color, width: int) -> None:
        cv2.polylines(view, [line - origin for line in lines], False, color, width, cv2.LINE_AA, SHIFT)

    matched = [m["change"] for m in paths["matches"][:MOST_LINES] if m["change"]]
    stroke([scale.line(change)[::2] for change in matched], FAINT, 1)
    if paths["control_mean"]:
        control = scale.line(paths["control_mean"])
        stroke([control[k : k + DASH] for k in range(0, len(control), DASH + 10)], ORANGE, 2)
    median = scale.line(paths["median"])
    stroke([median], PAPER, 7)
    stroke([median], BLUE, 4)


def _header(pen: ImageDraw.ImageDraw, said: Facts, say: Say) -> None:
    mood = say("chart-no-mood")
    if said["label"]:
        mood = say("chart-mood", label=say(f"emotion-{said['label']}"), certainty=said["certainty"])
    pen.text((30, 24), _plain(f"{said['symbol']}   {mood}" if said["symbol"] else mood), INK, _font(30))
    pen.text(
        (30, 66), textwrap.shorten(_plain(hype_line(said, say, brief=True)), 104, placeholder=" ..."), GREY, _font(17)
    )


def _axes(pen: ImageDraw.ImageDraw, scale: _Scale, said: Facts, say: Say) -> None:
    left, top, _, bottom = PLOT
    ticks = scale.ticks()
    digits = 0 if all(tick == round(tick) for tick in ticks) else 2 if ticks[1] - ticks[0] < 0.1 else 1
    for tick in ticks:
        sign = "+" if tick > 0 else "-" if tick < 0 else ""
        pen.text((left - 8, float(scale.y(tick))), f"{sign}{abs(tick):.{digits}f}", GREY, _font(14), anchor="rm")
    for minute in range(0, scale.minutes, HOUR):
        pen.text((float(scale.x(minute)), bottom + 8), str(minute), GREY, _font(14), anchor="ma")
    pen.text((left - 44, top - 22), _plain(say("chart-change")), INK, _font(14))
    _ends(pen, scale, said, say)


def _ends(pen: ImageDraw.ImageDraw, scale: _Scale, said: Facts, say: Say) -> None:
    """Where median and band end, beside the plot; a band's number that would touch the median's is left out."""
    _, top, right, bottom = PLOT
    median = min(max(float(scale.y(said["median"])), top), bottom)
    pen.text((right + 6, median), _plain(move(said["median"], say)), BLUE, _font(15), anchor="lm")
    for end in (said["low"], said["high"]):
        y = min(max(float(scale.y(end)), top), bottom)
        if abs(y - median) >= 18:
            pen.text((right + 6, y), _plain(move(end, say)), GREY, _font(13), anchor="lm")


def _legend(pen: ImageDraw.ImageDraw, said: Facts, say: Say) -> None:
    """Band, median, matches and control, one after another, each as wide as its words."""
    x, y, font = 70.0, LEGEND, _font(14)
    for key in ("band", "median", "matches", "control"):
        if key == "control" and said["control_end"] is None:
            continue
        if key == "band":
            pen.rectangle((x, y - 7, x + 24, y + 7), BAND)
        elif key == "control":
            pen.line((x, y, x + 8, y), ORANGE, 2)
            pen.line((x + 15, y, x + 24, y), ORANGE, 2)
        else:
            pen.line((x, y, x + 24, y), *((BLUE, 4) if key == "median" else (FAINT, 2)))
        words = _plain(say(f"chart-{key}", coverage=said["coverage"]) if key == "band" else say(f"chart-{key}"))
        pen.text((x + 30, y), words, INK, font, anchor="lm")
        x += 46 + font.getlength(words)


def _notice(pen: ImageDraw.ImageDraw, said: Facts, say: Say) -> None:
    left, top, right, bottom = PLOT
    pen.rounded_rectangle((left - 40, top, right, bottom), 10, PANE)
    middle = ((left - 40 + right) // 2, (top + bottom) // 2)
    pen.text((middle[0], middle[1] - 40), _plain(say("chart-no-paths")), INK, _font(22), anchor="mm")
    reason = sentence(said["warnings"][0], say) if said["warnings"] else say("paths-none")
    pen.multiline_text(
        middle, textwrap.fill(_plain(reason), 60), GREY, _font(16), anchor="ma", align="center", spacing=6
    )


def _mood_legend(emotions: Json, say: Say) -> dict[str, tuple[float, str]]:
    """Where the marks of words and picture stand in the legend, and what is written beside them."""
    x, found = float(PANEL[0]), {}
    for part, key in (("text", "chart-words"), ("image", "chart-picture")):
        if emotions[part]:
            found[part] = (x, _plain(say(key)))
            x += 44 + _font(14).getlength(found[part][1])
    return found


def _bars(canvas: Canvas, emotions: Json, legend: dict[str, tuple[float, str]]) -> None:
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
    for part, (x, _) in legend.items():
        (_ring if part == "text" else _diamond)(canvas, x + 8, LEGEND)


def _rows(emotions: Json) -> list[tuple[str, float, float]]:
    """(label, probability, top in pixels), likeliest first."""
    ranked = sorted(emotions["probabilities"].items(), key=lambda item: -item[1])
    step = (PANEL[3] - PANEL[1]) / len(ranked)
    return [(label, share, PANEL[1] + 2 + step * row) for row, (label, share) in enumerate(ranked)]


def _emotions(pen: ImageDraw.ImageDraw, emotions: Json, legend: dict[str, tuple[float, str]], say: Say) -> None:
    left, top, right, _ = PANEL
    pen.text((left, top - 22), _plain(say("chart-moods")), INK, _font(14))
    for label, share, y in _rows(emotions):
        color = INK if label == emotions["label"] else GREY
        pen.text((left, y), _plain(say(f"emotion-{label}")), color, _font(16))
        pen.text((right, y), f"{100 * share:.0f}", color, _font(16), anchor="ra")
    for x, words in legend.values():
        pen.text((x + 20, LEGEND), words, INK, _font(14), anchor="lm")


def _ring(canvas: Canvas, x: float, y: int) -> None:
    cv2.circle(canvas, (round(x), y), 6, PAPER, -1, cv2.LINE_AA)
    cv2.circle(canvas, (round(x), y), 5, ORANGE, 2, cv2.LINE_AA)


def _diamond(canvas: Canvas, x: float, y: int) -> None:
    for size, color in ((9, PAPER), (7, PURPLE)):
        corners = [(round(x) + dx, y + dy) for dx, dy in ((0, -size), (size, 0), (0, size), (-size, 0))]
        cv2.fillPoly(canvas, [np.array(corners, np.int32)], color, cv2.LINE_AA)


def _footer(pen: ImageDraw.ImageDraw, answer: Json, said: Facts, say: Say) -> None:
    pen.line((30, 566, WIDTH - 28, 566), GRID)
    note = say("chart-models", revision=answer["revision"][:12], until=answer["trained_until"][:10])
    if said["symbol"]:
        note = f"{say('chart-windows', windows=said['windows'])}, {note}"
    pen.text((30, 574), _plain(f"moodtape: {note}"), GREY, _font(13))
    pen.text((WIDTH - 28, 574), _plain(say("not-advice")), INK, _font(13), anchor="ra")


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


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Source Sans Pro, from its package, so that no machine lacks it and every European language can be written."""
    return ImageFont.truetype(str(files("font_source_sans_pro") / "files" / "SourceSansPro-Regular.ttf"), size)


def _plain(text: str) -> str:
    """With a question mark for each character that the face lacks."""
    return "".join(c if _drawn(c) else "?" for c in text)


@lru_cache(maxsize=4096)
def _drawn(character: str) -> bool:
    face = _font(20)
    return character == " " or bytes(face.getmask(character)) != bytes(face.getmask("\U000f0000"))
