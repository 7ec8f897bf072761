"""``POST /v1/match``: a text to trajectories, or a price path to posts; the same use-case as `moodtape match`."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from domain.answer import Json
from domain.clock import parse_time
from web.api import TIME, HasDoor
from web.errors import refusals
from workers.client import match as use_case


class Asked(BaseModel):
    """One of ``text``, ``prices`` or ``symbol``; ``at`` is the moment as of which to look, now without it."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", max_length=20_000)
    prices: list[float] = Field(default_factory=list, max_length=use_case.LONGEST, description="any length from 16 on")
    symbol: str | None = Field(None, min_length=1, max_length=40)
    at: str | None = Field(
        None, max_length=40, description="ISO 8601, UTC unless it says otherwise", json_schema_extra=TIME
    )


router = APIRouter(prefix="/v1", responses=refusals(400, 401, 404, 422, 503))


@router.post("/match", summary="Past trajectories near a text, or past posts near a price path")
async def match(asked: Asked, door: HasDoor) -> JSONResponse:
    """What is near, its mean and how it ended; history, not a forecast."""
    request = use_case.MatchRequest(
        asked.text, tuple(asked.prices), asked.symbol, parse_time(asked.at) if asked.at else None
    )

    def work() -> Json:
        deadline = door.settings.web_deadline
        return use_case.match(door.engine, door.client, request, clock=door.clock, deadline=deadline)

    with door.figures.waiting.track_inprogress():
        return JSONResponse(await to_thread.run_sync(work, limiter=door.waiters, abandon_on_cancel=True))
