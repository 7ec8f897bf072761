"""The shipped weights through the real scorer, and weights that are not what the list says."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domain.answer import Verdict, to_answer
from domain.types import EMOTIONS, ImageRef, MarketContext, Post
from models.manifest import ARTIFACTS, load_manifest
from models.scorer import Scorer, ScoringInput
from tests.fakes.markets import week

ROOT = Path(__file__).parents[2]
NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
BTC = "BTC/USDT"


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    """The scorer as a worker loads it, over the starter library."""
    return Scorer.load()


def post(words: str, image: bytes | None = None) -> ScoringInput:
    ref = ImageRef("0" * 64, "image/png", 64, 64) if image else None
    walk = 60_000 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 4e-4, 256)))
    context = MarketContext(BTC, NOON, walk, np.full(256, 100.0), windows=week(100.0))
    return ScoringInput(Post(f"t:{words}", "t", words, "en", NOON, (BTC,), ref), image, context, BTC, why=True)


def picture() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 120, 160)).save(data, "PNG")
    return data.getvalue()


def test_the_shipped_models_answer_words_pictures_and_both(scorer: Scorer) -> None:
    """Every kind of post gets a whole verdict; clear words get their mood; matches end before the post."""
    inputs = [
        post("I am so happy, what a wonderful day for Bitcoin!"),
        post("I am scared and terrified of this crash"),
        post("", picture()),
        post("I am so happy today", picture()),
    ]
    results = scorer.score(inputs)
    verdicts = [result for result in results if isinstance(result, Verdict)]
    assert len(verdicts) == len(inputs), results
    assert [v.emotions.label for v in verdicts[:2]] == ["joy", "fear"]
    for verdict in verdicts:
        answer = to_answer(verdict)
        assert answer["revision"] == load_manifest().revision
        assert abs(sum(answer["emotions"]["probabilities"][name] for name in EMOTIONS) - 1) < 1e-3
        assert verdict.trajectories is not None
        assert (verdict.trajectories.low <= verdict.trajectories.high).all()
        assert all(match.posted_at < NOON for match in verdict.trajectories.matches)


def test_a_batch_answers_as_single_posts_do(scorer: Scorer) -> None:
    """Packing posts together changes nothing that matters: same labels, probabilities within bfloat16's rounding."""
    inputs = [post(words) for words in ("to the moon", "why would anyone sell now?", "I hate this market " * 8, "ok")]
    together = [r.emotions.probabilities for r in scorer.score(inputs) if isinstance(r, Verdict)]
    alone = [r.emotions.probabilities for item in inputs for r in scorer.score([item]) if isinstance(r, Verdict)]
    assert len(together) == len(alone) == 4
    for a, b in zip(together, alone, strict=True):
        assert max(abs(a[name] - b[name]) for name in EMOTIONS) < 0.05
        assert max(a, key=lambda name: a[name]) == max(b, key=lambda name: b[name])


def test_altered_weights_are_refused_by_name_with_exit_70(tmp_path: Path) -> None:
    """One changed byte: the worker does not start, and says which file."""
    folder = tmp_path / "artifacts"
    shutil.copytree(ARTIFACTS, folder)
    with (folder / "emotion-text" / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    environment = {**os.environ, "MOODTAPE_ARTIFACTS": str(folder), "MOODTAPE_WORKER_PROCESSES": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "workers"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 70
    assert "model.safetensors is altered" in ended.stderr
