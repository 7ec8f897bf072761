"""The emotion of a picture: faces found, one batched pass over all crops, calibrated, or an abstention with its reason."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.errors import InputError, MoodtapeError, WeightsError
from domain.reasons import Reason
from domain.types import EMOTIONS
from models.checkpoint import load, load_state
from models.emotion.faces import CUT_SIDE, Face, FaceFinder, Picture, decode, whole
from models.encoders.image import CROP, ImageEncoder, MoodNet, prepare
from models.manifest import ARTIFACTS
from models.parts import ImageReading

FOLDER = ARTIFACTS / "emotion-image"
NO_FACE = Reason("no_face")
BATCH = 128
"""Most crops in one forward pass: enough to keep a core busy, small enough for its caches."""

_GRID = 5
_WINDOW = 2


@dataclass(frozen=True, slots=True)
class _Look:
    """What the network says of crops: mood logits (n, 7) after temperature, chance to be a face (n,)."""

    moods: Tensor
    faces: Tensor


class ImageMoodReader:
    """Picture bytes to readings (:class:`models.parts.ImageReader`).

    A small picture, or a nearly square one of up to 512 pixels, is first tried as a face crop as it is, since data sets
    and avatars are cut that way. If the network does not take it for one face, and for all other pictures,
    :class:`models.emotion.faces.FaceFinder` looks for faces and the network confirms each. Several faces are averaged by area.
    Without a face the reading abstains.
    """

    def __init__(self, net: MoodNet, config: dict[str, Any], device: str = "cpu") -> None:
        self.net = net.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs
        self.device = device
        self.temperature = float(config["temperature"])
        self.whole_threshold = float(config["whole_threshold"])
        self.box_threshold = float(config["box_threshold"])
        self.mirror = bool(config.get("mirror", True))
        self.finder = FaceFinder()

    @classmethod
    def from_pretrained(cls, folder: Path = FOLDER, device: str = "cpu") -> ImageMoodReader:
        """Load a checkpoint folder.

        Raises:
            WeightsError: files are missing, altered, truncated or pickled; the message names the file.
        """
        config, tensors = load(Path(folder))
        return cls(build(config, tensors, Path(folder).name), config, device)

    def decode(self, pictures: Sequence[bytes]) -> list[Picture | MoodtapeError]:
        """Grey pixels of each picture, or why there are none."""
        return [_open(data) for data in pictures]

    def read(self, pictures: Sequence[bytes | Picture | MoodtapeError]) -> list[ImageReading | MoodtapeError]:
        """One reading per picture, in order; a picture that breaks fails alone, as an error in its place."""
        opened = [_open(item) if isinstance(item, bytes) else item for item in pictures]
        faces = self._faces([item for item in opened if isinstance(item, Picture)])
        return [item if isinstance(item, MoodtapeError) else _reading(item, *next(faces)) for item in opened]

    def why(self, picture: bytes, label: str) -> list[dict[str, Any]]:
        """Regions of the largest face that speak for ``label``: ``[{"box": [left, top, width, height], "weight": float}]``.

        Occlusion (Zeiler and Fergus, 2014): parts of the crop are greyed out one by one, all in one batch; a region's
        weight is the fall of the label's log-probability, as a share of all falls; the mirrored view, which the answer
        averages in, is left out, for it would double the wait. Empty without a face.

        Raises:
            InputError: no such label, or the picture cannot be decoded.
        """
        if label not in EMOTIONS:
            raise InputError(f"There is no emotion called {label}; there are: {', '.join(EMOTIONS)}.")
        opened = decode(picture)
        faces, _ = next(self._faces([opened]))
        if not faces:
            return []
        face = max(faces, key=_area)
        corners, crops = _occluded(face.crop)
        logs = self._look(crops, mirror=False).moods.log_softmax(1)[:, EMOTIONS.index(label)]
        falls = (logs[0] - logs[1:]).clamp_min(0)
        total = float(falls.sum())
        if total <= 0:
            return []
        order = falls.argsort(descending=True).tolist()
        return _spread([(corners[i], float(falls[i]) / total) for i in order], face, opened.scale)

    def _needed(self, face: Face) -> float:
        """Chance to be a face from which a picture tried whole is one: lower for the sizes that data sets cut."""
        return self.whole_threshold if max(face.box[2:]) <= CUT_SIDE else self.box_threshold

    def _faces(self, pictures: Sequence[Picture]) -> Any:
        """Iterate over (confirmed faces, their mood logits (faces, 7)) of each picture."""
        tried = [whole(picture.grey) for picture in pictures]
        look = self._look([face.crop for face in tried if face is not None])
        rows = iter(zip(look.moods, look.faces.tolist(), strict=True))
        found: list[tuple[list[Face], Tensor]] = []
        proposed: list[list[Face]] = []
        for picture, face in zip(pictures, tried, strict=True):
            mood, chance = next(rows) if face is not None else (None, 0.0)
            taken = face is not None and mood is not None and chance >= self._needed(face)
            found.append(([face], mood[None]) if taken else ([], look.moods[:0]))  # type: ignore[index, list-item]
            proposed.append([] if taken else self.finder.find(picture.grey))
        look = self._look([face.crop for faces in proposed for face in faces])
        start = 0
        for number, faces in enumerate(proposed):
            if faces:
                span = slice(start, start + len(faces))
                start += len(faces)
                sure = look.faces[span] >= self.box_threshold
                found[number] = (list(itertools.compress(faces, sure.tolist())), look.moods[span][sure])
        return iter(found)

    @torch.inference_mode()
    def _look(self, crops: Sequence[NDArray[np.uint8]], mirror: bool = True) -> _Look:
        moods, chances = [torch.zeros(0, len(EMOTIONS))], [torch.zeros(0)]
        sides = 2 if self.mirror and mirror else 1
        for piece in pieces(len(crops)):
            block = torch.from_numpy(np.stack(crops[piece]))[:, None].to(self.device)
            inputs = prepare(block, self.net.size)
            mood, face = self.net(torch.cat([inputs, inputs.flip(3)]) if sides == 2 else inputs)
            moods.append(mood.view(sides, -1, len(EMOTIONS)).mean(0).cpu() / self.temperature)
            chances.append(face.view(sides, -1).mean(0).sigmoid().cpu())
        return _Look(torch.cat(moods), torch.cat(chances))


def pieces(count: int) -> Iterator[slice]:
    """Cuts of ``count`` crops into powers of two, largest first: for each size met, oneDNN keeps a compiled network."""
    start = 0
    while start < count:
        size = min(BATCH, 1 << ((count - start).bit_length() - 1))
        yield slice(start, start + size)
        start += size


def build(config: dict[str, Any], tensors: dict[str, Tensor], name: str) -> MoodNet:
    """A network from a checkpoint's config and weights.

    Raises:
        WeightsError: they do not fit one another, or the config lacks a key.
    """
    try:
        if config["labels"] != list(EMOTIONS):
            raise WeightsError(f"The model {name} has other labels than {', '.join(EMOTIONS)}; it is not loaded.")
        net = MoodNet(ImageEncoder.from_settings(config["encoder"]), int(config["size"]))
    except KeyError as error:
        raise WeightsError(f"The settings of the model {name} lack {error}; install moodtape again.") from None
    load_state(net, tensors, name)
    return net


def _open(data: bytes) -> Picture | MoodtapeError:
    try:
        return decode(data)
    except MoodtapeError as error:
        return error


def _area(face: Face) -> int:
    return face.box[2] * face.box[3]


def _reading(picture: Picture, faces: list[Face], moods: Tensor) -> ImageReading:
    if not faces:
        return ImageReading(None, 0, abstained=NO_FACE)
    areas = torch.tensor([_area(face) for face in faces], dtype=torch.float32)
    joint = (moods.softmax(1) * (areas / areas.sum())[:, None]).sum(0)
    boxes = [tuple(round(v * picture.scale) for v in face.box) for face in faces]
    return ImageReading(joint.numpy().astype(np.float32), len(faces), tuple(boxes))  # type: ignore[arg-type]  # fours


def _occluded(crop: NDArray[np.uint8]) -> tuple[list[tuple[float, float]], list[NDArray[np.uint8]]]:
    """Left-top corners of the hidden windows as shares of the side, and the crop followed by each of its hidings."""
    corners, crops = [], [crop]
    step = CROP / _GRID
    side = round(step * _WINDOW)
    for row, column in itertools.product(range(_GRID - _WINDOW + 1), repeat=2):
        top, left = round(row * step), round(column * step)
        hidden = crop.copy()
        hidden[top : top + side, left : left + side] = int(crop.mean())
        corners.append((left / CROP, top / CROP))
        crops.append(hidden)
    return corners, crops


def _spread(windows: list[tuple[tuple[float, float], float]], face: Face, scale: float) -> list[dict[str, Any]]:
    left, top, width, height = face.box
    share = _WINDOW / _GRID
    return [
        {
            "box": [
                round((left + x * width) * scale),
                round((top + y * height) * scale),
                round(width * share * scale),
                round(height * share * scale),
            ],
            "weight": round(weight, 4),
        }
        for (x, y), weight in windows
        if weight > 0.02
    ]
