"""The synthetic feed: the same for the same seed, without holes, and honest candles."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from domain.clock import ManualClock
from domain.symbols import mentioned
from streaming import synthetic
from streaming.messages import CandleMessage, PostMessage
from streaming.synthetic import MARKETS, Synthetic, candles, posts
from streaming.validate import candle_reasons
from tests.streaming.kit import closes
from tests.streaming.test_replay import Waits

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


async def read(clock: ManualClock, cursors: dict[str, int], messages: int) -> list[object]:
    source, out = Synthetic(7, clock), []
    async for batch in source.read(cursors, Waits(clock)):
        out += batch
        if len(out) >= messages:
            break
    return out


async def test_history_then_live_without_a_hole() -> None:
    """Blocks cover at least six days up to the last closed minute, then single candles follow minute by minute."""
    clock = ManualClock(NOW)
    cursors = dict(Synthetic(7, clock).streams())
    cursors["synthetic/posts"] = int(NOW.timestamp()) // synthetic.POST_EVERY
    out = await read(clock, cursors, 400)
    stream = "synthetic/spot/BTC/USDT/1m"
    parts = [list(closes(m)) for m in out if m.stream == stream]
    live = [at for part in parts if len(part) == 1 for at in part]
    history = [at for part in parts if len(part) > 1 for at in part]
    assert history[-1] == int(NOW.timestamp()) - 30 - 60
    assert len(history) >= 6 * 1440
    assert len(live) > 10
    assert set(np.diff(history + live)) == {60}


async def test_a_restart_repeats_nothing_and_differs_in_nothing() -> None:
    """Read from a cursor, the feed gives the very messages it would have given."""
    clock = ManualClock(NOW)
    streams = dict(Synthetic(7, clock).streams())
    later = {stream: at + (600 if "spot" in stream else 100) for stream, at in streams.items()}
    prices = {}
    for start in (streams, later):
        for m in await read(ManualClock(NOW), dict(start), 150):
            if isinstance(m, CandleMessage):
                for at, close in closes(m).items():
                    assert prices.setdefault((m.symbol, at), close) == close


async def test_only_fresh_posts_are_to_be_scored() -> None:
    """History is stored but not queued."""
    clock = ManualClock(NOW)
    source = Synthetic(7, clock)
    last = int(NOW.timestamp())
    cursors = {
        stream: last - 90 if "spot" in stream else last // synthetic.POST_EVERY - 500 for stream in source.streams()
    }
    out = await read(clock, cursors, 520)
    made = [m for m in out if isinstance(m, PostMessage)]
    assert not made[0].score
    assert made[-1].score
    assert sum(m.score for m in made) < 1000


def test_candles_pass_the_checks_and_move_like_a_market() -> None:
    """No refused candle; neighbours join; the 256-minute moves are between 0.1 % and 10 %."""
    at = np.arange(1_700_000_040, 1_700_000_040 + 60 * 5000, 60)
    for market in MARKETS:
        bars = candles(market, 7, at)
        assert candle_reasons(at.astype(float), bars, float(at[-1])) == {}
        moves = np.abs(bars[256:, 3] / bars[:-256, 3] - 1)
        assert 0.001 < np.median(moves) < 0.1
        assert np.allclose(bars[1:, 0], bars[:-1, 3], rtol=1e-4)
    assert not np.array_equal(candles(MARKETS[0], 7, at), candles(MARKETS[0], 8, at))


def test_posts_name_their_market() -> None:
    """What a post says and which market it is filed under agree, for every template."""
    made = posts(0, 400, 7)
    assert {p.id for p in made} == {f"synthetic:7-{n}" for n in range(400)}
    assert all(mentioned(p.text) == p.symbols for p in made)
    assert len({p.text for p in made}) > 150
    assert all(p.posted_at.timestamp() <= (n + 1) * synthetic.POST_EVERY for n, p in enumerate(made))
