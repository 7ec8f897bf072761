"""A scorecard as a picture: the share of outcomes inside the band, day by day, beside what it is meant to hold."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from domain.answer import Json

SIZE = (900, 420)
LEFT, TOP, RIGHT, BOTTOM = 70, 60, 870, 360
INK, GREY, BLUE, ORANGE = (28, 35, 43), (98, 110, 122), (0, 98, 165), (196, 78, 0)
SHOWN = 60
"""Most days drawn, the newest."""


def draw(card: Json) -> bytes:
    """PNG, 900 × 420: one bar per day of closings, its count below, the nominal share as a line."""
    picture = Image.new("RGB", SIZE, (255, 255, 255))
    pen, small = ImageDraw.Draw(picture), ImageFont.load_default(13)
    days = card["days"][-SHOWN:]
    nominal = card["all"]["coverage"]["nominal"] if card["all"] else 0.8
    title = "Inside the band, by day of closing" + (" (replayed)" if card["replayed"] else "")
    pen.text((LEFT, 18), title, INK, ImageFont.load_default(20))
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        pen.text((LEFT - 40, _y(share) - 8), f"{share:.1f}", GREY, small)
    width = (RIGHT - LEFT) / max(len(days), 1)
    for n, day in enumerate(days):
        left = LEFT + n * width
        pen.rectangle((left + 0.15 * width, _y(day["coverage"]), left + 0.85 * width, BOTTOM), fill=BLUE)
        if len(days) <= 14:
            pen.text((left + 0.15 * width, BOTTOM + 6), f"{day['day'][5:]}\nn {day['n']}", GREY, small)
    pen.line((LEFT, _y(nominal), RIGHT, _y(nominal)), fill=ORANGE, width=2)
    if not days:
        pen.text((LEFT + 20, (TOP + BOTTOM) // 2), "Nothing has been scored yet.", GREY, small)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _y(share: float) -> float:
    return BOTTOM - share * (BOTTOM - TOP)
