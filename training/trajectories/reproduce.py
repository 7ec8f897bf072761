"""Report 000, posts and price trajectories: its figures beside ours, each fault on and off, every arm and loss by time.

``moodtape reproduce 000 --data FOLDER --out FOLDER`` writes 000.json, 000.md and pictures. Finished parts are kept in
000.parts.json: the same command goes on. With ``faithful`` only the report's own trainings are repeated.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.registry import ReproduceOptions
from training.runs import Parts
from training.series.evaluate import spread
from training.trajectories import reproduce_plots as plots
from training.trajectories.arms import FAULTS, ArmsRecipe, train
from training.trajectories.arms_data import load
from training.trajectories.daily import correlations
from training.trajectories.pairs import shipped_embed
from training.trajectories.recall import Collapsed
from training.trajectories.reproduce_table import markdown

REPORT = "000"
COINS = ("BTC/USDT", "ETH/USDT", "XRP/USDT")
REPORTED = {
    "mean of matches, chromagram arm, dollars": {"positive": 46760, "negative": 41329},
    "mean of matches, series arm, percent": {"positive": 1.54, "negative": 1.16},
    "Pearson, daily, as printed": {"BTC close": -0.01, "BTC volume": 0.13, "XRP close": 0.3, "XRP volume": 0.65},
    "Pearson, daily, recomputed from its notebooks": {"BTC volume": 0.343, "XRP volume": 0.749},
}
QUERIES = {
    "positive": "The steady rise in BTC price not only reflects its immense value as a digital asset, but also offers a "
    "promising outlook for investors, fueling excitement and confidence in its future trajectory.",
    "negative": "The volatile nature of BTC price can make it challenging for investors to predict and navigate, causing "
    "anxiety and uncertainty in the market.",
}
ALL = list(FAULTS)
CHROMA = {"arm": "chromagram", "encoder": "efficientnet_lite0", "size": 64, "tune_encoder": False}
FAITHFUL = ArmsRecipe(
    loss="report", faults=ALL, batch_size=32, learning_rate=1e-4, epochs=20, patience=0, alarm=False, limit=1000
)
RIGHT = ArmsRecipe(batch_size=128, epochs=8, patience=3, per_bin=2, limit=3000)
SHAPED = {"encoder": "resnet", "encoder_options": {"base": 8}, "scale": "volatility"}
TRIED = {
    "series, projection, report's loss": replace(RIGHT, loss="report", alarm=False),
    "series, projection, InfoNCE": RIGHT,
    "series, projection, SigLIP": replace(RIGHT, loss="siglip"),
    "series, projection, InfoNCE, one positive": replace(RIGHT, multi_positives=False, skip_same_bin=False),
    "series, ResNet on shape, InfoNCE": replace(RIGHT, arms=SHAPED, epochs=4),
    "chromagram, picture encoder at rest, InfoNCE": replace(RIGHT, arms=CHROMA, limit=600, epochs=2),
}
"""Every arm and loss that was tried; the best by validation would be confirmed once on the quarter after it."""


def run(options: ReproduceOptions) -> dict[str, Any]:
    """All parts; with ``quick`` one seed and fewer pairs."""
    options.out.mkdir(parents=True, exist_ok=True)
    tag = f"seed {options.seed}{', quick' * options.quick}{', faithful' * options.faithful}"
    parts = Parts(options.out / "000.parts.json", tag)
    embed = vectors_on_disk(options.out / "vectors.npz")
    seeds = list(range(options.seed, options.seed + (1 if options.quick else 3)))
    result: dict[str, Any] = {"report": REPORT, "reported": REPORTED, "quick": options.quick, "seeds": seeds}
    result["correlations"] = parts.get("correlations", partial(correlations, options.data, options.out))
    result["curves"] = {
        f"{coin} {arm}": parts.get(f"curves/{coin}/{arm}", partial(_coin, coin, arm, options, embed))
        for coin in COINS
        for arm in ("series", "chromagram")
    }
    if not options.faithful:
        result["faults"] = {
            name: parts.get(f"faults/{name}", partial(one, choice, options, embed, f"fault-{i}"))
            for i, (name, choice) in enumerate(faults_on_and_off(options).items())
        }
        result["arms"] = {name: _over(name, choice, seeds, parts, options, embed) for name, choice in TRIED.items()}
        result["trials"] = len(TRIED) * len(seeds)
        result["winner"] = winner(result["arms"])
        result["matches"] = parts.get("matches", partial(_matches, options, embed))
    plots.curves(options.out / "000_curves.png", result["curves"])
    (options.out / "000.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "000.md").write_text(markdown(result))
    return result


def faults_on_and_off(options: ReproduceOptions) -> dict[str, ArmsRecipe]:
    """The report's training, then each fault mended alone, none, and each left in alone."""
    base = replace(FAITHFUL, symbols=["BTC/USDT"], seed=options.seed, epochs=3, limit=500 if options.quick else 1000)
    rows = {"all faults": base}
    for fault in ALL:
        left = [f for f in ALL if f != fault]
        rows[f"all but {fault}"] = replace(base, faults=left, loss="info_nce" if fault == "soft_targets" else "report")
    rows["no fault"] = replace(base, faults=[], loss="info_nce")
    for fault in ALL:
        rows[f"only {fault}"] = replace(base, faults=[fault], loss="report" if fault == "soft_targets" else "info_nce")
    return rows


def one(choice: ArmsRecipe, options: ReproduceOptions, embed: Any, name: str) -> dict[str, Any]:
    """One training's figures; where it collapses, what the alarm says."""
    try:
        told = train(choice, load(choice, options.data, embed), options.out / "arms" / name)
    except Collapsed as error:
        return {"collapsed": error.message}
    return {k: told[k] for k in _KEPT if k in told}


_KEPT = (
    "loss_value", "health", "n", "pairs", "independent_windows", "chance", "text_to_series", "series_to_text", "steps",
    "best_step", "seconds", "curve", "validation_curve",
)  # fmt: skip


def _coin(coin: str, arm: str, options: ReproduceOptions, embed: Any) -> dict[str, Any]:
    """The report's own training on one coin, without and then with the alarm."""
    choice = replace(FAITHFUL, symbols=[coin], seed=options.seed, limit=500 if options.quick else 1000)
    if arm == "chromagram":
        choice = replace(
            choice,
            arms=CHROMA | {"tune_encoder": True},
            limit=64 if options.quick else 128,
            epochs=3,
            learning_rate=1e-3,
        )
    slug = f"{coin.partition('/')[0]}-{arm}"
    told = one(choice, options, embed, slug)
    watched = one(replace(choice, alarm=True), options, embed, f"{slug}-watched")
    return told | {"alarm": watched.get("collapsed", "silent")}


def _over(
    name: str, choice: ArmsRecipe, seeds: list[int], parts: Parts, options: ReproduceOptions, embed: Any
) -> dict[str, Any]:
    limit = 300 if options.quick else choice.limit
    rows = []
    for seed in seeds:
        seeded = replace(choice, seed=seed, limit=limit, epochs=2 if options.quick else choice.epochs)
        rows.append(
            parts.get(f"{name}/{seed}", partial(one, seeded, options, embed, f"{name[:24]}-{seed}".replace(" ", "-")))
        )
    sound = [row for row in rows if "collapsed" not in row]
    found: dict[str, Any] = {"collapsed": len(rows) - len(sound), "runs": rows}
    if not sound:
        return found
    for way in ("text_to_series", "series_to_text"):
        found[way] = {"gain": spread([row[way]["gain"] for row in sound])}
        for figure in ("r_at_1", "r_at_5", "r_at_10", "median_rank", "mrr"):
            kinds = ("model", "placebo_by_time", "shuffled")
            means = {kind: float(np.mean([row[way][kind][figure] for row in sound])) for kind in kinds}
            found[way][figure] = {kind: round(value, 5) for kind, value in means.items()}
    return found


def winner(arms: dict[str, Any]) -> str | None:
    """The arm whose R@10 beats the placebo by time with an interval above zero in every run and in both directions."""
    for name, row in arms.items():
        sound = [run for run in row["runs"] if "collapsed" not in run]
        ways = ("text_to_series", "series_to_text")
        if sound and all(run[way]["gain_interval"][0] > 0 for run in sound for way in ways):
            return name
    return None


def _matches(options: ReproduceOptions, embed: Any) -> dict[str, Any]:
    """Both queries of the report: top 5n and every fifth of them, their mean move and how many are flat; drawn as well."""
    choice = replace(RIGHT, symbols=["BTC/USDT"], seed=options.seed, epochs=2 if options.quick else 6)
    data = load(choice, options.data, embed)
    train(choice, data, options.out / "arms" / "matches")
    from models.trajectories.arms import load_arms

    net = load_arms(options.out / "arms" / "matches")
    found, chosen = {}, {}
    with torch.no_grad():
        pool = net.series(data.change)
        for name, query in QUERIES.items():
            scores = pool @ net.texts(torch.from_numpy(embed([query])))[0]
            rows = scores.argsort(descending=True)[:50:5]
            chosen[name] = data.change[rows].numpy()
            found[name] = {
                "mean_end": round(float(chosen[name][:, -1].mean()), 4),
                "mean_level": round(float(chosen[name].mean()), 4),
                "flat": int((np.abs(chosen[name]).max(1) < 0.05).sum()),
                "n": len(rows),
            }
    control = np.random.default_rng(options.seed).choice(len(data.change), 50)
    found["random windows"] = {"mean_end": round(float(data.change[control][:, -1].mean()), 4), "n": 50}
    plots.matches(options.out, chosen)
    plots.examples(options.out, data.change.numpy()[:: max(len(data.change) // 6, 1)][:6])
    return found


def vectors_on_disk(path: Path) -> Callable[[list[str]], Any]:
    """The shipped text encoder, with what it has read kept in a file; texts themselves are not kept."""
    from hashlib import blake2b

    known: dict[bytes, Any] = {}
    if path.is_file():
        with np.load(path) as file:
            known = {key.tobytes(): row for key, row in zip(file["keys"], file["rows"], strict=True)}
    reader: list[Any] = []

    def embed(texts: list[str]) -> Any:
        keys = [blake2b(text.encode("utf-8", "replace"), digest_size=12).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if new:
            if not reader:
                reader.append(shipped_embed())
            rows = reader[0](list(new.values())).astype(np.float16)
            known.update(zip(new, rows, strict=True))
            names = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(len(known), 12)
            np.savez(path, keys=names, rows=np.stack(list(known.values())))
        return np.stack([known[key] for key in keys]).astype(np.float32)

    return embed
