"""The starter library: numbers only, read without torch, bound to its encoder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from domain.errors import WeightsError
from models.trajectories.library import ENCODER, Library, encoder_revision, load_library, save_library
from tests.models.trajectories.test_retrieval import library


def encoder(artifacts: Path, weight: float = 1.0, head: float = 1.0) -> None:
    """Put a stand-in for the text model there: one tensor of its encoder, one of its head."""
    (artifacts / ENCODER).parent.mkdir(exist_ok=True)
    tensors = {"encoder.weight": np.full(3, weight), "head.weight": np.full(3, head)}
    save_file(tensors, artifacts / ENCODER)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """An artifacts folder with a stand-in encoder file and a library built with it."""
    encoder(tmp_path)
    rows = replace(library(20), starts_at=library(20).posted_at + 30_000_000)
    save_library(tmp_path / "library", Library(rows, encoder_revision(tmp_path), np.arange(20) == 3), "# card")
    return tmp_path


def test_rows_survive_saving(artifacts: Path) -> None:
    """Everything but the ids comes back as it was; ids become starter:<n>."""
    found, rows = load_library(artifacts), library(20)
    assert (found.rows.embedding == rows.embedding).all()
    assert (found.rows.change == rows.change).all()
    assert (found.rows.posted_at == rows.posted_at).all()
    assert (found.rows.starts_at - found.rows.posted_at == 30_000_000).all()
    assert found.rows.symbols == rows.symbols
    assert found.rows.post_ids == tuple(f"starter:{n}" for n in range(20))
    assert found.estimated.nonzero()[0].tolist() == [3]


def test_another_encoder_is_refused(artifacts: Path) -> None:
    """Vectors of one encoder are never searched with those of another."""
    encoder(artifacts, weight=2.0)
    with pytest.raises(WeightsError, match="another text encoder"):
        load_library(artifacts)


def test_another_head_moves_no_vector(artifacts: Path) -> None:
    """What stands beside the encoder in its file may change; the library stays."""
    encoder(artifacts, head=2.0)
    assert len(load_library(artifacts).rows.post_ids) == 20


def test_without_its_encoder_the_library_names_it(artifacts: Path) -> None:
    """The image of the doors holds no network; what it seeds has the revision that the workers ask for."""
    revision = encoder_revision(artifacts)
    (artifacts / ENCODER).unlink()
    assert encoder_revision(artifacts) == load_library(artifacts).encoder == revision


def test_a_broken_encoder_is_named(artifacts: Path) -> None:
    """A truncated text model is one sentence."""
    (artifacts / ENCODER).write_bytes(b"weights")
    with pytest.raises(WeightsError, match="emotion-text"):
        load_library(artifacts)


def test_a_broken_file_is_refused(artifacts: Path) -> None:
    """A truncated library gives one sentence, not a traceback of the reader."""
    path = artifacts / "library" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"library/model\.safetensors is truncated"):
        load_library(artifacts)


def test_the_library_needs_no_torch() -> None:
    """A migration or seeding step can read it without loading the framework."""
    code = "import sys, models.trajectories.library; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
