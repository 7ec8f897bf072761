"""Posts per second on one core, tokenising included: the worker's path, and the common ways with the same weights.

``ours``, ``whole_path``: all that a worker does between loading posts and writing verdicts (words, mood, hype with a market
context, retrieval from the starter library), in batches of 256; what share of the verdicts had hype and matches is printed.
``text_reader`` is :meth:`EmotionTextReader.read` alone, on the same batches. ``peer``, ``pipeline``: the transformers
text-classification pipeline (batch 32, fp32) over the same fine-tuned encoder, which does what the text reader does.
``ratio_of_X`` is X against that pipeline; ``sentence_transformers`` is that package's ``encode`` (batch 32, fp32, mean
pooling) where it is installed (``pip install --no-deps sentence-transformers``), and ``sorted_batches`` the same by hand.
All sides read the same texts. ``label_agreement`` is with a padded pass in fp32, as served here and in either precision.
Sides take turns; each figure is the best of its rounds by the wall clock, so nothing else should run on the core.

    python -m benchmarks.encode [--data posts.parquet] [--posts 2000] [--json]
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.report import report
from domain.answer import Verdict
from domain.errors import MoodtapeError
from domain.series import PAST, PastWindows
from domain.symbols import DEFAULT_SYMBOL
from domain.types import EMOTIONS, STEPS, MarketContext, Post
from models.device import import_transformers
from models.emotion.text import EmotionTextReader
from models.encoders.packed import chunks, padded
from models.manifest import ARTIFACTS
from models.parts import TextReading
from models.scorer import Scorer, ScoringInput

PEER_BATCH = 32
BATCH = 256
OURS = ("text_reader", "whole_path")
NOON = datetime(2022, 6, 1, 12, tzinfo=UTC)
"""When the posts were posted; the starter library has windows that ended before."""
Side = tuple[Callable[[Sequence[str]], Any], Sequence[str]]
"""A way to read texts, and those it is given."""
WORDS = (
    "bitcoin btc eth is going to the moon crash fear panic sell buy dip hodl today market price chart "
    "bullish bearish why not happy sad angry whale pump dump support resistance volume elon tweet news "
    "lol wow please never again profit loss trade long short leverage liquidated green red candle week"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """Posts per second by the wall clock, and per CPU-second."""

    wall: float
    cpu: float


def made_up(count: int) -> list[str]:
    """Posts of mixed lengths (median about 16 words) for a machine without real ones."""
    draw = random.Random(7)
    return [" ".join(draw.choices(WORDS.split(), k=max(2, int(draw.lognormvariate(2.8, 0.7))))) for _ in range(count)]


def real(path: Path, count: int) -> list[str]:
    """Texts of a parquet file with a ``text`` column, drawn evenly."""
    import pyarrow.parquet as pq

    texts = [t for t in pq.read_table(path, columns=["text"]).column("text").to_pylist() if t and t.strip()]
    return random.Random(7).sample(texts, min(count, len(texts)))


def rates(sides: dict[str, Side], rounds: int = 3) -> dict[str, Rate]:
    """Posts per second of each side, the sides taking turns after a few posts each to warm up."""
    best = {name: Rate(0.0, 0.0) for name in sides}
    for work, texts in sides.values():
        work(texts[: 2 * PEER_BATCH])
    for _ in range(rounds):
        for name, (work, texts) in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work(texts)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = Rate(max(best[name].wall, len(texts) / wall), max(best[name].cpu, len(texts) / cpu))
    return best


def text_reader(reader: EmotionTextReader, texts: Sequence[str], batch: int = BATCH) -> list[TextReading]:
    """As the worker does: batches in the order of arrival, packed inside."""
    return [reading for start in range(0, len(texts), batch) for reading in reader.read(texts[start : start + batch])]


class WholePath:
    """All that a worker does between loading posts and writing verdicts. ``verdicts``: those of the last texts."""

    def __init__(self, reader: EmotionTextReader) -> None:
        self.scorer = Scorer.load(device=reader.device)
        self.scorer.parts = replace(self.scorer.parts, text=reader)
        self.verdicts: list[Verdict] = []

    def __call__(self, texts: Sequence[str]) -> None:
        posts = [Post(f"p:{n}", "made up", words, "en", NOON, (DEFAULT_SYMBOL,)) for n, words in enumerate(texts)]
        market, found = context(), list[Verdict | MoodtapeError]()
        for start in range(0, len(posts), BATCH):
            batch = [ScoringInput(post, None, market, DEFAULT_SYMBOL) for post in posts[start : start + BATCH]]
            found += self.scorer.score(self.scorer.prepare(batch))
        self.verdicts = [verdict for verdict in found if isinstance(verdict, Verdict)]

    def shares(self, posts: int) -> dict[str, float]:
        """Share of the posts whose verdict has hype, and matches: less than 1 means that less was computed."""
        hype = sum(verdict.hype.symbol.probability is not None for verdict in self.verdicts)
        matched = sum(verdict.trajectories is not None for verdict in self.verdicts)
        return {"whole_path_share_with_hype": hype / posts, "whole_path_share_with_matches": matched / posts}


def context() -> MarketContext:
    """A made-up market before the posts: a price that walks, windows of varying volume."""
    draw = np.random.default_rng(7)
    mid = 30_000 * np.exp(np.cumsum(draw.normal(0, 5e-4, STEPS)))
    volume, posts = draw.lognormal(8, 0.5, PAST), draw.poisson(40, PAST).astype(np.float64)
    windows = PastWindows(volume, draw.lognormal(-7, 0.3, PAST), posts, posts)
    return MarketContext(DEFAULT_SYMBOL, NOON, mid, draw.lognormal(8, 0.5, STEPS), windows=windows)


def name(reader: EmotionTextReader) -> str:
    """The hub's name of the encoder."""
    config: Any = reader.net.encoder.model.config
    return str(config.name_or_path)


def sentence_transformers(reader: EmotionTextReader) -> Callable[[Sequence[str]], Any] | None:
    """The package's ``encode`` with our weights; None where it is not installed."""
    if find_spec("sentence_transformers") is None:
        return None
    import_transformers()
    package = import_module("sentence_transformers")
    modules = import_module("sentence_transformers.sentence_transformer.modules")
    encoder = reader.net.encoder
    body = modules.Transformer(name(reader), max_seq_length=encoder.max_tokens)
    body.auto_model.load_state_dict(encoder.model.state_dict(), strict=False)
    pooling = modules.Pooling(encoder.width, "mean")
    model = package.SentenceTransformer(modules=[body, pooling], device=reader.device)
    return lambda texts: model.encode(list(texts), batch_size=PEER_BATCH, show_progress_bar=False)


def pipeline(
    reader: EmotionTextReader, batch: int = PEER_BATCH, dtype: torch.dtype = torch.float32
) -> Callable[[Sequence[str]], Any]:
    """The common way: BertForSequenceClassification in a text-classification pipeline, on the reader's device."""
    transformers = import_transformers()
    encoder = reader.net.encoder
    config = transformers.AutoConfig.from_pretrained(name(reader), num_labels=len(EMOTIONS))
    model = transformers.BertForSequenceClassification(config)
    model.bert.load_state_dict(encoder.model.state_dict(), strict=False)
    run = transformers.pipeline(
        "text-classification",
        model=model.eval().to(dtype),
        tokenizer=encoder.tokenizer,
        device=reader.device,
        dtype=dtype,
    )
    return lambda texts: run(list(texts), batch_size=batch, truncation=True, max_length=encoder.max_tokens)


@torch.inference_mode()
def sorted_batches(reader: EmotionTextReader, texts: Sequence[str]) -> list[Any]:
    """What sentence-transformers' ``encode`` does, in fp32."""
    encoder = reader.net.encoder
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    out: list[Any] = []
    for start in range(0, len(order), PEER_BATCH):
        rows = [texts[i] for i in order[start : start + PEER_BATCH]]
        batch = encoder.tokenizer(
            rows, padding=True, truncation=True, max_length=encoder.max_tokens, return_tensors="pt"
        )
        hidden = encoder.model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).float()
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        out += list(torch.nn.functional.normalize(pooled, dim=-1).numpy())
    return out


@torch.inference_mode()
def agreement(reader: EmotionTextReader, texts: Sequence[str]) -> dict[str, float]:
    """Share of texts whose label is that of a padded pass in fp32: as served here, and packed in either precision."""
    ids, net = reader.tokenise(texts), reader.net
    padded_labels = [
        int(label)
        for start in range(0, len(ids), PEER_BATCH)
        for label in net.probabilities(net(ids[start : start + PEER_BATCH])).argmax(1)
    ]
    found = {}
    for said, dtype in (("", reader.dtype), ("_bf16", torch.bfloat16), ("_fp32", torch.float32)):
        packed = text_reader(EmotionTextReader(net, reader.config, dtype, reader.device), texts)
        labels = [int(np.argmax(reading.probabilities)) for reading in packed]
        found[f"label_agreement{said}"] = float(np.mean(np.equal(labels, padded_labels)))
        net.encoder._packed = None
    return found


def padding(reader: EmotionTextReader, texts: Sequence[str]) -> tuple[float, float]:
    """Share of computed token positions that are padding: ours in batches of 256, and batches of 32 padded to the longest."""
    lengths = [len(ids) for ids in reader.net.encoder.tokenise(texts)]
    ids = [[0] * length for length in lengths]
    batches = [ids[n : n + BATCH] for n in range(0, len(ids), BATCH)]
    mine = sum(padded(sum(len(batch[i]) for i in rows)) for batch in batches for rows in chunks(batch))
    blocks = [lengths[n : n + PEER_BATCH] for n in range(0, len(lengths), PEER_BATCH)]
    theirs = sum(len(block) * max(block) for block in blocks)
    return 1 - sum(lengths) / mine, 1 - sum(lengths) / theirs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="parquet file with a text column; made-up posts without it")
    parser.add_argument("--posts", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    texts = real(given.data, given.posts) if given.data else made_up(given.posts)
    reader = EmotionTextReader.from_pretrained(ARTIFACTS / "emotion-text")
    whole = WholePath(reader)
    sides: dict[str, Side] = {
        "text_reader": (partial(text_reader, reader), texts),
        "whole_path": (whole, texts),
        "pipeline": (pipeline(reader), texts),
        "sorted_batches": (partial(sorted_batches, reader), texts),
    }
    if (package := sentence_transformers(reader)) is not None:
        sides["sentence_transformers"] = (package, texts)
    found = rates(sides)
    waste, waste_peer = padding(reader, texts)
    report(
        ours=found["whole_path"].wall,
        peer=found["pipeline"].wall,
        unit="posts per second of the whole worker path against the pipeline, one core, wall clock, tokenising included",
        **{f"{name}_per_second": rate.wall for name, rate in found.items()},
        **{
            f"ratio_of_{name}": rate.wall / found["pipeline"].wall for name, rate in found.items() if name != "pipeline"
        },
        **{f"ratio_of_{name}_by_cpu_seconds": found[name].cpu / found["pipeline"].cpu for name in OURS},
        **whole.shares(len(texts)),
        precision=str(reader.dtype).removeprefix("torch."),
        **agreement(reader, texts),
        padding_waste=waste,
        padding_waste_peer=waste_peer,
        posts=len(texts),
        packages=("torch", "transformers", "tokenizers", *(["sentence-transformers"] if package else [])),
    )


if __name__ == "__main__":
    main()
