"""What handlers may know of their surroundings: how long to wait, what kind of feed plays, and where drawing is done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bot.texts import Say
from domain.answer import Json


@dataclass
class World:
    """Seconds of patience, and the data directory in which the stack says which feed plays."""

    data_dir: Path
    patience: float
    give_up: float

    def notes(self, say: Say) -> tuple[str, ...]:
        """Lines that belong under every answer now."""
        return (say("synthetic"),) if self.synthetic() else ()

    def synthetic(self) -> bool:
        """Whether the prices come from the synthetic demo feed."""
        try:
            feed = json.loads((self.data_dir / "run" / "feed.json").read_text())
        except (OSError, ValueError):
            return False
        return isinstance(feed, dict) and feed.get("kind") == "synthetic"

    async def drawn(self, draw: Callable[[Json], bytes], answer: Json) -> bytes:
        """The chart, drawn in a thread."""
        return await asyncio.to_thread(draw, answer)
