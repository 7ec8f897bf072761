"""The band live and in the study: random windows through PostgreSQL against the walk-forward's arrays, and a poisoned future.

``python -m benchmarks.band --candles FILE --json`` prints the largest difference, how many answers changed when every
later candle was noise (none may), and whether a planted look ahead is caught. Windows lie on random days, 25 to a day.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import SecretStr
from sqlalchemy import Engine

from db.engine import DatabaseSettings, make_engine, transaction
from db.migrate import upgrade
from db.queries.candles import upsert_candles
from db.queries.market_history import market_contexts
from domain.answer import Verdict, to_answer
from domain.candles import CandleColumns, MarketKey
from domain.types import STEPS, BandHistory, MarketContext, Minutes, Post
from models.manifest import ARTIFACTS
from models.trajectories.band import SPAN, BandParameters, clip, forecast, history
from models.trajectories.library import load_library
from models.trajectories.measures import DAY
from models.trajectories.retrieval import RetrievedTrajectories, load_trajectories
from moodtape.servers import Postgres
from training.trajectories.leaks import changed_by_future
from training.trajectories.pairs import load_tapes
from training.trajectories.tape import Tape, moment
from training.trajectories.windows import Windows, longest, windows_of
from workers.bands import Bands

PER_DAY = 25


def chosen(windows: Windows, count: int, seed: int) -> list[tuple[int, int]]:
    """(market, epoch minute) of random windows: random market-days, up to 25 windows of each."""
    rng, days = np.random.default_rng(seed), sorted(set(windows.days))
    out: list[tuple[int, int]] = []
    for place in rng.permutation(len(days)):
        market, day = days[place]
        rows = np.flatnonzero((windows.market == market) & (windows.start // DAY == day))
        out += [(market, int(windows.start[row])) for row in rng.permutation(rows)[:PER_DAY]]
        if len(out) >= count:
            break
    return out[:count]


def live_against_study(
    engine: Engine, tapes: list[Minutes], windows: Windows, asked: list[tuple[int, int]], parameters: BandParameters
) -> float:
    """Largest difference of log volatility and of standardised quantiles: through PostgreSQL against the study's arrays."""
    expected = np.einsum("nhf,hf->nh", windows.inputs, parameters.weights)
    rows = {(m, s): n for n, (m, s) in enumerate(zip(windows.market.tolist(), windows.start.tolist(), strict=True))}
    bands, worst = Bands(engine, parameters), 0.0
    for market, start in asked:
        symbol = tapes[market].symbol
        _store(engine, tapes[market], start)
        with transaction(engine) as connection:
            context = market_contexts(connection, [(symbol, datetime.fromtimestamp(start * 60, UTC))])[0]
            assert context is not None
            past = bands.history(connection, context.market, symbol, start // DAY * DAY)
        live = forecast(parameters, replace(context, history=past), 1.0)
        study = remembered(parameters, tapes[market], start // DAY * DAY)
        own = expected[rows[market, start]]
        gaps = (np.abs(live.expected - own).max(), np.abs(past.quantiles - study.quantiles).max())
        worst = max(worst, *(float(gap) for gap in gaps))
    return worst


_HISTORIES: dict[bytes, BandHistory] = {}


def remembered(parameters: BandParameters, tape: Minutes, midnight: int) -> BandHistory:
    """The history of a day, kept by every byte of the tape that may go into it: a poisoned one is computed anew."""
    part = clip(tape, midnight - SPAN, midnight)
    key = hashlib.sha256(part.mid.tobytes() + part.volume.tobytes() + f"{tape.symbol}{midnight}".encode()).digest()
    if key not in _HISTORIES:
        _HISTORIES[key] = history(parameters, tape, midnight)
    return _HISTORIES[key]


_STORED: set[tuple[str, int]] = set()


def _store(engine: Engine, tape: Minutes, start: int) -> None:
    key = (tape.symbol, start // DAY)
    if key in _STORED:
        return
    _STORED.add(key)
    part = clip(tape, start // DAY * DAY - SPAN, start // DAY * DAY + DAY)
    known = np.isfinite(part.mid)
    bars = np.stack([*[part.mid[known]] * 4, part.volume[known]], axis=1)
    at = (part.first + np.flatnonzero(known)) * 60
    with transaction(engine) as connection:
        upsert_candles(connection, CandleColumns.of(MarketKey("study", "spot", tape.symbol), at, bars))


def poison(tapes: list[Minutes], asked: list[tuple[int, int]], model: RetrievedTrajectories, ahead: int = 0) -> int:
    """How many answers change when all later candles are noise; ``ahead``: minutes of a planted look into the future."""
    vector = np.ones((1, 384), dtype=np.float32) / np.sqrt(384)

    def answer(tape: Minutes, minute: int) -> bytes:
        known = Tape(tape.symbol, tape.first, tape.mid, tape.volume, np.zeros(0, dtype=np.int64))
        context: MarketContext = known.context(moment((minute + ahead) * 60))
        past = remembered(model.parameters, tape, minute // DAY * DAY)
        post = Post("p", "s", "", "en", moment(minute * 60))
        found = model.match([post], [tape.symbol], vector, [replace(context, history=past)])[0]
        assert found is not None
        return json.dumps(to_answer(_verdict(found))).encode()

    return sum(len(changed_by_future(answer, _near(tapes[market], minute), [minute])) for market, minute in asked)


def _near(tape: Minutes, minute: int) -> Minutes:
    return clip(tape, minute // DAY * DAY - SPAN, minute + 2 * STEPS)


def _verdict(found: Any) -> Verdict:
    from domain.answer import Emotions, Hype, HypeForecast

    mood, nothing = Emotions(None, {}, None, None, 0), HypeForecast(None, None, STEPS, None, signal=False)
    return Verdict("p", "r", moment(0), mood, Hype(nothing), found.trajectories)


def run(files: list[Path], count: int, seed: int) -> dict[str, Any]:
    """Everything, on a PostgreSQL of its own."""
    tapes = longest(load_tapes(files))
    windows = windows_of(tapes)
    model = load_trajectories(load_library(ARTIFACTS).rows)
    asked = chosen(windows, count, seed)
    folder = Path(tempfile.mkdtemp(prefix="moodtape-bench-"))
    folder.chmod(0o711)
    server = Postgres(folder, tied=True, durable=False)
    try:
        server.start()
        settings = DatabaseSettings.model_validate({"DATABASE_URL": SecretStr(server.url)})
        upgrade(settings)
        engine = make_engine(settings)
        worst = live_against_study(engine, tapes, windows, asked, model.parameters)
        engine.dispose()
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "windows": len(asked),
        "market_days": len({(m, s // DAY) for m, s in asked}),
        "largest_difference": worst,
        "changed_by_poison": poison(tapes, asked, model),
        "planted_leak_caught_in": poison(tapes, asked[:20], model, ahead=1),
        "of": 20,
        "seed": seed,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--candles", type=Path, action="append", required=True)
    parser.add_argument("--windows", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = run(given.candles, given.windows, given.seed)
    sys.stdout.write(json.dumps(found, indent=None if given.json else 1) + "\n")


if __name__ == "__main__":
    main()
