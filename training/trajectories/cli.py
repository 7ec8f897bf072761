"""``moodtape pairs``: build post–trajectory pairs from posts and candles, and say what a file of pairs holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from domain.errors import InputError
from training.cli import Json, show

app = typer.Typer(no_args_is_help=True, help="Post–trajectory pairs.", pretty_exceptions_enable=False)
pairs = typer.Typer(no_args_is_help=True, help="Build pairs of posts and trajectories, or describe them.")
app.add_typer(pairs, name="pairs")


@pairs.command()
def build(
    posts: Annotated[list[Path], typer.Option(help="Parquet of posts: t, text, symbols; may be repeated.")],
    candles: Annotated[list[Path], typer.Option(help="Parquet of one-minute candles; may be repeated.")],
    out: Annotated[Path, typer.Option(help="The parquet file to write.")],
    per_bin: Annotated[int, typer.Option(min=1, help="Most pairs per coin and 256-minute bin.")] = 20,
    several: Annotated[bool, typer.Option("--several", help="Keep posts that name several coins.")] = False,
    repeats: Annotated[bool, typer.Option("--repeats", help="Keep posts whose words were there before.")] = False,
    as_json: Json = False,
) -> None:
    """Join posts with the 256 minutes after them; what is refused is counted by reason."""
    from training.trajectories.build import join, load_posts, thinned, write
    from training.trajectories.pairs import load_tapes

    _there([*posts, *candles])
    given = load_posts(posts)
    joined = join(given, load_tapes(candles), several=several)
    kept = thinned(joined, given, per_bin, repeats=repeats)
    if not len(kept):
        raise InputError(f"No post could be paired: {_reasons(kept.refused)}.")
    write(out, kept, given)
    told = {"posts": len(given.time), "pairs": len(kept), "refused": {k: v for k, v in kept.refused.items() if v}}
    show(told | _windows(given.symbol[kept.post], given.time[kept.post]), as_json)


@pairs.command()
def stats(
    files: Annotated[list[Path], typer.Argument(help="Parquet files of pairs.")],
    as_json: Json = False,
) -> None:
    """Pairs, independent windows, near-duplicates and how clumped they are, by coin."""
    from training.trajectories.pairs import load_pairs, words_key

    _there(files)
    held = load_pairs(files)
    if not len(held):
        raise InputError("The files hold no sound pair.")
    _, clusters = np.unique([words_key(text) for text in held.text], return_counts=True)
    _, full = np.unique(held.bins, return_counts=True)
    end = np.abs(held.change[:, -1].astype(np.float64))
    top = max(len(full) // 20, 1)
    by_coin = {
        symbol: {"pairs": int((held.symbol == symbol).sum())}
        | _windows(held.symbol[held.symbol == symbol], held.time[held.symbol == symbol])
        for symbol in sorted(set(held.symbol))
    }
    show(
        {
            "pairs": len(held),
            **_windows(held.symbol, held.time),
            "near_duplicates": int((clusters - 1).sum()),
            "clusters": int((clusters > 1).sum()),
            "share_in_fullest_bins": round(float(np.sort(full)[-top:].sum() / len(held)), 4),
            "median_end_move": round(float(np.median(end)), 4),
            "flat": int((end < 0.05).sum()),
            "symbols": by_coin,
        },
        as_json,
    )


def _windows(symbol: Any, time: Any) -> dict[str, int]:
    """Distinct (coin, 256-minute) bins: windows of one bin overlap and say nearly the same."""
    from training.trajectories.pairs import BIN

    return {"independent_windows": len(set(zip(symbol.tolist(), (time // BIN).tolist(), strict=True)))}


def _reasons(refused: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in refused.items() if count) or "there are no posts"


def _there(paths: list[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
