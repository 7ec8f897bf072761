"""What part of a picture matters: any segmentation model behind one interface (report 003 had a clothes mask).

The default finds the person with OpenCV's GrabCut, which needs no weights; any semantic segmentation model of transformers
serves by its id, for example one that labels clothes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from domain.errors import WeightsError

Picture = NDArray[np.uint8]
SIDE = 160
"""Pixels of the longer side while a person is looked for."""

Mask = NDArray[np.float32]


class Segmenter(Protocol):
    """Pictures to the weight of each pixel."""

    def mask(self, picture: Picture) -> Mask:
        """``picture``: uint8 (height, width, 3), RGB. Returns float32 (height, width) between 0 and 1."""
        ...


class PersonMask:
    """The person in front, by GrabCut from a rectangle in the middle (Rother et al., 2004)."""

    def mask(self, picture: Picture) -> Mask:
        """1 where the foreground is; ones everywhere for a picture too small or too flat to part."""
        import cv2

        height, width = picture.shape[:2]
        whole = np.ones((height, width), dtype=np.float32)
        if min(height, width) < 16 or picture.std() < 2:
            return whole
        scale = min(1.0, SIDE / max(height, width))
        small = cv2.resize(picture, (max(16, round(width * scale)), max(16, round(height * scale))))
        rows, columns = small.shape[:2]
        marks = np.zeros((rows, columns), dtype=np.uint8)
        frame = (columns // 8, rows // 16, columns - columns // 4, rows - rows // 16 - 1)
        cv2.setRNGSeed(0)
        try:
            cv2.grabCut(small, marks, frame, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_RECT)
        except cv2.error:
            return whole
        front = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
        if not front.any():
            return whole
        return np.asarray(cv2.resize(front, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.float32)


class NamedMask:
    """A semantic segmentation model of transformers, by id or folder; ``labels`` are those that matter."""

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        from models.device import import_transformers

        transformers = import_transformers()
        try:
            self._processor = transformers.AutoImageProcessor.from_pretrained(name)
            self._model = transformers.AutoModelForSemanticSegmentation.from_pretrained(name).eval()
        except (OSError, ValueError) as error:
            raise WeightsError(f"The segmentation model {name} cannot be loaded ({error}).") from None
        known = {str(label).lower(): int(i) for i, label in self._model.config.id2label.items()}
        if missing := [label for label in labels if label.lower() not in known]:
            raise WeightsError(f"The segmentation model {name} knows no {missing[0]}; it knows: {', '.join(known)}.")
        self._wanted = [known[label.lower()] for label in labels]

    def mask(self, picture: Picture) -> Mask:
        """The share of the labels that matter at each pixel."""
        import torch

        inputs: Any = self._processor(images=picture, return_tensors="pt")
        with torch.inference_mode():
            logits = self._model(**inputs).logits
            size = picture.shape[:2]
            shares = torch.nn.functional.interpolate(logits, size=size, mode="bilinear").softmax(dim=1)
        wanted: Mask = shares[0, self._wanted].sum(dim=0).clamp(0, 1).numpy().astype(np.float32)
        return wanted


def only(picture: Picture, mask: Mask) -> Picture:
    """The picture with everything else black: mask × picture (report 003)."""
    return np.asarray(np.round(picture * mask[:, :, None]), dtype=np.uint8)
