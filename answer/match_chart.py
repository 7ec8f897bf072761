"""Matched trajectories as a picture: each thin, their mean thick, and the asked path where there is one."""

from __future__ import annotations

import cv2
import numpy as np

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
