"""Posts per second through the text model, tokenising included, one core: ours, and the common ways with the same weights.

``ours`` is :meth:`EmotionTextReader.read` in batches of 256 as the worker calls it, ``whole_path`` the whole scorer (words,
mood, hype, retrieval from the starter library). ``peer`` is the transformers text-classification pipeline (batch 32, fp32)
over the same fine-tuned encoder; ``sentence_transformers`` is that package's ``encode`` (batch 32, fp32, mean pooling) where
it is installed (``pip install --no-deps sentence-transformers``), and ``sorted_batches`` the same by hand. Sides take turns;
each figure is the best of its rounds by the wall clock, so nothing else should run on the core.

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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.report import report
from domain.symbols import DEFAULT_SYMBOL
from domain.types import EMOTIONS, Post
from models.emotion import EmotionTextReader
from models.encoders.packed import chunks, padded
from models.manifest import ARTIFACTS
from models.scorer import Scorer, ScoringInput
from models.torchfix import import_transformers

PEER_BATCH = 32
BATCH = 256
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


def rates(sides: dict[str, tuple[Callable[[Sequence[str]], Any], Sequence[str]]], rounds: int = 3) -> dict[str, Rate]:
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


def ours(reader: EmotionTextReader, texts: Sequence[str]) -> Any:
    """As the worker does: batches in the order of arrival, packed inside."""
    return [reading for start in range(0, len(texts), BATCH) for reading in reader.read(texts[start : start + BATCH])]


def scorer(reader: EmotionTextReader) -> Callable[[Sequence[str]], Any]:
    """All that a worker does between loading posts and writing verdicts."""
    whole = Scorer.load()
    whole.parts = replace(whole.parts, text=reader)
    noon = datetime(2022, 6, 1, 12, tzinfo=UTC)

    def score(texts: Sequence[str]) -> None:
        posts = [Post(f"p:{n}", "made up", words, "en", noon, (DEFAULT_SYMBOL,)) for n, words in enumerate(texts)]
        for start in range(0, len(posts), BATCH):
            whole.score([ScoringInput(post, None, None, DEFAULT_SYMBOL) for post in posts[start : start + BATCH]])

    return score


def sentence_transformers(reader: EmotionTextReader) -> Callable[[Sequence[str]], Any] | None:
    """The package's ``encode`` with our weights; None where it is not installed."""
    if find_spec("sentence_transformers") is None:
        return None
    import_transformers()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    encoder = reader.net.encoder
    body = Transformer(encoder.model.config.name_or_path, max_seq_length=encoder.max_tokens)
    body.auto_model.load_state_dict(encoder.model.state_dict(), strict=False)
    model = SentenceTransformer(modules=[body, Pooling(encoder.width, "mean")], device="cpu")
    return lambda texts: model.encode(list(texts), batch_size=PEER_BATCH, show_progress_bar=False)


def pipeline(reader: EmotionTextReader) -> Callable[[Sequence[str]], Any]:
    """The common way: BertForSequenceClassification in a text-classification pipeline."""
    transformers = import_transformers()
    encoder = reader.net.encoder
    config = transformers.AutoConfig.from_pretrained(encoder.model.config.name_or_path, num_labels=len(EMOTIONS))
    model = transformers.BertForSequenceClassification(config)
    model.bert.load_state_dict(encoder.model.state_dict(), strict=False)
    run = transformers.pipeline(
        "text-classification", model=model.eval(), tokenizer=encoder.tokenizer, device="cpu", dtype=torch.float32
    )
    return lambda texts: run(list(texts), batch_size=PEER_BATCH, truncation=True, max_length=encoder.max_tokens)


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


def agreement(reader: EmotionTextReader, texts: Sequence[str]) -> float:
    """Share of texts whose label in bf16 is that of fp32."""
    exact = EmotionTextReader(reader.net, reader.config, dtype=torch.float32)
    labels = [[int(np.argmax(r.probabilities)) for r in ours(each, texts)] for each in (reader, exact)]
    reader.net.encoder._packed = None
    return float(np.mean(np.equal(*labels)))


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
    few = texts[: max(PEER_BATCH, len(texts) // 4)]
    sides = {
        "ours": (partial(ours, reader), texts),
        "whole_path": (scorer(reader), texts),
        "peer": (pipeline(reader), few),
        "sorted_batches": (partial(sorted_batches, reader), few),
    }
    if (package := sentence_transformers(reader)) is not None:
        sides["sentence_transformers"] = (package, few)
    found = rates(sides)
    waste, waste_peer = padding(reader, texts)
    report(
        ours=found["ours"].wall,
        peer=found["peer"].wall,
        unit="posts per second on one core by the wall clock, tokenising included",
        **{f"{name}_per_second": rate.wall for name, rate in found.items()},
        **{f"ratio_to_{name}": found["ours"].wall / rate.wall for name, rate in found.items() if name != "ours"},
        ratio_of_whole_path=found["whole_path"].wall / found["peer"].wall,
        ratio_by_cpu_seconds=found["ours"].cpu / found["peer"].cpu,
        label_agreement_with_fp32=agreement(reader, texts),
        padding_waste=waste,
        padding_waste_peer=waste_peer,
        posts=len(texts),
        packages=("torch", "transformers", "tokenizers", *(["sentence-transformers"] if package else [])),
    )


if __name__ == "__main__":
    main()
