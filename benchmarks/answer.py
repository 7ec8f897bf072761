"""Answers per second of a running stack, one caller after another over HTTP: photo + caption, caption, photo in turn.

Every post is another one, so nothing is answered from what is stored. ``peer`` is the floor under any answer: reading
a stored one back through the same door. ``p50`` and ``p95`` are seconds per ``POST /v1/analyze``.

    python -m benchmarks.answer --url http://127.0.0.1:8000 [--image FILE] [--calls 50] [--symbol BTC/USDT] [--at TIME] [--json]
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.report import report

CAPTIONS = ("So happy I held my bitcoin", "They sold everything, I am furious", "gm", "Is this the end? I am afraid so")


def photo(base: Image.Image, number: int) -> bytes:
    """The picture with one corner of its own, so that no two are equal."""
    changed = base.copy()
    mark = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    changed.paste(Image.fromarray(mark), (0, 0))
    out = io.BytesIO()
    changed.save(out, "JPEG", quality=88)
    return out.getvalue()


def noise() -> Image.Image:
    """A picture of the usual size for a machine without one."""
    coarse = np.random.default_rng(7).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((1280, 960), Image.Resampling.BICUBIC)


def requests(base: Image.Image, calls: int, fields: dict[str, str]) -> list[dict[str, Any]]:
    """Arguments of each POST, made before the clock runs."""
    made = []
    for number in range(calls):
        kind = number % 3
        data = dict(fields)
        if kind != 2:
            data["caption"] = f"{CAPTIONS[number % len(CAPTIONS)]} {os.urandom(3).hex()}"
        files = {"image": ("photo.jpg", photo(base, number + os.getpid()), "image/jpeg")} if kind != 1 else None
        made.append({"data": data, "files": files})
    return made


def timed(client: httpx.Client, method: str, path: str, **arguments: Any) -> tuple[float, Any]:
    """Seconds and JSON of one call.

    Raises:
        httpx.HTTPStatusError: it was refused.
    """
    started = time.perf_counter()
    response = client.request(method, path, **arguments)
    response.raise_for_status()
    return time.perf_counter() - started, response.json()


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--symbol")
    parser.add_argument("--at")
    parser.add_argument("--json", action="store_true", help="the only form; accepted for uniformity")
    asked = parser.parse_args()
    base = Image.open(asked.image).convert("RGB") if asked.image else noise()
    fields = {name: value for name, value in (("symbol", asked.symbol), ("at", asked.at)) if value}
    key = os.environ.get("MOODTAPE_API_KEY")
    with httpx.Client(base_url=asked.url, timeout=60, headers={"X-API-Key": key} if key else None) as client:
        for warm in requests(base, 3, fields):
            timed(client, "POST", "/v1/analyze", **warm)
        seconds, floor = [], []
        for wanted in requests(base, asked.calls, fields):
            taken, answer = timed(client, "POST", "/v1/analyze", **wanted)
            seconds.append(taken)
            floor.append(timed(client, "GET", f"/v1/posts/{answer['post_id']}")[0])
    report(
        ours=1 / statistics.median(seconds),
        peer=1 / statistics.median(floor),
        unit="answers/s",
        packages=("fastapi", "uvicorn"),
        calls=len(seconds),
        p50=statistics.median(seconds),
        p95=statistics.quantiles(seconds, n=20)[-1],
        stored_p50=statistics.median(floor),
    )


if __name__ == "__main__":
    main()
