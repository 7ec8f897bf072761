"""Post–trajectory pairs and candles from parquet files of the published columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from domain.candles import volatility_before
from domain.errors import ConfigError, InputError
from domain.symbols import normalize
from domain.types import STEPS, Floats
from models.manifest import ARTIFACTS
from models.trajectories.index import realised
from runtime.progress import progress
from training.trajectories.tape import Tape, make_tape, moment

BIN = STEPS * 60
"""Length in seconds of the bins whose windows are not independent."""

_NOISE = re.compile(r"https?://\S+|@\w+|\d+|[^\w\s]|_")


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Posts and the 256 minutes after each, ordered by time. ``time`` and ``start``: int64[n], epoch seconds.

    ``change``: float16[n, 256], percent since the first step; ``named``: whether the text names the coin.
    """

    source: NDArray[Any]
    symbol: NDArray[Any]
    exchange: NDArray[Any]
    time: NDArray[np.int64]
    start: NDArray[np.int64]
    text: NDArray[Any]
    named: NDArray[np.bool_]
    change: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, index: NDArray[Any]) -> Pairs:
        """The pairs at these positions, or under this mask."""
        return Pairs(**{name: getattr(self, name)[index] for name in self.__slots__})

    @property
    def bins(self) -> NDArray[Any]:
        """One text key per (symbol, 256-minute bin)."""
        return np.array([f"{s}|{t // BIN}" for s, t in zip(self.symbol, self.time, strict=True)], dtype=object)


def read(files: Sequence[Path], columns: Sequence[str]) -> pa.Table:
    """Those of the columns that the parquet files have, one file after the other.

    Raises:
        ConfigError: a file is missing or no parquet file.
    """
    tables = []
    for path in files:
        try:
            present = set(pq.read_schema(path).names)
            tables.append(pq.read_table(path, columns=[c for c in columns if c in present]))
        except (OSError, pa.ArrowInvalid) as error:
            raise ConfigError(f"The file {path.name} cannot be read as parquet ({error}).") from None
    return pa.concat_tables([_plain(t) for t in tables], promote_options="permissive")


def parquet_files(folder: Path, kind: str) -> list[Path]:
    """All ``<kind>*.parquet`` below a folder of data sets.

    Raises:
        InputError: there is none.
    """
    found = sorted(folder.rglob(f"{kind}*.parquet"))
    if not found:
        raise InputError(f"There is no {kind}*.parquet below {folder}.")
    return found


def _plain(table: pa.Table) -> pa.Table:
    for i, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(i, column.name, table.column(i).cast(column.type.value_type))
    return table


def texts_of(table: pa.Table, *names: str, default: str) -> NDArray[Any]:
    """The first of these columns that a table has, as text; ``default`` where it has none."""
    for name in names:
        if name in table.column_names:
            return np.array([default if v is None else str(v) for v in table.column(name).to_pylist()], dtype=object)
    return np.full(table.num_rows, default, dtype=object)


def ccxt_symbols(names: NDArray[Any]) -> NDArray[Any]:
    """``BTCUSDT``, ``BTC/USDT`` and ``gork`` as ccxt pairs."""
    known = {name: normalize(name) for name in set(names.tolist())}
    return np.array([known[name] for name in names], dtype=object)


def load_pairs(files: Sequence[Path]) -> Pairs:
    """All sound pairs of the files, ordered by time; rows with empty words or broken steps are dropped.

    Raises:
        InputError: a column is missing.
    """
    wanted = ("source", "symbol", "t", "text", "pct256", "start_minute", "exchange", "named")
    table = read(files, wanted)
    missing = {"symbol", "t", "text", "pct256"} - set(table.column_names)
    if missing:
        raise InputError(f"The pairs lack the columns {', '.join(sorted(missing))}.")
    table = table.filter(pc.equal(pc.list_value_length(table["pct256"]), STEPS))
    flat = pc.list_flatten(table["pct256"]).combine_chunks()
    change = np.asarray(flat.to_numpy(zero_copy_only=False)).astype(np.float16).reshape(-1, STEPS)
    time = table["t"].to_numpy().astype(np.int64)
    start = (
        table["start_minute"].to_numpy().astype(np.int64)
        if "start_minute" in table.column_names
        else -(-time // 60) * 60
    )
    pairs = Pairs(
        source=texts_of(table, "source", default="file"),
        symbol=ccxt_symbols(texts_of(table, "symbol", default="")),
        exchange=texts_of(table, "exchange", default=""),
        time=time,
        start=start,
        text=texts_of(table, "text", default=""),
        named=np.array(table["named"].to_pylist() if "named" in table.column_names else [True] * len(time), dtype=bool),
        change=change,
    )
    sound = np.isfinite(change).all(axis=1) & np.array([bool(t.strip()) for t in pairs.text], dtype=bool)
    return pairs.take(np.flatnonzero(sound)[np.argsort(time[sound], kind="stable")])


def words_key(text: str) -> str:
    """The words of a text without links, mentions, digits, signs and case: equal keys are near-duplicates."""
    key = " ".join(_NOISE.sub(" ", text.lower()).split())
    return key or text.strip().lower()


def without_repeats(pairs: Pairs) -> Pairs:
    """For each symbol, only the first post of each wording."""
    seen: set[tuple[str, str]] = set()
    keep = np.zeros(len(pairs), dtype=bool)
    for i, (symbol, text) in enumerate(zip(pairs.symbol, pairs.text, strict=True)):
        key = (symbol, words_key(text))
        keep[i] = key not in seen
        seen.add(key)
    return pairs.take(keep)


def capped(pairs: Pairs, per_bin: int, seed: int, limit: int | None = None) -> Pairs:
    """At most ``per_bin`` pairs per symbol and bin, those that name the coin first, else by lot; then at most ``limit``.

    The limit takes the first choice of every bin before the second of any.
    """
    lot = np.random.default_rng(seed).random(len(pairs))
    order = np.lexsort((lot, ~pairs.named))
    rank = np.zeros(len(pairs), dtype=np.int64)
    count: dict[str, int] = {}
    bins = pairs.bins
    for i in order:
        rank[i] = count[bins[i]] = count.get(bins[i], 0) + 1
    chosen = np.flatnonzero(rank <= per_bin)
    if limit is not None and len(chosen) > limit:
        chosen = chosen[np.lexsort((lot[chosen], rank[chosen]))[:limit]]
    return pairs.take(np.sort(chosen))


def load_tapes(files: Sequence[Path]) -> dict[tuple[str, str], Tape]:
    """Candles by (exchange, symbol) on grids of minutes; a file without exchanges counts as one, named ``""``.

    Raises:
        InputError: a column is missing.
    """
    table = read(files, ("exchange", "symbol", "asset", "t", "open", "close", "volume"))
    missing = {"t", "open", "close", "volume"} - set(table.column_names)
    if missing or not {"symbol", "asset"} & set(table.column_names):
        raise InputError(f"The candles lack the columns {', '.join(sorted(missing or {'symbol'}))}.")
    for name in {"exchange", "symbol", "asset"} - set(table.column_names):
        table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
    symbols = pc.coalesce(table["symbol"].cast(pa.string()), table["asset"].cast(pa.string()), "")
    exchanges = pc.coalesce(table["exchange"].cast(pa.string()), "")
    table = table.select(["t", "open", "close", "volume"])
    keys = (
        pa.table({"exchange": exchanges, "symbol": symbols}).group_by(["exchange", "symbol"]).aggregate([]).to_pylist()
    )
    tapes = {}
    for key in sorted(keys, key=str):
        part = table.filter(pc.and_(pc.equal(exchanges, key["exchange"]), pc.equal(symbols, key["symbol"])))
        symbol = normalize(key["symbol"], key["exchange"].partition("_")[0])
        arrays = {c: part[c].to_numpy() for c in ("t", "open", "close", "volume")}
        tapes[key["exchange"], symbol] = make_tape(
            symbol, arrays["t"], arrays["open"], arrays["close"], arrays["volume"]
        )
    return tapes


RECENT = 50
"""Windows over which an estimate takes the median."""


def find_tape(tapes: Mapping[tuple[str, str], Tape], exchange: str, symbol: str) -> Tape | None:
    """The candles of the pair's own venue, else the longest of any venue with that symbol."""
    own = tapes.get((exchange, symbol))
    others = [tape for (_, name), tape in tapes.items() if name == symbol]
    return own or max(others, key=lambda tape: len(tape.mid), default=None)


def before_posts(pairs: Pairs, tapes: Mapping[tuple[str, str], Tape]) -> tuple[Floats, NDArray[np.bool_]]:
    """``(volatility float32[n], estimated bool[n])`` for pairs ordered by time.

    An estimate is the median realised volatility of the symbol's last windows that had ended before the post; where
    there is none yet, of all symbols' last windows; where there is none at all, the pair gets NaN.
    """
    measured = np.full(len(pairs), np.nan)
    for i in range(len(pairs)):  # a loop, because each post has its own venue and minute
        tape = find_tape(tapes, pairs.exchange[i], pairs.symbol[i])
        if tape is not None:
            value = volatility_before(tape.context(moment(pairs.time[i])).mid)
            measured[i] = np.nan if value is None else value
    estimated = ~np.isfinite(measured)
    after = realised(pairs.change)
    ends = pairs.start + STEPS * 60
    for i in np.flatnonzero(estimated).tolist():
        past = np.flatnonzero((ends[:i] <= pairs.time[i]) & (pairs.symbol[:i] == pairs.symbol[i]))
        if not len(past):
            past = np.flatnonzero(ends[:i] <= pairs.time[i])
        measured[i] = np.median(after[past[-RECENT:]]) if len(past) else np.nan
    return measured.astype(np.float32), estimated


Embed = Callable[[Sequence[str]], Floats]
"""Texts to unit vectors, float32[n, 384]."""

BATCH = 256


def shipped_embed(artifacts: Path = ARTIFACTS) -> Embed:
    """The shared text encoder as a function; texts of like length are read together."""
    from models.emotion.text import EmotionTextReader

    reader = EmotionTextReader.from_pretrained(artifacts / "emotion-text")

    def embed(texts: Sequence[str]) -> Floats:
        order = np.argsort([len(t) for t in texts], kind="stable")
        out = np.zeros((len(texts), 384), dtype=np.float32)
        with progress("embedding", len(texts)) as report:
            for start in range(0, len(texts), BATCH):
                part = order[start : start + BATCH]
                out[part] = np.stack([r.embedding for r in reader.read([texts[i] for i in part])])
                report(start + len(part))
        return out

    return embed
