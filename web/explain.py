"""``GET /v1/explain``: what a market's last 256 minutes are about, in words; the same as `moodtape explain`."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from domain.answer import Json
from domain.clock import parse_time
from domain.symbols import normalize
from web.api import HasDoor
from web.errors import refusals

router = APIRouter(prefix="/v1", responses=refusals(401, 404, 422, 503))


@router.get("/explain", summary="A chart in words: what posts before such a path were about, and posts of that hour")
async def explain(
    door: HasDoor,
    symbol: Annotated[str, Query(max_length=40, description="a market, for example BTC/USDT")],
    at: Annotated[
        str | None, Query(max_length=40, description="ISO 8601, UTC unless it says otherwise; now without")
    ] = None,
) -> JSONResponse:
    """``explanation`` is null, and ``explanation_reason`` says why, when the words found do not hold up."""
    market, moment = normalize(symbol), parse_time(at) if at else door.clock.now()

    def work() -> Json:
        return door.client.explain(market, moment, door.settings.web_deadline)

    with door.figures.waiting.track_inprogress():
        return JSONResponse(await to_thread.run_sync(work, limiter=door.waiters, abandon_on_cancel=True))
