"""Whether candle pretraining helps: volatility and volume of the next 256 minutes, beside HAR, from the tape alone.

Encoders are pretrained on windows before ``UNTIL``. Ridge and logistic regression are fitted on windows between ``FROM`` and
``UNTIL`` and measured after it; windows are 256 minutes apart, so no label meets another, and a day lies between both parts.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from domain.types import STEPS
from models.encoders.series import SeriesEncoder, build
from training.metrics import auc, interval
from training.registry import ReproduceOptions
from training.series.candles import scaled, windows_of
from training.series.probes import vectors
from training.series.recipe import SeriesSettings, Source, pretrain
from training.trajectories.pairs import load_tapes, parquet_files
from training.trajectories.tape import MINUTE_SECONDS, Tape

UNTIL = "2025-01-01T00:00:00+00:00"
WINDOWS = 600_000
PRETRAIN = 150
"""Steps with batches of 128 windows."""

GENTLE = [["jitter", 0.05, 1.0], ["crop", 0.8, 0.5], ["block_out", 0.1, 0.5], ["noise", 0.05, 0.5]]
SYMBOLS = ("BTC/USDT", "ETH/USDT", "XRP/USDT", "SOL/USDT", "DOGE/USDT")
DAY = 86_400
Doubles = NDArray[np.float64]


def run(options: ReproduceOptions, quick: bool) -> dict[str, Any]:
    """Figures of HAR, and of HAR with the vectors of random, VICReg and masked encoders."""
    tapes = load_tapes(parquet_files(options.data, "candles"))
    held = windows_of(list(tapes.values()), WINDOWS // 10 if quick else WINDOWS, UNTIL, options.seed)
    data = Source(len(held), held.channels, lambda rows: (held.rows(rows.numpy()), None), directed=True)
    rows = _rows([t for (_, symbol), t in tapes.items() if symbol in SYMBOLS])
    cut = datetime.fromisoformat(UNTIL).timestamp()
    early, late = rows["time"] < cut - DAY, rows["time"] >= cut
    figures, errors = {}, {}
    for name in ("HAR", "random", "vicreg", "masked"):
        inputs = rows["har"]
        if name != "HAR":
            net = _encoder(name, data, options, quick)
            inputs = np.concatenate([inputs, vectors(net, rows["windows"]).astype(np.float64)], 1)
        label = "HAR" if name == "HAR" else f"HAR and {name} encoder"
        figures[label], errors[label] = _score(inputs, rows, early, late)
    gained = {
        label: [round(v, 5) for v in interval(errors["HAR"] - error, rows["spread"][late], rows["time"][late])]
        for label, error in errors.items()
        if label != "HAR"
    }
    return {
        "windows": len(held), "until": UNTIL, "rows": int(late.sum()), "fitted_on": int(early.sum()),
        "independent_windows": int(late.sum()), "figures": figures, "gain_interval": gained,
    }  # fmt: skip


def _encoder(name: str, data: Source, options: ReproduceOptions, quick: bool) -> SeriesEncoder:
    choice = SeriesSettings(
        data="candles", steps=PRETRAIN // 4 if quick else PRETRAIN, batch_size=128, seed=options.seed
    )
    torch.manual_seed(options.seed)
    if name == "random":
        return build(choice.encoder, data.channels, **choice.encoder_options)
    choice = replace(choice, method=name, augmentations=[] if name == "masked" else GENTLE)
    method, _ = pretrain(choice, data, options.out / "encoders" / f"candles-{name}")
    return method.encoder


def _rows(tapes: list[Tape]) -> dict[str, Any]:
    """HAR inputs, encoder windows and what came after, for every whole pair of neighbouring windows."""
    prices, volumes, har, after, more, time = [], [], [], [], [], []
    for tape in tapes:
        for start in range(0, len(tape.mid) - 6 * STEPS, STEPS):
            mid, volume = tape.mid[start : start + 6 * STEPS], tape.volume[start : start + 6 * STEPS]
            if not (np.isfinite(mid).all() and (mid > 0).all() and np.isfinite(volume).all()):
                continue
            steps = 100 * np.diff(np.log(mid))
            now, then = steps[: 5 * STEPS - 1], steps[5 * STEPS - 1 :]
            har.append([np.log(max(now[-n:].std(), 1e-4)) for n in (16, 64, STEPS, 5 * STEPS - 1)])
            after.append(np.log(max(then.std(), 1e-4)))
            sums = volume.reshape(6, STEPS).sum(1)
            har[-1] += np.log(np.maximum(sums[:5], 1e-9))[-2:].tolist()
            more.append(float(sums[5] > np.quantile(sums[:5], 0.8)))
            prices.append(mid[4 * STEPS : 5 * STEPS])
            volumes.append(volume[4 * STEPS : 5 * STEPS])
            time.append((tape.first + start + 5 * STEPS) * MINUTE_SECONDS)
    truth = np.array(after)
    return {
        "har": np.array(har), "windows": scaled(np.array(prices), np.array(volumes)), "after": truth,
        "more": np.array(more, dtype=np.bool_), "time": np.array(time, dtype=np.int64),
        "spread": (truth - truth.mean()) ** 2,
    }  # fmt: skip


def _score(
    inputs: Doubles, rows: dict[str, Any], early: NDArray[np.bool_], late: NDArray[np.bool_]
) -> tuple[dict[str, float], Doubles]:
    """R² of log volatility and AUC of high volume on the later part, and the squared error of each of its rows."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(inputs[early])
    x, y = scaler.transform(inputs[early]), scaler.transform(inputs[late])
    ridge = Ridge(alpha=100.0).fit(x, rows["after"][early])
    error = np.asarray((ridge.predict(y) - rows["after"][late]) ** 2, dtype=np.float64)
    total = ((rows["after"][late] - rows["after"][late].mean()) ** 2).sum()
    loud = LogisticRegression(C=0.01, max_iter=500).fit(x, rows["more"][early]).predict_proba(y)[:, 1]
    found = auc(rows["more"][late], loud)
    return {"volatility_r2": round(float(1 - error.sum() / total), 5), "volume_auc": found or 0.5}, error
