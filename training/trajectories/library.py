"""The starter library: real pairs thinned to what may ship, as numbers.

Repeated wordings of a symbol are dropped, each 256-minute bin gives at most ``per_bin`` pairs (those that name the coin
first), and the first choice of every bin comes before the second of any until ``rows`` is reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.types import Floats, LibraryRows
from models.manifest import ARTIFACTS
from models.trajectories.library import MICROS, Library, encoder_revision, save_library
from training.registry import TrainOptions, settings
from training.trajectories.pairs import (
    BIN,
    Embed,
    Pairs,
    before_posts,
    capped,
    load_pairs,
    load_tapes,
    parquet_files,
    shipped_embed,
    without_repeats,
)
from training.trajectories.tape import moment

CARD = """# Starter library of trajectories

{rows} rows of {symbols} symbols and {bins} (symbol, 256-minute bin) windows, {first} to {last}: the vector of a post's
words, the 256 one-minute changes after it, its time, source and symbol, and the volatility before it. No text, no ids,
no hashes.

| | rows |
|---|---|
{steps}
| volatility measured from candles before the post | {measured} |
| volatility estimated from the symbol's earlier windows (marked) | {estimated} |

Rows per symbol: {per_symbol}.

Times cluster where data were to be had, not where markets were lively: see the dates.
A window may answer a query only after it ended.
"""


@dataclass(frozen=True, slots=True)
class LibrarySettings:
    """``per_bin``: most pairs per symbol and bin; ``rows``: most in all (about 1.3 kB each); ``seed`` draws the lots.

    ``artifacts``: folder with the text encoder, where it is not the one that ships.
    """

    per_bin: int = 4
    rows: int = 7600
    seed: int = 0
    artifacts: str = ""


def to_rows(pairs: Pairs, embedding: Floats, volatility: Floats, prefix: str = "starter") -> LibraryRows:
    """Pairs with their vectors as library rows; ids are ``<prefix>:<n>``."""
    return LibraryRows(
        post_ids=tuple(f"{prefix}:{n}" for n in range(len(pairs))),
        sources=tuple(pairs.source),
        symbols=tuple(pairs.symbol),
        posted_at=pairs.time * MICROS,
        starts_at=pairs.start * MICROS,
        embedding=embedding.astype(np.float16),
        change=pairs.change,
        volatility=volatility.astype(np.float32),
    )


def build(
    pairs_files: Sequence[Path], candle_files: Sequence[Path], embed: Embed, choice: LibrarySettings, encoder: str
) -> tuple[Library, str]:
    """The library and its card, from parquet files."""
    raw = load_pairs(pairs_files)
    unique = without_repeats(raw)
    bin_capped = capped(unique, choice.per_bin, choice.seed)
    chosen = capped(unique, choice.per_bin, choice.seed, choice.rows)
    volatility, estimated = before_posts(chosen, load_tapes(candle_files))
    usable = np.isfinite(volatility)
    chosen, volatility, estimated = chosen.take(usable), volatility[usable], estimated[usable]
    rows = to_rows(chosen, embed(list(chosen.text)), volatility)
    steps = {
        "pairs read": len(raw),
        "after dropping repeated wordings": len(unique),
        f"at most {choice.per_bin} per symbol and bin": len(bin_capped),
        "kept": len(rows),
    }
    return Library(rows, encoder, estimated), _card(rows, estimated, steps)


def _card(rows: LibraryRows, estimated: NDArray[np.bool_], steps: Mapping[str, int]) -> str:
    counts = {s: rows.symbols.count(s) for s in sorted(set(rows.symbols), key=rows.symbols.count, reverse=True)}
    seconds = rows.posted_at // MICROS
    return CARD.format(
        rows=len(rows),
        symbols=len(counts),
        bins=len(set(zip(rows.symbols, (seconds // BIN).tolist(), strict=True))),
        first=moment(seconds.min()).date(),
        last=moment(seconds.max()).date(),
        steps="\n".join(f"| {name} | {count} |" for name, count in steps.items()),
        measured=int((~estimated).sum()),
        estimated=int(estimated.sum()),
        per_symbol=", ".join(f"{s} {n}" for s, n in counts.items()),
    )


def run(config: dict[str, Any], options: TrainOptions) -> dict[str, Any]:
    """Build the library from the pairs and candles under ``options.data`` into ``options.out``."""
    choice = settings(LibrarySettings, config)
    artifacts = Path(choice.artifacts) if choice.artifacts else ARTIFACTS
    library, card = build(
        parquet_files(options.data, "pairs"),
        parquet_files(options.data, "candles"),
        shipped_embed(artifacts),
        choice,
        encoder_revision(artifacts),
    )
    save_library(options.out, library, card)
    size = (options.out / "model.safetensors").stat().st_size
    return {"rows": len(library.rows), "estimated": int(library.estimated.sum()), "bytes": size}
