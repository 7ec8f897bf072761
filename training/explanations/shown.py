"""What people are shown: explanations of real queries and of charts by date, beside exchanged ones; and the space's locality.

Queries are held-out posts matched with older ones as the product does; the only fact is the query's own text. Of charts the
direction is counted before the gate, which lets no other one through and would make the agreement perfect by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import InputError
from domain.types import Floats
from models.emotion.text import EmotionTextReader
from models.explanations.explainer import Explainer, mean, medoid
from models.explanations.gate import Facts, direction, numbers
from runtime.progress import progress
from training.explanations.compare import halves
from training.explanations.meaning import CUT_POSTS, Prepared
from training.explanations.scores import content, share
from training.explanations.texts import Index, embed, plain
from workers.explaining import direction as chart_direction

QUERIES, MATCHES = 500, 10
CHARTS, LIBRARY = 400, 3000
"""Charts that are asked about, and earlier pairs of words and path among which their like is found."""

PAIRS = "pairs.parquet"
WINDOW = 256 * 60


def queries(given: Prepared, model: Explainer, reader: EmotionTextReader, seed: int = 0) -> dict[str, Any]:
    """Decoded words and the typical post of each query's matches, held against the query."""
    pool = halves(given)[1][1]
    asked = np.random.default_rng(seed).permutation(pool)[:QUERIES]
    library = given.train[given.texts.post[given.train]]
    near = _nearest(given.raw[asked], given.raw[library], MATCHES)
    rows: list[dict[str, Any]] = []
    with progress("explaining queries", len(asked)) as report:
        for query, found in zip(asked.tolist(), near, strict=True):
            matched = library[found]
            text = given.texts.words[query]
            decoded = model.explain(
                mean(given.vectors[matched]), Facts.of([text]), lambda drafts: embed(reader, drafts, quiet=True)
            )
            typical = given.texts.words[int(matched[medoid(given.raw[matched])])]
            group = [given.texts.words[i] for i in matched]
            rows.append(
                {
                    "query": text,
                    "decoded": decoded.text,
                    "withheld": decoded.withheld,
                    "typical": typical,
                    "group": group,
                }
            )
            report(len(rows))
    shown = [row for row in rows if row["withheld"] is None]
    codes = [row["withheld"] for row in rows if row["withheld"]]
    return {
        "n": len(rows),
        "withheld": share([row["withheld"] is not None for row in rows]),
        "withheld_by": {code: codes.count(code) for code in sorted(set(codes))},
        "decoded": _against([(row["decoded"], row["query"]) for row in shown]),
        "typical": _against([(row["typical"], row["query"]) for row in rows]),
        "typical_where_decoded_is_shown": _against([(row["typical"], row["query"]) for row in shown]),
        "random_post": _against([(row["typical"], other["query"]) for row, other in _exchanged(rows)]),
        "examples": [*shown[:20], *[row for row in rows if row["withheld"]][:20]],
    }


def _nearest(asked: Floats, library: Floats, k: int) -> NDArray[np.int64]:
    table = asked @ library.T
    return np.argsort(-table, axis=1, kind="stable")[:, :k]


def _exchanged(rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return list(zip(rows, [*rows[1:], *rows[:1]], strict=True))


def _against(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Of texts with what they are about: the same and the other direction, numbers that it lacks, content words shared."""
    ways = [(way, direction(true)) for text, true in pairs if (way := direction(text)) in ("up", "down")]
    known = [(way, true) for way, true in ways if true in ("up", "down")]
    overlap = [2 * len(content(a) & content(b)) / max(len(content(a)) + len(content(b)), 1) for a, b in pairs]
    return {
        "n": len(pairs),
        "with_direction": len(ways),
        "agreement": share([true in (way, "mixed") for way, true in ways]),
        "opposite": share([way != true for way, true in known]),
        "invented_numbers": share([bool(numbers(text) - numbers(true)) for text, true in pairs]),
        "shared": round(float(np.mean(overlap)), 4) if overlap else None,
    }


def charts(folder: Path, model: Explainer, reader: EmotionTextReader, seed: int = 0) -> dict[str, Any]:
    """How often words from the text-side image of a chart say the direction that it went, and with exchanged charts.

    Raises:
        InputError: there are no pairs below the folder.
    """
    texts, change, bins, cut = _pairs(folder)
    lots = np.random.default_rng(seed)
    older, newer = lots.permutation(np.flatnonzero(~cut))[:LIBRARY], lots.permutation(np.flatnonzero(cut))
    _, first = np.unique(bins[newer], return_index=True)
    ways = [chart_direction(1 + change[i] / 100) for i in newer[first]]
    asked = np.array([i for i, way in zip(newer[first], ways, strict=True) if way])[:CHARTS]
    true = [way for way in ways if way][:CHARTS]
    raw = embed(reader, [texts[i] for i in older])
    near = _nearest(_unit(change[asked]), _unit(change[older]), MATCHES)
    images = np.stack([mean(model.space(raw[row])) for row in near])
    decoded = model.write(images)
    typical = [plain(texts[int(older[row[medoid(raw[row])]])]) for row in near]
    passed = []
    for image, way in zip(images[:100], true, strict=False):
        found = model.explain(image, Facts.of([], also=[way]), lambda drafts: embed(reader, drafts, quiet=True))
        passed.append(found.withheld is None)
    return {
        "n": len(asked),
        "up": share([way == "up" for way in true]),
        "decoded": _agreement(decoded, true),
        "typical": _agreement(typical, true),
        "shown": {"n": len(passed), "share": share(passed)},
    }


def _agreement(said: Sequence[str], true: Sequence[str]) -> dict[str, Any]:
    """Of texts that say one direction: the share that says the chart's, and that of charts drawn by lot (mean of 200 times)."""
    pairs = [(way, chart) for text, chart in zip(said, true, strict=True) if (way := direction(text)) in ("up", "down")]
    if not pairs:
        return {"n": 0, "agreement": None, "shuffled": None}
    ways, paths = np.array([way for way, _ in pairs]), np.array([chart for _, chart in pairs])
    lots = np.random.default_rng(0)
    chance = [float((ways == lots.permutation(paths)).mean()) for _ in range(200)]
    low, high = np.quantile(chance, [0.025, 0.975])
    return {
        "n": len(pairs),
        "agreement": round(float((ways == paths).mean()), 4),
        "shuffled": round(float(np.mean(chance)), 4),
        "shuffled_interval": [round(float(low), 4), round(float(high), 4)],
    }


def _pairs(folder: Path) -> tuple[list[str], Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Texts, paths float32 (n, 256), numbers of their bins (256 minutes of a market), and which are newer than the training."""
    import pandas as pd

    path = next(iter(sorted(folder.rglob(PAIRS))), None)
    if path is None:
        raise InputError(f"There is no {PAIRS} below {folder.name}.")
    frame = pd.read_parquet(path, columns=["symbol", "t", "text", "pct256"])
    change = np.stack(frame["pct256"].to_list()).astype(np.float32)
    market = frame["symbol"].astype("category").cat.codes.to_numpy().astype(np.int64)
    times = frame["t"].to_numpy().astype(np.int64)
    newer = times.astype("datetime64[s]") >= CUT_POSTS
    return [str(text) for text in frame["text"]], change, times // WINDOW * 1000 + market, newer


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def locality(given: Prepared, model: Explainer, many: int = 200, seed: int = 0) -> dict[str, Any]:
    """What the space holds: halfway between two headlines, beside one, and "rises" − "falls" added to one that falls.

    ``between``: share of the words decoded at each point that are of the nearer or of the other end, and of neither;
    ``beside``: words shared with the text decoded without noise, by its length; ``arithmetic``: of headlines that fall,
    the share decoded as rising with and without the difference of the means.
    """
    lots = np.random.default_rng(seed)
    held = given.held[~given.texts.post[given.held]]
    first, second = lots.permutation(held)[: 2 * many].reshape(2, -1)
    points = {}
    for at in (0.0, 0.25, 0.5, 0.75, 1.0):
        said = model.write(_unit((1 - at) * given.vectors[first] + at * given.vectors[second]))
        points[str(at)] = _ends(said, [given.texts.words[i] for i in first], [given.texts.words[i] for i in second])
    plainly = model.write(given.vectors[first])
    beside = {}
    for length in (0.1, 0.2, 0.3, 0.5, 1.0):
        noise = _unit(lots.normal(size=(many, given.vectors.shape[1])).astype(np.float32)) * length
        said = model.write(_unit(given.vectors[first] + noise))
        pairs = [(content(a), content(b)) for a, b in zip(said, plainly, strict=True)]
        beside[str(length)] = round(float(np.mean([2 * len(a & b) / max(len(a) + len(b), 1) for a, b in pairs])), 4)
    return {"n": many, "between": points, "beside": beside, "arithmetic": _arithmetic(given, model, held, many)}


def _ends(said: Sequence[str], first: Sequence[str], second: Sequence[str]) -> dict[str, float]:
    rows = [(content(text), content(a), content(b)) for text, a, b in zip(said, first, second, strict=True)]
    return {
        "first": round(float(np.mean([len(own & a) / max(len(own), 1) for own, a, _ in rows])), 4),
        "second": round(float(np.mean([len(own & b) / max(len(own), 1) for own, _, b in rows])), 4),
    }


def _arithmetic(given: Prepared, model: Explainer, held: Index, many: int) -> dict[str, Any]:
    old = given.train[~given.texts.post[given.train]]
    ways = np.array([direction(given.texts.words[i]) or "" for i in old])
    step = given.vectors[old[ways == "up"]].mean(0) - given.vectors[old[ways == "down"]].mean(0)
    falling = [i for i in held if direction(given.texts.words[i]) == "down"][:many]
    found = {}
    for times in (0.0, 1.0, 3.0, 6.0):
        said = [direction(text) for text in model.write(_unit(given.vectors[falling] + times * step))]
        found[str(times)] = {"up": share([way == "up" for way in said]), "down": share([way == "down" for way in said])}
    return {"n": len(falling), "length": round(float(np.linalg.norm(step)), 4), "added": found}
