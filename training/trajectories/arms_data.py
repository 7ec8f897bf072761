"""Pairs as tensors for the two arms: split by time with a purge, positives and forbidden negatives of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain.errors import InputError
from domain.types import STEPS
from models.encoders.text import TextEncoder
from training.trajectories.pairs import (
    Pairs,
    capped,
    find_tape,
    load_pairs,
    load_tapes,
    parquet_files,
    shipped_embed,
    without_repeats,
)
from training.trajectories.tape import MINUTE_SECONDS, moment

if TYPE_CHECKING:
    from training.trajectories.arms import ArmsRecipe

DAY = 86_400
MOST_VALIDATION = 1500


@dataclass(frozen=True, slots=True, eq=False)
class ArmData:
    """Pairs in order of time.

    ``vectors``: (n, width) of texts; ``tokens``: where the text encoder learns; ``change``: (n, 256) percent; ``before``: (n,
    256) percent up to the post, or None; ``fit``, ``validation``: row numbers; ``windows``: independent ones to fit on.
    """

    vectors: Tensor
    tokens: list[list[int]]
    change: Tensor
    before: Tensor | None
    symbol: NDArray[Any]
    time: NDArray[np.int64]
    start: NDArray[np.int64]
    bin: NDArray[np.int64]
    fit: Tensor
    validation: Tensor
    windows: int

    @property
    def width(self) -> int:
        """Length of a text vector."""
        return int(self.vectors.shape[1])

    def masks(self, rows: Tensor, multi: bool, skip_bin: bool) -> tuple[Tensor, Tensor]:
        """Positives (same market and start minute, or only the pair itself) and pairs that must not be negatives."""
        index = rows.numpy()
        start, place = self.start[index], self.bin[index]
        eye = torch.eye(len(index), dtype=torch.bool)
        same = torch.from_numpy(start[:, None] == start[None]) | eye if multi else eye
        skip = torch.from_numpy(place[:, None] == place[None]) if skip_bin else torch.zeros_like(eye)
        return same, skip & ~eye


def load(choice: ArmsRecipe, folder: Path, embed: Any = None) -> ArmData:
    """Pairs below a folder as the settings want them; ``embed`` maps texts to vectors, by default the encoder that ships."""
    pairs = load_pairs(parquet_files(folder, "pairs"))
    if choice.symbols:
        pairs = pairs.take(np.isin(pairs.symbol, choice.symbols))
    if not choice.confirm:
        pairs = pairs.take(pairs.time < _seconds(choice.validation_until))
    if "spam" not in choice.faults:
        pairs = without_repeats(pairs)
        pairs = capped(pairs, choice.per_bin, choice.seed, choice.limit or None)
    elif choice.limit:
        count = min(choice.limit, len(pairs))
        spread = np.linspace(0, len(pairs) - 1, count).astype(np.int64)  # by time there must be some on both sides
        pairs = pairs.take(np.arange(count) if "random_split" in choice.faults else spread)
    return make(choice, pairs, folder, embed)


def make(choice: ArmsRecipe, pairs: Pairs, folder: Path, embed: Any = None) -> ArmData:
    """As :func:`load`, of these pairs in order of time."""
    fit, validation = split(choice, pairs)
    if not len(fit) or not len(validation):
        raise InputError("The pairs do not reach far enough on both sides of validation_from.")
    market = np.unique(pairs.symbol, return_inverse=True)[1].astype(np.int64)
    tokens: list[list[int]] = []
    if choice.text_encoder:
        encoder = TextEncoder.from_name(choice.text_encoder, choice.max_tokens)
        tokens = encoder.tokenise(list(pairs.text))
        width = encoder.width
        vectors = torch.zeros(len(pairs), width) if choice.train_text else _first(encoder, tokens)
    else:
        vectors = torch.from_numpy(np.asarray((embed or shipped_embed())(list(pairs.text)), dtype=np.float32))
    return ArmData(
        vectors=vectors,
        tokens=tokens,
        change=torch.from_numpy(pairs.change.astype(np.float32)),
        before=_before(pairs, folder) if choice.arms.get("context") else None,
        symbol=pairs.symbol,
        time=pairs.time,
        start=pairs.start // MINUTE_SECONDS * 1000 + market,
        bin=pairs.time // (STEPS * 60) * 1000 + market,
        fit=torch.from_numpy(fit),
        validation=torch.from_numpy(validation),
        windows=len(set(pairs.take(fit).bins)),
    )


def split(choice: ArmsRecipe, pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit and rows to validate: by time, purged of windows that reach into the validation and a day more.

    The validation has one row per symbol and bin. With the fault ``random_split``, a quarter drawn by lot, as the report did.
    """
    random = np.random.default_rng(choice.seed)
    if "random_split" in choice.faults:
        order = random.permutation(len(pairs))
        cut = len(pairs) * 3 // 4
        return np.sort(order[:cut]), np.sort(order[cut:])[:MOST_VALIDATION]
    begin = _seconds(choice.validation_until if choice.confirm else choice.validation_from)
    reach = pairs.time + (STEPS + 1) * MINUTE_SECONDS + DAY
    fit = np.flatnonzero(reach <= begin)
    late = np.flatnonzero(pairs.time >= begin)
    _, first = np.unique(pairs.bins[late], return_index=True)
    validation = late[np.sort(first)]
    if len(validation) > MOST_VALIDATION:
        validation = np.sort(random.permutation(validation)[:MOST_VALIDATION])
    return fit, validation


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@torch.inference_mode()
def _first(encoder: TextEncoder, tokens: Sequence[Sequence[int]]) -> Tensor:
    parts = [encoder.eval().encode(tokens[i : i + 256])[0] for i in range(0, len(tokens), 256)]
    return torch.cat(parts).clone()


def _before(pairs: Pairs, folder: Path) -> Tensor:
    """(n, 256) percent since the first of the minutes that had closed by the post; zeros where one is missing."""
    tapes = load_tapes(parquet_files(folder, "candles"))
    out = np.zeros((len(pairs), STEPS), dtype=np.float32)
    for row in range(len(pairs)):  # a loop, because each post has its own venue and minute
        tape = find_tape(tapes, pairs.exchange[row], pairs.symbol[row])
        mid = tape.context(moment(pairs.time[row])).mid if tape is not None else np.zeros(0)
        if len(mid) == STEPS and np.isfinite(mid).all():
            out[row] = 100 * (mid / mid[0] - 1)
    return torch.from_numpy(out)
