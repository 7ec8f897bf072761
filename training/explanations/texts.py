"""Texts for the product's decoder, headlines and posts, with the text encoder's vectors of them and their neighbours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import Floats
from models.emotion.text import EmotionTextReader
from runtime.progress import progress
from training.explanations import data

POSTS = "posts.parquet"
NEIGHBOURS = 9
DUPLICATE = 0.95
"""Cosine from which two texts say the same words."""
_NOT_WORDS = re.compile(r"https?://\S*|www\.\S+|@\w+|[^\x20-\x7e]+|(?<=\.)X\b")
_SPACES = re.compile(r"\s+")

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Texts:
    """``said``: as published; ``words``: what the decoder may write of it; ``day``: datetime64[D]; ``post``: no headline."""

    said: list[str]
    words: list[str]
    day: NDArray[np.datetime64]
    post: NDArray[np.bool_]

    def take(self, index: Index) -> Texts:
        """The texts at these positions."""
        return Texts([self.said[i] for i in index], [self.words[i] for i in index], self.day[index], self.post[index])


def plain(text: str) -> str:
    """A text without links, @names, emoji and other characters that are not ASCII."""
    return _SPACES.sub(" ", _NOT_WORDS.sub(" ", text.replace("’", "'").replace("‘", "'"))).strip()


def load(folder: Path, most: int, seed: int) -> Texts:
    """At most ``most`` dated headlines, and as many English posts of 4 to 40 words, drawn evenly from the sources.

    Raises:
        InputError: a file is missing below the folder.
    """
    import pandas as pd

    old, old_day = _headlines(folder, most, seed)
    path = next(iter(sorted(folder.rglob(POSTS))), None)
    if path is None:
        raise InputError(f"There is no {POSTS} below {folder.name}.")
    frame = pd.read_parquet(path, columns=["source", "t", "text", "lang"]).dropna(subset=["text"])
    frame = frame[frame["lang"].fillna("en").isin(["en", ""])].drop_duplicates("text")
    frame["words"] = [plain(str(text)) for text in frame["text"]]
    count = np.array([len(words.split()) for words in frame["words"]])
    frame = frame[(count >= 4) & (count <= 40)].sample(frac=1.0, random_state=seed)
    frame["rank"] = frame.groupby("source", observed=True).cumcount()
    frame = frame.sort_values("rank", kind="stable").head(most)
    new_day = (frame["t"].to_numpy() * 1_000_000_000).astype("datetime64[ns]").astype("datetime64[D]")
    said = [*old, *map(str, frame["text"])]
    words = [*map(plain, old), *frame["words"]]
    return Texts(said, words, np.concatenate([old_day, new_day]), np.arange(len(said)) >= len(old))


def _headlines(folder: Path, most: int, seed: int) -> tuple[list[str], NDArray[np.datetime64]]:
    headlines = data.load(folder, grouped=False)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(headlines.texts))[:most])
    return [headlines.texts[i] for i in chosen], headlines.day[chosen]


def embed(reader: EmotionTextReader, texts: Sequence[str], path: Path | None = None, quiet: bool = False) -> Floats:
    """Unit vectors float32 (n, 384) of the product's text encoder; where a path is given, each is computed and kept once."""
    out = np.full((len(texts), 384), np.nan, dtype=np.float32)
    if path is not None and path.is_file():
        kept: Floats = np.load(path)
        out = kept if len(kept) == len(texts) else out
    order = np.argsort([len(text) for text in texts], kind="stable")
    order = order[np.isnan(out[order, 0])]
    with nullcontext(_silent) if quiet else progress("embedding", len(order)) as report:
        for start in range(0, len(order), 512):
            part = order[start : start + 512]
            mean = reader.net.infer(reader.tokenise([texts[i] for i in part]), reader.dtype).mean
            out[part] = torch.nn.functional.normalize(mean.float(), dim=-1).cpu().numpy()
            if path is not None:
                _keep(path, out)
            report(start + len(part))
    return out


def _keep(path: Path, vectors: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npy")
    np.save(part, vectors)
    part.replace(path)


def _silent(done: int, note: str = "") -> None:
    pass


def neighbours(vectors: Floats, among: Index, of: Index, k: int = NEIGHBOURS) -> Index:
    """For each row ``of``, its ``k`` nearest rows ``among`` by cosine, (len(of), k); itself and its duplicates come last."""
    k = min(k, len(among))
    table = torch.from_numpy(vectors[among])
    out = np.empty((len(of), k), dtype=np.int64)
    for start in range(0, len(of), 1024):
        part = of[start : start + 1024]
        near = torch.from_numpy(vectors[part]) @ table.T
        near = near.masked_fill(near >= DUPLICATE, -1.0)
        out[start : start + len(part)] = among[near.topk(k, dim=1).indices.numpy()]
    return out
