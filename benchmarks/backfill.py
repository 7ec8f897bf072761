"""``moodtape import`` of a file of candles, from the command to the committed rows, three times over.

``python -m benchmarks.backfill --rows 1500000`` makes a parquet file of ten markets (``--format zip``: one market as Binance
publishes it), imports it, imports it again, and imports a copy under another name: only the first run may change a row.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.streams import START, STEP, Servers, candle_bars, servers

COINS = ("BTC", "ETH", "SOL", "DOGE", "ADA", "XRP", "LTC", "DOT", "LINK", "AVAX")
MARKETS = len(COINS)
NAMES = ("open", "high", "low", "close", "volume")


def parquet(folder: Path, rows: int) -> Path:
    """Ten markets, one after another."""
    each = rows // MARKETS
    bars = np.concatenate([candle_bars(each, seed) for seed in range(MARKETS)])
    columns = {name: bars[:, place] for place, name in enumerate(NAMES)}
    columns["t"] = np.tile(START + STEP * np.arange(each), MARKETS)
    symbols = pa.array([f"{coin}USDT" for coin in COINS]).take(pa.array(np.repeat(np.arange(MARKETS), each)))
    path = folder / "history.parquet"
    pa.parquet.write_table(pa.table({**columns, "symbol": symbols}), path)
    return path


def archive(folder: Path, rows: int) -> Path:
    """One market as Binance's archive has it: klines without a header, in milliseconds."""
    lines = io.StringIO()
    for place, bar in enumerate(candle_bars(rows).tolist()):
        at = 1000 * (START + STEP * place)
        lines.write(f"{at},{','.join(map(str, bar))},{at + 59_999},0,0,0,0,0\n")
    path = folder / "BTCUSDT-1m.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("BTCUSDT-1m.csv", lines.getvalue())
    return path


def state(stack: Servers) -> tuple[int, int]:
    """Number of rows, and the newest transaction that wrote one."""
    return (
        stack.number("select count(*) from candles"),
        stack.number("select coalesce(max(xmin::text::bigint), 0) from candles"),
    )


def run(stack: Servers, path: Path) -> dict[str, Any]:
    """One import by the command; rows a minute over the command's whole life, its start included."""
    began, before = time.monotonic(), state(stack)
    argv = [sys.executable, "-m", "moodtape", "import", str(path), "--json"]
    done = subprocess.run(argv, env=stack.env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    seconds, after = time.monotonic() - began, state(stack)
    (told,) = json.loads(done.stdout)["files"]
    return {
        "seconds": round(seconds, 1),
        "rows": told["rows"],
        "stored": told["stored"],
        "changed": told["stored"] if after != before else 0,
        "rows_a_minute": round(60 * told["rows"] / seconds),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The three runs."""
    load = os.getloadavg()[0]
    with servers(options.broker) as stack:
        path = (archive if options.format == "zip" else parquet)(stack.folder, options.rows)
        copy = path.with_name("ETHUSDT-copy.zip" if options.format == "zip" else "copy.parquet")
        first, second = run(stack, path), run(stack, path)
        shutil.copyfile(path, copy)
        third = run(stack, copy) if options.format == "parquet" else None
        rows = stack.number("select count(*) from candles")
    return {
        "file": options.format,
        "rows": rows,
        "first": first,
        "again": second,
        "copy": third,
        "broker": options.broker or "embedded",
        "load_before": round(load, 1),
    }


def main() -> None:
    """Command line; exits 1 when a later run changed a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_500_000)
    parser.add_argument("--format", choices=("parquet", "zip"), default="parquet")
    parser.add_argument("--broker", help="host:port of another broker")
    parser.add_argument("--json", action="store_true", help="print JSON only; it is JSON anyway")
    found = measure(parser.parse_args())
    sys.stdout.write(json.dumps(found) + "\n")
    sys.exit(1 if any(found[name] and found[name]["changed"] for name in ("again", "copy")) else 0)


if __name__ == "__main__":
    main()
