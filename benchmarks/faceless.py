"""Pictures that people post and that show no face, drawn with a seed: charts, memes, screenshots of text."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps

Pictures = list[tuple[str, bytes]]

CAPTIONS = (
    ("WHEN YOU BUY THE DIP", "AND IT KEEPS DIPPING"),
    ("ONE DOES NOT SIMPLY", "SELL AT THE TOP"),
    ("ME CHECKING THE PRICE", "AT 3 AM"),
    ("DIAMOND HANDS", "EMPTY WALLET"),
    ("SIR", "THIS IS A CASINO"),
    ("STILL EARLY", "SAID IN 2021"),
    ("FUNDS ARE SAFE", "TRUST ME BRO"),
    ("10X LEVERAGE", "0X SAVINGS"),
    ("THE CHART SAYS UP", "THE CHART IS UPSIDE DOWN"),
    ("I AM NOT SELLING", "I FORGOT MY KEYS"),
    ("WEN MOON", "NEVER"),
    ("MY PORTFOLIO", "MY PORTFOLIO AFTER CPI"),
)
LINES = (
    "just closed my long, down 40 % on the week. taking a break from this market",
    "Bitcoin falls below 60,000 as traders brace for the Fed's decision on Wednesday",
    "ok hear me out: what if we all just held for once",
    "Withdrawals are paused until further notice. We will publish an update at 18:00 UTC.",
    "$ETH looks ready. support held twice, volume rising, I am in from 3,120",
    "gm. the rug was pulled at 4 am. everything is gone. ngmi",
)


def charts() -> Pictures:
    """Sixteen charts by matplotlib: eight kinds, each light and dark."""
    made = []
    for look in ("default", "dark_background"):
        with style.context(look):
            for number, draw in enumerate(DRAWERS):
                figure = Figure(figsize=(6.4, 4.8) if number % 2 else (8, 8), dpi=80)
                draw(figure, np.random.default_rng(number))
                buffer = io.BytesIO()
                figure.savefig(buffer, format="png")
                made.append((f"{draw.__name__.strip('_')}, {look}", buffer.getvalue()))
    return made


def memes(backgrounds: Sequence[tuple[str, bytes]]) -> Pictures:
    """Twelve pictures of the given ones with outlined words above and below, square or wide, from 300 to 800 pixels."""
    made = []
    for number, (above, below) in enumerate(CAPTIONS):
        name, data = backgrounds[number * len(backgrounds) // len(CAPTIONS)]
        size = ((800, 600), (500, 500), (300, 300))[number % 3]
        picture = ImageOps.fit(Image.open(io.BytesIO(data)).convert("RGB"), size)
        write = ImageDraw.Draw(picture)
        font = _font("DejaVuSans-Bold", size[0] // 18)
        outlined = partial(write.text, font=font, fill="white", stroke_width=2, stroke_fill="black", anchor="mm")
        outlined((size[0] / 2, size[1] * 0.1), above)
        outlined((size[0] / 2, size[1] * 0.9), below)
        made.append((f"{above} ({name})", _png(picture)))
    return made


def screenshots() -> Pictures:
    """Twelve pictures of posts, a chat, a terminal or an article: light and dark, wide, square and tall."""
    made = []
    for number in range(12):
        size = ((900, 420), (480, 480), (540, 960))[number % 3]
        back, ink = (("white", "#0f1419"), ("#15202b", "#e7e9ea"))[number // 6]
        picture = Image.new("RGB", size, back)
        draw = ImageDraw.Draw(picture)
        font = _font(("DejaVuSans", "DejaVuSerif", "DejaVuSansMono")[number % 3], 22)
        draw.ellipse((24, 24, 72, 72), fill=("#1d9bf0", "#f91880", "#00ba7c")[number % 3])
        draw.text((84, 36), ("@trader", "#general", "Markets")[number % 3], font=font, fill=ink)
        for row, line in enumerate(_wrapped(" ".join(np.roll(LINES, number)), (size[0] - 48) // 14)):
            if 100 + 32 * row < size[1] - 32:
                draw.text((24, 100 + 32 * row), line, font=font, fill=ink)
        made.append((f"screenshot {number}", _png(picture)))
    return made


def _wrapped(text: str, dead_letters: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= dead_letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _walk(rng: np.random.Generator, count: int = 200) -> Any:
    return 100 + np.cumsum(rng.normal(0, 1, count))


def _lines(figure: Figure, rng: np.random.Generator) -> None:
    axes = figure.subplots()
    for name in ("BTC", "ETH", "SOL"):
        axes.plot(_walk(rng), label=name)
    axes.set(title="Close", xlabel="minute", ylabel="USD")
    axes.grid()
    axes.legend()


def _candles(figure: Figure, rng: np.random.Generator) -> None:
    axes, below = figure.subplots(2, height_ratios=(3, 1))
    level = _walk(rng, 61)
    change = np.diff(level)
    colours = np.where(change > 0, "tab:green", "tab:red")
    axes.bar(range(60), change, bottom=level[:-1], color=colours, width=0.7)
    axes.vlines(range(60), level[:-1] - 1, level[:-1] + 1, colors=colours, linewidth=1)
    below.bar(range(60), rng.lognormal(1, 0.5, 60), color=colours)


def _bars(figure: Figure, rng: np.random.Generator) -> None:
    axes = figure.subplots()
    axes.barh(["sadness", "joy", "fear", "anger", "surprise", "neutral", "disgust"], rng.random(7))
    axes.set_title("Mood of the day")


def _pie(figure: Figure, rng: np.random.Generator) -> None:
    figure.subplots().pie(rng.random(5) + 0.2, labels=["BTC", "ETH", "USDT", "BNB", "other"], autopct="%1.0f%%")


def _scatter(figure: Figure, rng: np.random.Generator) -> None:
    axes = figure.subplots()
    axes.scatter(rng.normal(size=300), rng.normal(size=300), c=rng.random(300), s=rng.random(300) * 120, alpha=0.6)


def _heat(figure: Figure, rng: np.random.Generator) -> None:
    axes = figure.subplots()
    figure.colorbar(axes.imshow(rng.normal(size=(12, 12)), cmap="coolwarm"))


def _polar(figure: Figure, rng: np.random.Generator) -> None:
    axes = figure.subplots(subplot_kw={"projection": "polar"})
    axes.bar(np.linspace(0, 6, 12), rng.random(12), width=0.45, alpha=0.7)


def _panels(figure: Figure, rng: np.random.Generator) -> None:
    for axes in figure.subplots(2, 2).flat:
        axes.fill_between(range(200), _walk(rng), 90)
        axes.hist(rng.normal(100, 20, 300), bins=30, alpha=0.5)


DRAWERS: tuple[Callable[[Figure, np.random.Generator], None], ...] = (
    _lines,
    _candles,
    _bars,
    _pie,
    _scatter,
    _heat,
    _polar,
    _panels,
)
