"""The one form in which benchmarks speak: ours, peer, ratio, unit, versions, and what else was measured."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any


def report(*, ours: float, peer: float, unit: str, packages: Sequence[str] = (), **more: Any) -> None:
    """Print one JSON object; higher is better for rates, and ``ratio`` is ours / peer."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    body = {"ours": _short(ours), "peer": _short(peer), "ratio": _short(ours / peer), "unit": unit}
    print(json.dumps({**body, **{k: _short(v) for k, v in more.items()}, "versions": versions}))


def demand(**none: int) -> None:
    """End with status 1 and name what should be 0 and is not; to be called after :func:`report`."""
    if wrong := [f"{name} {count}" for name, count in none.items() if count]:
        raise SystemExit(f"Not as it must be: {', '.join(wrong)}.")


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
