"""The list of weights: what ships is what was listed, and the revision names exactly that."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.errors import WeightsError
from models.manifest import ARTIFACTS, PACKAGES, build, load_manifest, verify

UNTIL = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small weights and a card, which is not part of the revision."""
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "head" / "config.json").write_text("{}")
    (tmp_path / "head" / "README.md").write_text("card")
    return tmp_path


def test_what_was_built_verifies_and_changes_are_named(folder: Path) -> None:
    """The manifest lists weights and configurations; one altered byte is refused by name; the card may change."""
    manifest = build(folder, [], UNTIL)
    assert sorted(manifest.files) == ["head/config.json", "head/model.safetensors"]
    assert verify(folder) == manifest == load_manifest(folder)
    (folder / "head" / "README.md").write_text("another card")
    assert build(folder, [], UNTIL).revision == manifest.revision
    (folder / "head" / "model.safetensors").write_bytes(b"weightz")
    with pytest.raises(WeightsError, match=r"head/model\.safetensors is altered"):
        verify(folder)
    assert build(folder, [], UNTIL).revision != manifest.revision
    (folder / "head" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"head/model\.safetensors is missing"):
        verify(folder)


def test_an_unreadable_list_and_an_absent_package_are_named(folder: Path) -> None:
    """No manifest, a broken one, or a wheel that is not installed: one sentence each."""
    with pytest.raises(WeightsError, match=r"manifest\.json cannot be read"):
        load_manifest(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match=r"manifest\.json cannot be read"):
        load_manifest(folder)
    with pytest.raises(WeightsError, match="no_such_package, which carries weights, is not installed"):
        build(folder, ["no_such_package/model.bin"], UNTIL)


def test_the_shipped_weights_are_the_listed_ones() -> None:
    """Every folder of weights has a card, everything is at most 60 MB, and nothing pickled lies among it."""
    manifest = verify(ARTIFACTS)
    assert set(PACKAGES) == set(manifest.packages)
    folders = {Path(name).parent.as_posix() for name in manifest.files}
    kinds = {"emotion-text", "emotion-image", "emotion-fusion", "hype", "trajectories", "library", "explanations"}
    assert kinds == folders
    assert all((ARTIFACTS / name / "README.md").stat().st_size > 200 for name in folders)
    files = [path for path in ARTIFACTS.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}
    assert sum(path.stat().st_size for path in files) <= 60_000_000
    assert json.loads((ARTIFACTS / "manifest.json").read_text())["revision"] == manifest.revision
