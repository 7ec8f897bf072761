"""The starter library: numbers only, read without torch, bound to its encoder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from domain.errors import WeightsError
from models.library import ENCODER, Library, encoder_revision, load_library, save_library
from tests.models.test_trajectories import library


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """An artifacts folder with a stand-in encoder file and a library built with it."""
    (tmp_path / ENCODER).parent.mkdir()
    (tmp_path / ENCODER).write_bytes(b"weights")
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
    (artifacts / ENCODER).write_bytes(b"other weights")
    with pytest.raises(WeightsError, match="another text encoder"):
        load_library(artifacts)


def test_a_broken_file_is_refused(artifacts: Path) -> None:
    """A truncated library gives one sentence, not a traceback of the reader."""
    path = artifacts / "library" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="starter library"):
        load_library(artifacts)


def test_the_library_needs_no_torch() -> None:
    """A migration or seeding step can read it without loading the framework."""
    code = "import sys, models.library; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
