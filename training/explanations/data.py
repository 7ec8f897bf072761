"""Headlines for report 001: two holdouts at once, groups of near-duplicates, and the frozen encoder's states of each text.

One training serves both protocols: it sees neither the newest headlines (the holdout by date) nor a random tenth of the
older ones (the report's random holdout, in which the same story of another outlet stands on both sides).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.errors import InputError
from models.device import half_or_full
from models.explanations.search import Vocabulary
from runtime.progress import progress

FILE = "financial_headlines.parquet"
NEAR = 0.5
"""Cosine of TF-IDF words from which two headlines count as one story."""

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Headlines:
    """``day``: datetime64[D] of each text; ``cluster``: number of its group of near-duplicates."""

    texts: list[str]
    day: NDArray[np.datetime64]
    cluster: Index


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers. ``by_date`` holds only stories of which nothing was printed before the cut; ``same_story`` the others."""

    train: Index
    random: Index
    by_date: Index
    same_story: Index


def load(folder: Path, grouped: bool = True) -> Headlines:
    """The dated headlines below a folder; without ``grouped``, each is a cluster of its own.

    Raises:
        InputError: there is no such file there, or it lacks a column.
    """
    import pandas as pd

    path = next(iter(sorted(folder.rglob(FILE))), None)
    if path is None:
        raise InputError(f"There is no {FILE} below {folder.name}.")
    frame = pd.read_parquet(path)
    if not {"headline", "date"} <= set(frame):
        raise InputError(f"{FILE} needs the columns headline and date.")
    frame = frame.dropna(subset=["headline", "date"])
    texts = [str(text).strip() for text in frame["headline"]]
    return Headlines(
        texts, frame["date"].to_numpy().astype("datetime64[D]"), clusters(texts) if grouped else np.arange(len(texts))
    )


def clusters(texts: Sequence[str], near: float = NEAR) -> Index:
    """Number of each text's group: texts are linked when the cosine of their rarer words (TF-IDF) is at least ``near``."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from sklearn.feature_extraction.text import TfidfVectorizer

    rare = max(20, len(texts) // 100)
    table = TfidfVectorizer(max_df=rare, ngram_range=(1, 2), dtype=np.float32).fit_transform(texts)
    rows, columns = [], []
    for start in range(0, len(texts), 2000):
        alike = (table[start : start + 2000] @ table.T).tocoo()
        keep = alike.data >= near
        rows.append(alike.row[keep] + start)
        columns.append(alike.col[keep])
    at, to = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(at), dtype=bool), (at, to)), shape=(len(texts), len(texts)))
    groups: Index = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def split(headlines: Headlines, since: str, share: float, seed: int) -> Split:
    """Both holdouts: everything from the day ``since`` on, and ``share`` of what is older, drawn by ``seed``."""
    newer = headlines.day >= np.datetime64(since)
    older = np.flatnonzero(~newer)
    order = np.random.default_rng(seed).permutation(older)
    held = int(len(older) * share)
    known = np.isin(headlines.cluster, np.unique(headlines.cluster[~newer]))
    return Split(
        train=np.sort(order[held:]),
        random=np.sort(order[:held]),
        by_date=np.flatnonzero(newer & ~known),
        same_story=np.flatnonzero(newer & known),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Token states (n, tokens, width) with their mask, or ready vectors (n, size), and the texts to be written."""

    states: Tensor
    mask: Tensor
    wanted: Sequence[int]


class Inputs(Protocol):
    """Token states or vectors of the texts, by row number."""

    @property
    def width(self) -> int: ...

    def batch(self, rows: Sequence[int]) -> Batch: ...


class States:
    """Hidden states of a frozen encoder, layers side by side: float16 (tokens, width) of all texts end to end, on disk."""

    def __init__(self, flat: NDArray[np.float16], starts: Index) -> None:
        self.flat, self.starts = flat, starts
        self.width = int(flat.shape[1])

    def batch(self, rows: Sequence[int]) -> Batch:
        """Padded states (n, tokens, width), float32, and mask (n, tokens) of these texts."""
        parts = [np.asarray(self.flat[self.starts[i] : self.starts[i + 1]]) for i in rows]
        longest = max(map(len, parts))
        states = torch.zeros(len(parts), longest, self.width)
        mask = torch.zeros(len(parts), longest, dtype=torch.long)
        for i, part in enumerate(parts):
            states[i, : len(part)] = torch.from_numpy(np.array(part)).float()
            mask[i, : len(part)] = 1
        return Batch(states, mask, rows)


class Given:
    """Vectors that somebody else made, float32 (texts, size): in the place of token states."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self.width = int(vectors.shape[1])

    def batch(self, rows: Sequence[int]) -> Batch:
        """The vectors (n, size) of these texts; the mask has no meaning here."""
        return Batch(torch.from_numpy(self.vectors[np.asarray(rows)]), torch.empty(0), rows)


@torch.inference_mode()
def states(encoder: Any, ids: Sequence[Sequence[int]], layers: Sequence[int], path: Path) -> States:
    """Compute the states of ``layers`` (0: embeddings) once, or take those that stand at ``path``."""
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    size = (int(starts[-1]), encoder.width * len(layers))
    if path.is_file():
        kept = np.load(path, mmap_mode="r")
        if kept.shape == size:
            return States(kept, starts)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npy")
    flat = np.lib.format.open_memmap(part, "w+", np.float16, size)
    order = np.argsort(lengths, kind="stable")
    with progress("token states", len(ids)) as report:
        for begin in range(0, len(order), 256):
            rows = order[begin : begin + 256]
            tokens, mask = encoder.pad([ids[i] for i in rows])
            with torch.autocast("cpu", torch.bfloat16, enabled=half_or_full("cpu") == torch.bfloat16):
                if max(layers) == 0:
                    every = (encoder.model.embeddings(input_ids=tokens),)
                else:
                    every = encoder.model(
                        input_ids=tokens, attention_mask=mask, output_hidden_states=True
                    ).hidden_states
            joined = torch.cat([every[layer].half() for layer in layers], dim=2).numpy()
            for i, row in zip(rows, joined, strict=True):
                flat[starts[i] : starts[i + 1]] = row[: lengths[i]]
            report(begin + len(rows))
    flat.flush()
    part.replace(path)
    return States(np.load(path, mmap_mode="r"), starts)


def batches(lengths: Index, size: int, seed: int) -> list[list[int]]:
    """Row numbers in batches of ``size``: shuffled, but texts of like length together, so that little is padding."""
    lots = np.random.default_rng(seed)
    order = np.argsort(lengths + lots.uniform(0, 1.5, len(lengths)), kind="stable")
    cut = [order[start : start + size].tolist() for start in range(0, len(order), size)]
    lots.shuffle(cut)
    return cut


def targets(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token rows to padded targets (n, t) with -100 where there is none, and the tokens before each (0 first)."""
    longest = max(map(len, rows))
    after = torch.full((len(rows), longest), -100)
    before = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        after[i, : len(row)] = torch.tensor(row)
        before[i, 1 : len(row)] = torch.tensor(row[:-1], dtype=torch.long)
    return after, before


def encoded(vocabulary: Vocabulary, ids: Sequence[Sequence[int]], positions: int) -> list[list[int]]:
    """What the decoder shall write for each tokenised text."""
    return [vocabulary.encode(row, positions) for row in ids]


def parts(rows: Index, size: int) -> Iterator[list[int]]:
    """``rows`` in pieces of ``size``, in order."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size].tolist()


def name_words(texts: Sequence[str], share: float = 0.6, least: int = 2) -> frozenset[str]:
    """Words that are names, lower case: written with a capital in most of their places other than a text's first."""
    capital: Counter[str] = Counter()
    every: Counter[str] = Counter()
    for text in texts:
        for word in re.findall(r"[A-Za-z]+", text)[1:]:
            every[word.lower()] += 1
            capital[word.lower()] += word[0].isupper()
    return frozenset(word for word, count in every.items() if count >= least and capital[word] >= share * count)
