"""Tokens per second of writing texts from vectors, one core: our cached greedy search and `transformers` generate.

Both sides are as large (width, layers, vocabulary), have random weights and write the same number of tokens for as many
texts; sides take turns, and processor time is counted, which other load on the machine disturbs least. Beside it:
milliseconds of one whole explanation by the shipped decoder (drafts, re-encoding, one correction, gate), and of greedy and
beam search alone.

    python -m benchmarks.explain [--texts 16] [--tokens 24] [--json]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.report import report
from models.device import import_transformers
from models.emotion.text import EmotionTextReader
from models.explanations.decoder import END, Autoregressive, Shape
from models.explanations.explainer import load_explainer
from models.explanations.gate import Facts
from models.explanations.search import beam, greedy
from models.manifest import ARTIFACTS

ROUNDS = 5
SHAPE = Shape(384, 12_000, width=256, depth=2, heads=4, slots=8, positions=64)


def ours(texts: int, tokens: int) -> Callable[[], int]:
    """Writes ``tokens`` for each text; the end mark is made impossible."""
    shape = Shape(**{name: getattr(SHAPE, name) for name in SHAPE.__slots__} | {"positions": tokens})
    decoder = Autoregressive(shape).eval()
    with torch.no_grad():
        decoder.words.bias[END] = -1e9
    vectors = torch.randn(texts, shape.size)
    return lambda: sum(map(len, greedy(decoder, vectors)))


def peer(texts: int, tokens: int) -> Callable[[], int]:
    """A GPT-2 of the same width, depth and vocabulary; the vector stands in as one prompt token."""
    transformers = import_transformers()
    sizes = {"n_embd": SHAPE.width, "n_layer": SHAPE.depth, "n_head": SHAPE.heads, "n_positions": tokens + 1}
    config = transformers.GPT2Config(vocab_size=SHAPE.words, bos_token_id=0, eos_token_id=1, **sizes)
    model = transformers.GPT2LMHeadModel(config).eval()
    prompt = torch.zeros(texts, 1, dtype=torch.long)
    mask = torch.ones_like(prompt)
    given: dict[str, Any] = {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens, "pad_token_id": 1}

    def write() -> int:
        with torch.inference_mode():
            return int(model.generate(prompt, attention_mask=mask, **given)[:, 1:].numel())

    return write


def shipped() -> dict[str, Any]:
    """Milliseconds per text of the shipped decoder; nothing where none ships."""
    reader = EmotionTextReader.from_pretrained()
    model = load_explainer(ARTIFACTS, reader.net.encoder.tokenizer, measured=False)
    if model is None:
        return {}

    def embed(texts: Any) -> Any:
        return np.stack([reading.embedding for reading in reader.read(list(texts))])

    vector = embed(["Bitcoin falls as traders wait for the central bank."])
    facts, given = Facts.of(["Bitcoin falls as traders wait for the central bank."]), torch.from_numpy(vector)
    return {
        "ms_explanation": 1000 * _seconds(lambda: model.explain(vector[0], facts, embed)),
        "ms_greedy": 1000 * _seconds(lambda: greedy(model.net.decoder, given)),
        "ms_beam_4": 1000 * _seconds(lambda: beam(model.net.decoder, given, 4)),
    }


def _seconds(work: Callable[[], Any]) -> float:
    work()
    taken = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return float(np.median(taken))


def main() -> None:
    """Time both sides in turns and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--json", action="store_true", help="what is printed anyway")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sides = {"ours": ours(given.texts, given.tokens), "peer": peer(given.texts, given.tokens)}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):
        for name, write in sides.items():
            started = time.process_time()
            count = write()
            if turn:
                rates[name].append(count / (time.process_time() - started))
    report(
        ours=float(np.median(rates["ours"])),
        peer=float(np.median(rates["peer"])),
        unit="tokens/s",
        packages=("torch", "transformers"),
        texts=given.texts,
        tokens=given.tokens,
        limit="one core, processor time",
        **shipped(),
    )


if __name__ == "__main__":
    main()
