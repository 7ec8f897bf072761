"""Does the picture model keep silent where there is no face? Photos and wallpapers of packages, charts, memes, screenshots.

``python -m benchmarks.abstain [--wallpapers FOLDER] [--packages SITE] [--json]``

``FOLDER``: unpacked Debian packages that training did not see, ``apt-get download mate-backgrounds lomiri-wallpapers-16.04
lomiri-wallpapers-20.04 ukui-wallpapers`` and ``dpkg-deb -x FILE FOLDER``. ``SITE``: ``pip install --target SITE --no-deps
scikit-image==0.25.2 scikit-learn matplotlib imgaug``; without it, what is installed beside moodtape. Charts are drawn by
matplotlib, memes and text screenshots by Pillow.

Nothing here had a part in training or in setting thresholds, which come from validation faces; an early choice of the rule
behind them did look at sixty such pictures, perhaps scikit-image's among them, so pictures of ``SITE`` are counted apart.
So are the same wallpapers as avatars of 128 pixels, the size that the reader tries as a cut-out face, and real faces.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from PIL import Image

from benchmarks.faceless import charts, memes, screenshots
from domain.errors import MoodtapeError
from domain.types import EMOTIONS
from models.emotion.image import FOLDER, ImageMoodReader
from models.parts import ImageReading
from workers.client.images import clean_picture

PACKAGES = ("skimage/data", "sklearn/datasets/images", "matplotlib/mpl-data/sample_data", "imgaug")
SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".webp"}
SITE = Path(matplotlib.__file__).parents[1]
REAL = {"astronaut.png", "camera.png", "grace_hopper.jpg", "no_time_for_that_tiny.gif"}
"""Pictures of the packages with a person in them."""
COPIES = {"Elephants_3840x2160.jpg", "Elephants_5640x3172.jpg", "motorcycle_right.png"}
APART = ("package", "avatar", "person")
"""Kinds that do not count towards the share."""

Pictures = list[tuple[str, bytes]]


def main() -> None:
    """Print how many pictures of each kind were passed over, and what was said of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wallpapers", type=Path, help="folder of pictures without people")
    parser.add_argument("--packages", type=Path, default=SITE, help="folder of installed packages with pictures")
    parser.add_argument("--artifacts", type=Path, default=FOLDER)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    reader = ImageMoodReader.from_pretrained(options.artifacts)
    kinds = {
        kind: _counted(reader, pictures) for kind, pictures in gather(options.wallpapers, options.packages).items()
    }
    fair = [told for kind, told in kinds.items() if kind not in APART]
    count, silent = sum(told["n"] for told in fair), sum(told["abstained"] for told in fair)
    result = {
        "ours": round(silent / count, 4),
        "unit": "share abstained",
        "n": count,
        "abstained": silent,
        "kinds": kinds,
    }
    print(json.dumps(result, indent=None if options.json else 1))


def gather(wallpapers: Path | None, packages: Path) -> dict[str, Pictures]:
    """Pictures by kind, each with its name; the last three kinds are those of ``APART``."""
    own = list(_files(wallpapers)) if wallpapers else []
    theirs = [item for place in PACKAGES for item in _files(packages / place)]
    faceless = [item for item in theirs if item[0] not in REAL]
    return {
        "wallpaper": own,
        "chart": charts(),
        "meme": memes(own or faceless),
        "screenshot": screenshots(),
        "package": faceless,
        "avatar": [(name, _small(data)) for name, data in own + faceless],
        "person": [item for item in theirs if item[0] in REAL],
    }


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.name not in COPIES and not path.is_symlink():
            yield path.name, path.read_bytes()


def _small(data: bytes) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    buffer = io.BytesIO()
    image.crop((left, top, left + side, top + side)).resize((128, 128)).save(buffer, "PNG")
    return buffer.getvalue()


def _stored(data: bytes) -> bytes:
    """As a door would store it; what it would refuse, as it is."""
    try:
        return clean_picture(data)[1]
    except MoodtapeError:
        return data


def _counted(reader: ImageMoodReader, pictures: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    readings = reader.read([_stored(data) for _, data in pictures])
    spoken = {name: _said(reading) for (name, _), reading in zip(pictures, readings, strict=True)}
    answered = {name: said for name, said in spoken.items() if said}
    return {"n": len(pictures), "abstained": len(pictures) - len(answered), "answered": answered}


def _said(reading: ImageReading | MoodtapeError) -> str | None:
    if isinstance(reading, MoodtapeError):
        return f"error: {reading}"
    if reading.probabilities is None:
        return None
    best = int(reading.probabilities.argmax())
    return f"{EMOTIONS[best]} {reading.probabilities[best]:.2f}, {reading.faces} face(s)"


if __name__ == "__main__":
    main()
