"""Posts per second through the text model, tokenising included, one core: ours, and two common ways with the same weights.

``ours`` is :meth:`EmotionTextReader.read` in batches of 256 as the worker calls it. ``peer`` is the transformers
text-classification pipeline (batch 32, fp32) over the same fine-tuned encoder; ``sorted_batches`` is what
sentence-transformers' ``encode`` does (texts sorted by length, padded batches of 32, mean pooling, fp32).

    python -m benchmarks.encode [--data posts.parquet] [--posts 2000] [--json]
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.report import report
from domain.types import EMOTIONS
from models.emotion import EmotionTextReader
from models.encoders.packed import chunks, padded
from models.manifest import ARTIFACTS
from models.torchfix import import_transformers

PEER_BATCH = 32
BATCH = 256
WORDS = (
    "bitcoin btc eth is going to the moon crash fear panic sell buy dip hodl today market price chart "
    "bullish bearish why not happy sad angry whale pump dump support resistance volume elon tweet news "
    "lol wow please never again profit loss trade long short leverage liquidated green red candle week"
)


def made_up(count: int) -> list[str]:
    """Posts of mixed lengths (median about 16 words) for a machine without real ones."""
    draw = random.Random(7)
    return [" ".join(draw.choices(WORDS.split(), k=max(2, int(draw.lognormvariate(2.8, 0.7))))) for _ in range(count)]


def real(path: Path, count: int) -> list[str]:
    """Texts of a parquet file with a ``text`` column, drawn evenly."""
    import pyarrow.parquet as pq

    texts = [t for t in pq.read_table(path, columns=["text"]).column("text").to_pylist() if t and t.strip()]
    return random.Random(7).sample(texts, min(count, len(texts)))


def rate(work: Callable[[], Any], posts: int, rounds: int = 3) -> float:
    """Posts per CPU-second (neighbours on the machine do not count), the best of some rounds after one to warm up."""
    work()
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return posts / best


def ours(reader: EmotionTextReader, texts: Sequence[str]) -> Any:
    """As the worker does: batches in the order of arrival, packed inside."""
    return [reading for start in range(0, len(texts), BATCH) for reading in reader.read(texts[start : start + BATCH])]


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


def padding(reader: EmotionTextReader, texts: Sequence[str], batch: int | None = None) -> float:
    """Share of computed token positions that are padding: packed, or in padded batches in the order of arrival."""
    lengths = [len(ids) for ids in reader.net.encoder.tokenise(texts)]
    real_tokens = sum(lengths)
    if batch is None:
        ids = reader.net.encoder.tokenise(texts)
        computed = sum(padded(sum(len(ids[i]) for i in rows)) for rows in chunks(ids))
    else:
        blocks = [lengths[i : i + batch] for i in range(0, len(lengths), batch)]
        computed = sum(len(block) * max(block) for block in blocks)
    return 1 - real_tokens / computed


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
    common = pipeline(reader)
    mine = rate(lambda: ours(reader, texts), len(texts))
    peer = rate(lambda: common(few), len(few), rounds=2)
    sorted_rate = rate(lambda: sorted_batches(reader, few), len(few), rounds=2)
    report(
        ours=mine,
        peer=peer,
        unit="posts per CPU-second of one core, tokenising included",
        sorted_batches=sorted_rate,
        ratio_to_sorted_batches=mine / sorted_rate,
        label_agreement_with_fp32=agreement(reader, texts),
        padding_waste=padding(reader, texts),
        padding_waste_peer=padding(reader, texts, PEER_BATCH),
        posts=len(texts),
        packages=("torch", "transformers", "tokenizers"),
    )


if __name__ == "__main__":
    main()
