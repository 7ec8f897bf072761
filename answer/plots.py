"""Smaller pictures: matched trajectories, and a scorecard by days."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from answer.chart import BLUE, FAINT, GREY, GRID, INK, ORANGE
from domain.answer import Json

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 900, 500, 70, 50, 880, 450


def draw_matches(result: Json) -> bytes:
    """PNG of 900 × 500 for what :func:`workers.client.match.match` gives."""
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    lines = [np.array(m["change"], dtype=np.float64) for m in result["matches"]]
    asked = np.array(result["asked"]) if result["asked"] else None
    everything = np.concatenate([*lines, *([asked] if asked is not None else []), np.zeros(1)])
    low, high = float(everything.min()), float(everything.max())
    room = max(high - low, 0.1)

    def plot(values: np.ndarray[tuple[int], np.dtype[np.float64]], color: tuple[int, int, int], thick: int) -> None:
        x = np.linspace(LEFT, RIGHT, len(values))
        y = BOTTOM - (values - low) / room * (BOTTOM - TOP)
        points = np.stack([x, y], 1).round().astype(np.int32)
        cv2.polylines(canvas, [points], False, color[::-1], thick, cv2.LINE_AA)

    for share in np.linspace(0, 1, 5):
        y = round(BOTTOM - share * (BOTTOM - TOP))
        cv2.line(canvas, (LEFT, y), (RIGHT, y), GRID[::-1], 1)
        _write(canvas, f"{low + share * room:+.2f} %", (6, y + 4), GREY)
    for line in lines:
        plot(line, FAINT, 1)
    if lines:
        plot(np.mean(lines, axis=0), BLUE, 2)
    if asked is not None:
        plot(asked, ORANGE, 2)
    title = f"{len(lines)} matches by {result['matcher']} as of {result['as_of']} (history, not a forecast)"
    _write(canvas, title, (LEFT, 30), INK)
    _write(canvas, "blue: their mean" + ("   orange: asked" if asked is not None else ""), (LEFT, HEIGHT - 18), GREY)
    return bytes(cv2.imencode(".png", canvas)[1])


def _write(
    canvas: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], text: str, at: tuple[int, int], color: tuple[int, int, int]
) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color[::-1], 1, cv2.LINE_AA)


SIZE = (900, 420)
FIRST, UPPER, LAST, LOWER = 70, 60, 870, 360
"""The plot's edges in a scorecard's picture."""
SHOWN = 60
"""Most days drawn, the newest."""


def draw_scorecard(card: Json) -> bytes:
    """PNG, 900 × 420: a bar per day of closings (none where no band was scored), the nominal share as a line."""
    picture = Image.new("RGB", SIZE, (255, 255, 255))
    pen, small = ImageDraw.Draw(picture), ImageFont.load_default(13)
    days = card["days"][-SHOWN:]
    nominal = card["all"]["coverage"]["nominal"] if card["all"] else 0.8
    title = "Inside the band, by day of closing" + (" (replayed)" if card["replayed"] else "")
    pen.text((FIRST, 18), title, INK, ImageFont.load_default(20))
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        pen.text((FIRST - 40, _y(share) - 8), f"{share:.1f}", GREY, small)
    width = (LAST - FIRST) / max(len(days), 1)
    for n, day in enumerate(days):
        left = FIRST + n * width
        if day["coverage"] is not None:
            pen.rectangle((left + 0.15 * width, _y(day["coverage"]), left + 0.85 * width, LOWER), fill=BLUE)
        if len(days) <= 14:
            pen.text((left + 0.15 * width, LOWER + 6), f"{day['day'][5:]}\nn {day['n']}", GREY, small)
    pen.line((FIRST, _y(nominal), LAST, _y(nominal)), fill=ORANGE, width=2)
    if not days:
        pen.text((FIRST + 20, (UPPER + LOWER) // 2), "Nothing has been scored yet.", GREY, small)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _y(share: float) -> float:
    return LOWER - share * (LOWER - UPPER)
