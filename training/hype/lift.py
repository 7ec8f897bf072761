"""Posts with likes as rows for the lift: hot for its author or not, from what was known when each was published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import AUTHOR_POSTS, AuthorHistory, Floats
from models.hype.lift import COMPONENTS, LEAST, MATURE, NAMES, Written, lift_features
from training.hype.figures import Rows
from training.metrics import auc
from training.trajectories.pairs import read

Doubles = NDArray[np.float64]
AUTHORS = ("author_hash", "asset", "poster", "author")
"""Columns that say who wrote a post, the first that the file has; single accounts have their source alone."""

COLUMNS = ("t", "date", "text", "likes", "has_photo", "source", "post_hash", *AUTHORS)


@dataclass(frozen=True, slots=True, eq=False)
class Posts:
    """Posts with likes, ordered by time. ``author`` is unique over all sources; ``clock``: the time of day is known.

    ``place``: their rows in the files.
    """

    time: NDArray[np.int64]
    author: NDArray[Any]
    text: list[str | None]
    likes: Doubles
    picture: list[bool | None]
    clock: bool
    place: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.time)


def has_likes(path: Path) -> bool:
    """Whether a file holds posts with likes by known authors."""
    names = set(pq.read_schema(path).names)
    return {"likes"} <= names and bool({"t", "date"} & names) and bool({*AUTHORS, "source"} & names)


def load_posts(files: Sequence[Path], fewest: int = LEAST + 1, newest: int | None = None) -> Posts:
    """Originals with likes of the files, by time; reposts, replies and authors with fewer than ``fewest`` are left out.

    ``newest``: only so many of each author, the latest.

    Raises:
        InputError: a column is missing, or nothing is left.
    """
    table = read(files, COLUMNS)
    if "likes" not in table.column_names or not {"t", "date"} & set(table.column_names):
        raise InputError("The posts lack likes, or a time in t or date.")
    clock = "t" in table.column_names
    time = _times(table, clock)
    likes = table["likes"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    text = table["text"].to_pylist() if "text" in table.column_names else [None] * len(time)
    authors = _authors(table)
    kept = np.isfinite(likes) & np.array([a is not None for a in authors]) & np.array([_original(t) for t in text])
    names, counts = np.unique(authors[kept].astype(str), return_counts=True)
    enough = set(names[counts >= fewest])
    kept &= np.array([str(a) in enough for a in authors])
    if not kept.any():
        raise InputError(f"No author of these files has more than {LEAST} posts with likes.")
    places = np.flatnonzero(kept)
    places = places[np.argsort(time[places], kind="stable")]
    if newest is not None:
        later = [np.flatnonzero(authors[places].astype(str) == name)[-newest:] for name in sorted(enough)]
        places = places[np.sort(np.concatenate(later))]
    photos = table["has_photo"].to_pylist() if "has_photo" in table.column_names else [None] * len(time)
    return Posts(
        time=time[places],
        author=authors[places],
        text=[text[i] for i in places],
        likes=likes[places],
        picture=[photos[i] for i in places],
        clock=clock,
        place=places,
    )


def _times(table: pa.Table, clock: bool) -> NDArray[np.int64]:
    if clock:
        return np.array([-1 if t is None else int(t) for t in table["t"].to_pylist()], dtype=np.int64)
    days = table["date"].cast(pa.string()).to_pylist()
    return np.array(
        [int(datetime.fromisoformat(str(day)[:10]).replace(tzinfo=UTC).timestamp()) for day in days], dtype=np.int64
    )


def _authors(table: pa.Table) -> NDArray[Any]:
    sources = table["source"].to_pylist() if "source" in table.column_names else [""] * table.num_rows
    out: list[str | None] = [None] * table.num_rows
    for column in (c for c in AUTHORS if c in table.column_names):
        names = table[column].to_pylist()
        out = [o or (f"{source}/{name}" if name else None) for o, name, source in zip(out, names, sources, strict=True)]
    single = ("elon", "trump")
    out = [o or (str(s) if str(s).startswith(single) else None) for o, s in zip(out, sources, strict=True)]
    return np.array(out, dtype=object)


def _original(text: str | None) -> bool:
    return text is None or not text.startswith(("RT ", "@"))


def rows(posts: Posts, projected: Doubles, steps: int = 0) -> Rows:
    """Features and outcomes; ``projected``: (n, COMPONENTS) numbers of each text. Posts with too short a past are left out.

    ``steps``: of the sequence of the author's posts beside each row, see :func:`sequence_of`; 0 for none.
    """
    features, level, excess, time, authors, sequences = [], [], [], [], [], []
    lengths = np.array([np.nan if t is None else len(t) for t in posts.text])
    for author in dict.fromkeys(posts.author.tolist()):
        own = np.flatnonzero(posts.author == author)
        at = posts.time[own].astype(np.float64)
        for k, i in enumerate(own):
            near = slice(max(0, k - AUTHOR_POSTS), k)
            history = AuthorHistory(
                "author", at[near], posts.likes[own[near]], lengths[own[near]], [posts.text[j] for j in own[near]]
            )
            written = Written(datetime.fromtimestamp(int(at[k]), UTC), posts.text[i], posts.picture[i], posts.clock)
            made = lift_features(written, history, projected[i])
            if made is not None:
                features.append(made[0])
                level.append(made[2])
                excess.append(np.log1p(posts.likes[i]) - np.log1p(made[1]))
                time.append(int(at[k]))
                authors.append(author)
                if steps:
                    sequences.append(sequence_of(written, history, made[1], steps))
    order = np.argsort(time, kind="stable")
    joint = Rows(
        features=np.array(features, dtype=np.float64).reshape(len(features), len(NAMES)),
        sequence=np.array(sequences) if steps else np.zeros((len(features), 0, 0)),
        level=np.array(level, dtype=np.float64),
        excess=np.array(excess, dtype=np.float64),
        time=np.array(time, dtype=np.int64),
        market=np.array(authors, dtype=object),
    )
    return joint.take(order)


CHANNELS = 6
"""Of a post in a sequence: likes over the threshold, whether they count yet, gap before it, length, hour (sin, cos)."""


def sequence_of(post: Written, history: AuthorHistory, threshold: float, steps: int) -> Doubles:
    """The author's last posts and then this one, for a sequence model: (steps, CHANNELS), NaN before the first."""
    at = np.append(history.posted_at, post.posted_at.timestamp())
    known = np.append((history.posted_at + MATURE <= at[-1]) & np.isfinite(history.likes), False)
    likes = np.append(history.likes, 0.0)
    lengths = np.append(history.lengths, np.nan if post.text is None else len(post.text))
    day = 2 * np.pi * (at % 86_400) / 86_400 if post.clock else np.full(len(at), np.nan)
    columns = (
        np.where(known, np.log1p(np.maximum(likes, 0)) - np.log1p(threshold), 0.0),
        known.astype(np.float64),
        np.log1p(np.diff(at, prepend=np.nan)),
        np.log1p(lengths),
        np.sin(day),
        np.cos(day),
    )
    own = np.stack(columns, axis=1)[-steps:]
    return np.concatenate([np.full((steps - len(own), CHANNELS), np.nan), own])


def by_author(scored: Rows, chances: Doubles, least: int = 100, *, each: bool = True) -> dict[str, Any]:
    """AUC of every author with ``least`` scored posts, and their mean with an interval (95 %) that draws authors."""
    names, counts = np.unique(scored.market.astype(str), return_counts=True)
    out = {}
    for name in names[counts >= least].tolist():
        own = scored.market.astype(str) == name
        out[name] = {"n": int(own.sum()), "auc": auc(scored.hot[own], chances[own])}
    known = np.array([row["auc"] for row in out.values() if row["auc"] is not None])
    found: dict[str, Any] = {"authors": len(out), "posts": sum(row["n"] for row in out.values()), "mean_auc": None}
    if len(known):
        draw = np.random.default_rng(0).integers(len(known), size=(500, len(known)))
        low, high = np.quantile(known[draw].mean(axis=1), [0.025, 0.975])
        found |= {"mean_auc": round(float(known.mean()), 5), "interval": [round(float(low), 5), round(float(high), 5)]}
    return found | ({"each": out} if each else {})


def embedded(
    texts: Sequence[str | None], embed: Callable[[Sequence[str]], Floats], cache: Path | None = None
) -> Floats:
    """Unit vectors float32 (n, 384), zeros without a text; those in ``cache`` (safetensors by hash) are not made again."""
    from safetensors.numpy import load_file, save_file

    wanted = {hashlib.sha256(t.encode()).hexdigest()[:16]: t for t in texts if t and t.strip()}
    known: dict[str, Floats] = {}
    if cache is not None and cache.exists():
        stored = load_file(cache)
        known = dict(zip(stored["keys"].tobytes().decode().split(), stored["vectors"], strict=True))
    missing = [key for key in wanted if key not in known]
    if missing:
        known |= dict(zip(missing, embed([wanted[key] for key in missing]).astype(np.float16), strict=True))
        if cache is not None:
            keys = np.frombuffer(" ".join(known).encode(), dtype=np.uint8)
            save_file({"keys": keys, "vectors": np.stack(list(known.values())).astype(np.float16)}, cache)
    out = np.zeros((len(texts), 384), dtype=np.float32)
    for i, text in enumerate(texts):
        if text and text.strip():
            out[i] = known[hashlib.sha256(text.encode()).hexdigest()[:16]]
    return out


def projection(vectors: Floats) -> Doubles:
    """The first COMPONENTS principal directions (384, COMPONENTS) of texts' vectors, from those that have one."""
    spoken = vectors[np.any(vectors != 0, axis=1)].astype(np.float64)
    if len(spoken) < COMPONENTS:
        return np.eye(384, COMPONENTS)
    _, _, directions = np.linalg.svd(spoken.T @ spoken)
    return np.ascontiguousarray(directions[:COMPONENTS].T)


def project(vectors: Floats, directions: Doubles) -> Doubles:
    """Numbers (n, COMPONENTS) of vectors, NaN where there is no text."""
    known = np.any(vectors != 0, axis=1)
    return np.where(known[:, None], vectors.astype(np.float64) @ directions, np.nan)
