"""Hype served from PostgreSQL: 50 symbols when a window closes, a month of 20 symbols as a series, and one answer's hype.

Markets and posts are made up (nothing about speed depends on them) and lie in a PostgreSQL of the benchmark's own. ``ours``
is how many symbols a second :func:`workers.series.refresh` publishes, ``peer`` the same one symbol at a time. Every number of
the month is compared with the features of training, row by row.

    python -m benchmarks.hype [--symbols 50] [--month 20] [--posts 20000] [--json]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text

from benchmarks.report import demand, report
from db.engine import DatabaseSettings, make_engine, transaction
from db.migrate import upgrade
from db.queries.candles import upsert_candles
from db.queries.market_history import market_contexts
from db.queries.posts import author_histories, insert_posts
from domain.candles import CandleColumns, MarketKey
from domain.series import PAST, QUARTER
from domain.types import Minutes, Post
from models.hype.features import situations
from models.hype.forecast import HypeHeads, load_hype
from moodtape.servers import Postgres
from training.hype.windows import past_at
from training.trajectories.tape import Tape
from workers.series import records, refresh

NOW = datetime(2025, 6, 30, 12, 2, tzinfo=UTC)
CLOSED = NOW.replace(minute=0)
MONTH = timedelta(days=30)
WEEK = timedelta(days=8)


def fill(engine: Engine, count: int, months: int, posts: int) -> list[Tape]:
    """Candles of so many markets up to now, one minute in a hundred missing, and posts of the last eight days.

    The first ``months`` have a month of candles and a week before it, the others eight days.
    """
    tapes = []
    for number in range(count):
        draw = np.random.default_rng(number)
        days = (MONTH + WEEK).days if number < months else WEEK.days
        minutes = days * 1440
        first = int(CLOSED.timestamp()) // 60 - minutes
        mid = 100 * np.exp(np.cumsum(draw.normal(0, 1e-3, minutes)))
        volume = draw.lognormal(3, 0.7, minutes) * np.exp(np.sin(np.arange(minutes) / 300))
        known = draw.random(minutes) > 0.01
        mid, volume = (np.where(known, values, np.nan) for values in (mid, volume))
        tape = Minutes(f"M{number}/USDT", first, mid, volume)
        at = (first + np.flatnonzero(known)) * 60
        bars = np.stack([*[mid[known]] * 4, volume[known]], axis=1)
        with transaction(engine) as connection:
            upsert_candles(connection, CandleColumns.of(MarketKey("bench", "spot", tape.symbol), at, bars))
        tapes.append(Tape(tape.symbol, first, mid, volume, np.zeros(0, np.int64)))
    with transaction(engine) as connection:
        insert_posts(connection, made_posts(posts, count))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("analyze"))
    return tapes


def made_posts(count: int, symbols: int) -> list[Post]:
    """Posts of 200 authors about single symbols, the first far more often than the last."""
    draw = np.random.default_rng(0)
    ages = np.sort(draw.random(count)) * WEEK.total_seconds()
    which = np.minimum(draw.geometric(0.1, count) - 1, symbols - 1)
    return [
        Post(
            f"bench:{i}",
            "bench",
            f"post {i}",
            "en",
            CLOSED - timedelta(seconds=float(age)),
            (f"M{symbol}/USDT",),
            author_hash=f"a{i % 200}",
            likes=int(i % 91),
        )
        for i, (age, symbol) in enumerate(zip(ages, which, strict=True))
    ]


def processor_seconds(connection: Connection) -> float:
    """What this process and the server's process of a connection have used so far."""
    server = connection.execute(text("select pg_backend_pid()")).scalar_one()
    return time.process_time() + sum(psutil.Process(server).cpu_times()[:2])


def refreshed(engine: Engine, heads: HypeHeads, symbols: list[str], together: bool) -> tuple[list[float], list[float]]:
    """Seconds until the newest windows of all symbols are published, when those before them are, each of five closings.

    The second list has the processor's seconds of both sides: what they would be on a machine with nothing else to do.
    """
    out, used = [], []
    for back in range(5, 0, -1):
        at = NOW - back * timedelta(minutes=QUARTER)
        start, busy = time.perf_counter(), 0.0
        for some in [symbols] if together else [[symbol] for symbol in symbols]:
            with transaction(engine) as connection:
                before = processor_seconds(connection)
                refresh(connection, heads, at, some)
                busy += processor_seconds(connection) - before
        out.append(time.perf_counter() - start)
        used.append(busy)
    with transaction(engine) as connection:
        last = CLOSED - 6 * timedelta(minutes=QUARTER)
        connection.execute(text("delete from series_windows where opened_at >= :last"), {"last": last})
    return out, used


def answers(engine: Engine, heads: HypeHeads, count: int = 100) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of a post's hype: all of it (market and author read, both forecasts), the processor's, the models' alone."""
    whole, busy, models = [], [], []
    vector = np.ones((1, 384), dtype=np.float32) / np.sqrt(384)
    with transaction(engine) as connection:
        found = connection.execute(
            text("select id, author_hash, symbols from posts order by posted_at desc, id limit :n"), {"n": count}
        )
        posts = [Post(i, "bench", "gm", "en", NOW, tuple(s), author_hash=a) for i, a, s in found]
        for post in posts:
            start, before = time.perf_counter(), processor_seconds(connection)
            contexts = market_contexts(connection, [(post.symbols[0], NOW)])
            history = author_histories(connection, [post]).get(post.id)
            read = time.perf_counter()
            heads.forecast([post], contexts, [history], vector)
            end = time.perf_counter()
            whole.append((end - start) * 1e3)
            busy.append((processor_seconds(connection) - before) * 1e3)
            models.append((end - read) * 1e3)
    return whole, busy, models


def month(engine: Engine, heads: HypeHeads, tapes: list[Tape]) -> tuple[float, float, int]:
    """Seconds for a month of these symbols, the largest difference of a chance from training's, and how many rows there are."""
    since, rows = CLOSED - MONTH, []
    start = time.perf_counter()
    for tape in tapes:
        with transaction(engine) as connection:
            rows.append(records(connection, tape.symbol, since, CLOSED, "15m", heads))
    seconds = time.perf_counter() - start
    worst = 0.0
    closes = int(since.timestamp()) // 60 + QUARTER * np.arange(1, MONTH.days * 96 + 1)
    for tape, own in zip(tapes, rows, strict=True):
        past = past_at(_counted(engine, tape), closes)
        for head in heads.of_symbols():
            now = situations(past, head.horizon, head.trailing)
            expected = np.where(now.trouble == 0, head.probability(now.features), np.nan)
            said = np.array([row[f"hype_{head.horizon}"] for row in own], dtype=np.float64)
            if not np.array_equal(np.isnan(expected), np.isnan(said)):
                return seconds, float("inf"), len(own)
            worst = max(worst, float(np.nanmax(np.abs(expected - said))))
    return seconds, worst, sum(len(own) for own in rows)


def _counted(engine: Engine, tape: Tape) -> Tape:
    """The tape with its posts and their authors, as training reads them from a file."""
    with transaction(engine) as connection:
        query = text(
            "select floor(extract(epoch from posted_at))::int8, author_hash from posts where :s = any(symbols) "
            "order by posted_at"
        )
        rows = connection.execute(query, {"s": tape.symbol}).all()
    times = np.array([row[0] for row in rows], dtype=np.int64)
    return Tape(tape.symbol, tape.first, tape.mid, tape.volume, times, tuple(row[1] for row in rows))


def run(engine: Engine, symbols: int, months: int, posts: int) -> dict[str, Any]:
    """Everything on a filled database."""
    tapes, heads = fill(engine, symbols, months, posts), load_hype()
    names = [tape.symbol for tape in tapes]
    with transaction(engine) as connection:
        refresh(connection, heads, NOW - 6 * timedelta(minutes=QUARTER), names)
    single, single_used = refreshed(engine, heads, names, together=False)
    joint, joint_used = refreshed(engine, heads, names, together=True)
    whole, busy, models = answers(engine, heads)
    with transaction(engine) as connection:
        connection.execute(text("truncate series_windows"))
    seconds, worst, rows = month(engine, heads, tapes[:months])
    return {
        "refresh_s": [float(np.median(joint)), max(joint)],
        "refresh_processor_s": float(np.median(joint_used)),
        "one_by_one_s": [float(np.median(single)), max(single)],
        "one_by_one_processor_s": float(np.median(single_used)),
        "answer_ms": [float(np.quantile(whole, q)) for q in (0.5, 0.95)],
        "answer_processor_ms": float(np.mean(busy)),
        "answer_models_ms": [float(np.quantile(models, q)) for q in (0.5, 0.95)],
        "month_symbols": months,
        "month_s": seconds,
        "month_rows": rows,
        "month_largest_difference": worst,
        "windows_behind_a_forecast": PAST,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--month", type=int, default=20, help="symbols with a month")
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="moodtape-bench-"))
    folder.chmod(0o711)
    server = Postgres(folder, tied=True, durable=False)
    try:
        server.start()
        settings = DatabaseSettings.model_validate({"DATABASE_URL": SecretStr(server.url)})
        upgrade(settings)
        engine = make_engine(settings)
        found = run(engine, given.symbols, given.month, given.posts)
        engine.dispose()
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)
    median = found["refresh_s"][0]
    report(
        ours=given.symbols / median,
        peer=given.symbols / found["one_by_one_s"][0],
        unit="symbols/s",
        packages=("numpy", "psycopg", "sqlalchemy"),
        limit={"refresh_s": 1.0, "answer_ms": 20.0},
        **found,
    )
    demand(changed_by_serving=int(found["month_largest_difference"] > 1e-7))


if __name__ == "__main__":
    main()
