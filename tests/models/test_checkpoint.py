"""Checkpoints: what is saved is loaded, and anything doubtful is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domain.errors import WeightsError
from models import checkpoint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "thing"
    checkpoint.save(folder, {"kind": "x"}, {"w": torch.arange(64.0), "n": torch.tensor([3])}, "# card", torch.float16)
    return folder


def test_round_trip(saved: Path) -> None:
    """Config, values and integer types survive; halves are loaded as float32; the card is there."""
    config, tensors = checkpoint.load(saved)
    assert config == {"kind": "x"}
    assert tensors["w"].dtype == torch.float32
    assert tensors["w"].tolist() == list(range(64))
    assert tensors["n"].dtype == torch.int64
    assert (saved / "README.md").read_text() == "# card"
    assert sorted(p.name for p in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_truncated_weights_are_refused(saved: Path) -> None:
    """A file cut short is named, not loaded."""
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match=r"thing/model\.safetensors"):
        checkpoint.load(saved)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "weights.pkl"])
def test_pickles_are_refused(saved: Path, name: str) -> None:
    """A folder that holds only a pickle is refused, naming the pickle, which is never opened."""
    (saved / "model.safetensors").rename(saved / name)
    with pytest.raises(WeightsError, match=name):
        checkpoint.load(saved)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_missing_files_are_named(saved: Path, missing: str) -> None:
    """A missing file is named."""
    (saved / missing).unlink()
    with pytest.raises(WeightsError, match=missing):
        checkpoint.load(saved)


@pytest.mark.parametrize("body", ["", "{", "[1, 2]"])
def test_a_bad_config_is_named(saved: Path, body: str) -> None:
    """A config that is no JSON object is refused."""
    (saved / "config.json").write_text(body)
    with pytest.raises(WeightsError, match=r"config\.json"):
        checkpoint.load(saved)


def test_weights_of_another_shape_are_refused() -> None:
    """Tensors that do not fit the module are refused with the name given."""
    with pytest.raises(WeightsError, match="thing"):
        checkpoint.load_state(torch.nn.Linear(2, 2), {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, "thing")
