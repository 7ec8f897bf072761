"""Small sets and a tiny encoder, for the tests of all that trains on words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.tiny_text import make_tiny
from tests.training.synthetic import emotion_sets


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emotion_sets(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    encoder = str(make_tiny(tmp_path_factory.mktemp("tiny")))
    return {
        "encoder": encoder, "sources": {"dair": 1, "goemotions": 1}, "precision": "fp32", "batch_size": 16, "epochs": 2,
        "learning_rate": 3e-3, "patience": 9,
    }  # fmt: skip
