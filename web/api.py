"""The HTTP API under /v1; every route calls the same use-case or query as the other doors."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import Connection, Engine

from answer.catalogue import Say, texts
from answer.chart import draw
from answer.words import page as told
from answer.words import tell
from db.engine import Store
from db.queries import candles as candle_queries
from db.queries import jobs, rescore, revisions, streams, verdicts
from db.queries import verdicts as queries
from domain.answer import Json, answer_schema, stamp
from domain.clock import Clock, parse_time
from domain.errors import Busy, NoCandles, NotFound, UnknownSymbol, WrongState
from domain.reasons import Reason
from domain.symbols import normalize
from domain.types import MINUTE
from web.errors import language, refusals
from web.health import Figures
from web.live import Hub, stream
from web.series import gaps, series_events, series_rows
from web.settings import WebSettings
from web.upload import BODY, read_form
from web.views import bars, listed, market
from workers.client import analyze as use_case
from workers.client import rescoring
from workers.client.queue import ScoringClient
from workers.client.scorecard import scorecard as make_scorecard

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Door:
    """What the routes work with; made once per process."""

    engine: Engine
    client: ScoringClient
    settings: WebSettings
    clock: Clock
    hub: Hub
    figures: Figures
    waiters: CapacityLimiter

    async def read(self, query: Callable[..., T], *arguments: Any) -> T:
        """Run a query function in a thread, in a transaction of its own."""
        return await Store(self.engine)(query, *arguments)


def door_of(request: Request) -> Door:
    """The process's door."""
    found: Door = request.app.state.door
    return found


HasDoor = Annotated[Door, Depends(door_of)]

TIME: dict[str, Any] = {"format": "date-time"}

ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer.", "content": {"application/json": {"schema": answer_schema()[0]}}}
}

router = APIRouter(prefix="/v1", responses=refusals(401, 422, 503))


@router.post(
    "/analyze",
    openapi_extra=BODY,
    responses=ANSWERED | refusals(400, 404, 409, 413, 415),
    summary="The mood, hype and matched trajectories of a post",
)
async def analyze(request: Request, door: HasDoor) -> JSONResponse:
    """Send a picture, a caption, or both; the answer's shape is in docs/architecture.md, “The answer”."""
    form = await read_form(request)
    asked = use_case.Request(
        text=form.caption,
        image=form.image,
        symbol=form.symbol,
        at=parse_time(form.at) if form.at else None,
        requester=_requester(door),
    )
    return JSONResponse(await _answer(door, asked))


async def _answer(door: Door, asked: use_case.Request) -> Json:
    if door.waiters.available_tokens < 1:
        raise Busy(Reason("queue_full", {"count": door.settings.web_max_waiting, "seconds": 5}), retry_after=5)

    def work() -> Json:
        deadline = door.settings.web_deadline
        return use_case.analyze(door.engine, door.client, asked, clock=door.clock, deadline=deadline)

    with door.figures.waiting.track_inprogress():
        return await to_thread.run_sync(work, limiter=door.waiters, abandon_on_cancel=True)


def _requester(door: Door) -> str | None:
    """One key is one requester; without keys everybody is on this machine."""
    key = door.settings.key
    return None if key is None else "key:" + hashlib.sha256(key.encode()).hexdigest()[:16]


Lang = Annotated[str | None, Query(description="language of the words; without it what Accept-Language wishes")]


def speaker(request: Request, lang: Lang = None) -> Say:
    """The words of the reader's language."""
    return texts().speaker(language(request.headers, request.query_params))


Speaks = Annotated[Say, Depends(speaker)]

PICTURE: dict[int | str, dict[str, Any]] = {200: {"description": "A PNG.", "content": {"image/png": {}}}}
WORDS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Lines of text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.get(
    "/posts/{post_id}/chart.png",
    response_class=Response,
    responses=PICTURE | refusals(404),
    summary="The answer as a picture, 900 × 600",
)
async def chart(post_id: str, door: HasDoor, say: Speaks) -> Response:
    """The chart of a post that has been scored."""
    answer = await _verdict(door, post_id)
    return Response(await asyncio.to_thread(draw, answer, say), media_type="image/png")


@router.get(
    "/posts/{post_id}/words",
    response_class=Response,
    responses=WORDS | refusals(404),
    summary="The answer in plain words",
)
async def words(post_id: str, door: HasDoor, say: Speaks) -> Response:
    """A few lines of text."""
    return Response(tell(await _verdict(door, post_id), say), media_type="text/plain; charset=utf-8")


@router.get(
    "/posts/{post_id}/sentences", responses=refusals(404), summary="The answer's sentences, as the page shows them"
)
async def sentences(post_id: str, door: HasDoor, say: Speaks) -> JSONResponse:
    """``{"mood", "hype", "price": {"name", "big", "more"}, "notes": […], "text"}``."""
    return JSONResponse(told(await _verdict(door, post_id), say))


@router.get("/posts/{post_id}", responses=ANSWERED | refusals(404), summary="The answer to a post")
async def post(post_id: str, door: HasDoor) -> JSONResponse:
    """The same JSON as /v1/analyze; 404 while there is none."""
    return JSONResponse(await _verdict(door, post_id))


@router.delete(
    "/posts/{post_id}", responses=refusals(404, 409), summary="Take a post that waits for its answer off the queue"
)
async def cancel(post_id: str, door: HasDoor) -> JSONResponse:
    """``{"post_id", "cancelled": true}``; who waits for it is told. 409 once it is being read, or has been.

    What is stored of the post stays; it may be sent again.
    """
    if await asyncio.to_thread(door.client.cancel, [post_id]):
        return JSONResponse({"post_id": post_id, "cancelled": True})
    found = await door.read(jobs.awaited, post_id, await asyncio.to_thread(lambda: door.client.revision))
    if found is None:
        raise NotFound(Reason("post_unknown"))
    raise WrongState(Reason("post_not_waiting"))


async def _verdict(door: Door, post_id: str) -> Json:
    def look(connection: Connection) -> Json:
        answer = verdicts.answer(connection, post_id)
        if answer is not None:
            return answer
        job = jobs.job_state(connection, post_id, revisions.champion(connection) or "")
        if job is not None and job.state == "waiting":
            raise NotFound("That post is still being read; ask again in a moment.")
        raise NotFound("No answer is kept under that id; send the post to /v1/analyze.")

    return await door.read(look)


@router.get("/latest", summary="The newest verdicts of the public feed, a page at a time")
async def latest(
    door: HasDoor,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[
        str | None, Query(min_length=1, description="`next` of the page before", json_schema_extra=TIME)
    ] = None,
    source: str | None = None,
) -> JSONResponse:
    """``{"items": […], "next": …, "feed": …}``; what people sent to us themselves is never listed."""
    until: datetime | None = parse_time(before) if before else None
    rows = await door.read(queries.newest_verdicts, limit, until, source)
    following = stamp(rows[-1]["scored_at"]) if len(rows) == limit else None
    items = [listed(row) for row in rows]
    return JSONResponse({"items": items, "next": following, "feed": await door.read(streams.feed)})


@router.get("/live", response_class=StreamingResponse, summary="New verdicts as server-sent events")
async def live(door: HasDoor) -> StreamingResponse:
    """Events ``verdict`` with the items of /v1/latest, and ``missed`` with a count for a reader that was too slow."""
    door.hub.refuse_if_full()
    return StreamingResponse(stream(door.hub), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get("/markets", summary="The markets whose candles are kept here")
async def all_markets(door: HasDoor) -> JSONResponse:
    """``{"markets": [{"symbol", "exchange", "market", "newest"}]}``."""
    return JSONResponse({"markets": [market(info) for info in await door.read(queries.markets)]})


@router.get("/candles", responses=refusals(404), summary="One-minute candles of a market")
async def candles(
    door: HasDoor,
    symbol: Annotated[str, Query(min_length=1, description="market, such as BTC/USDT")],
    minutes: Annotated[int, Query(ge=1, le=1440)] = 256,
    until: Annotated[
        str | None, Query(min_length=1, description="ISO 8601; else the newest minute", json_schema_extra=TIME)
    ] = None,
) -> JSONResponse:
    """Candles that had closed by ``until``, oldest first; missing minutes are missing."""
    pair = normalize(symbol)
    end = parse_time(until) if until else None

    def look(connection: Connection) -> Json:
        newest = queries.newest_minute(connection, pair)
        if newest is None:
            raise UnknownSymbol(Reason("no_market_known", {"symbol": pair}))
        last = end or newest + MINUTE
        candles = candle_queries.recent(connection, pair, last, minutes)
        if not len(candles):
            raise NoCandles(Reason("no_candles_then", {"symbol": pair, "minutes": minutes, "at": stamp(last)}))
        return {"symbol": pair, "exchange": candles.key.exchange, "candles": bars(candles)}

    return JSONResponse(await door.read(look))


@router.get("/scorecard", summary="How predictions held: coverage, width, skill, the worst ones")
async def scorecard(
    door: HasDoor,
    days: Annotated[int, Query(ge=1, le=3650)] = 45,
    replayed: Annotated[bool, Query(description="of replays, instead of live ones")] = False,
) -> JSONResponse:
    """Every scored prediction counts, losers included; see docs/architecture.md, “The scorecard”."""
    return JSONResponse(await door.read(make_scorecard, door.clock.now(), days, replayed))


@router.get(
    "/series",
    responses=refusals(404),
    summary="The mood of a market as a series: posts, moods, volume, volatility, hype of each window",
)
async def series(
    door: HasDoor,
    request: Request,
    symbol: str,
    since: Annotated[str, Query(description="ISO 8601")],
    until: Annotated[str | None, Query(description="ISO 8601; else now")] = None,
    interval: Annotated[str, Query(pattern="^(1m|5m|15m|60m|256m)$")] = "15m",
) -> Response:
    """Closed windows, oldest first, and the gaps between them.

    With ``Accept: text/event-stream`` each window of 15 minutes published from ``since`` on comes as an event ``window``.
    """
    pair, start = normalize(symbol), parse_time(since)
    if "text/event-stream" in request.headers.get("accept", ""):
        door.hub.refuse_if_full()
        events = series_events(lambda after: door.read(series_rows, pair, after, door.clock.now()), start)
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    end = parse_time(until) if until else door.clock.now()
    rows = await door.read(series_rows, pair, start, end, interval)
    return JSONResponse({"symbol": pair, "interval": interval, "rows": rows, "gaps": gaps(rows, start, end, interval)})


@router.get("/rescore", summary="How the rescore run under way stands, else the latest")
async def rescore_run(door: HasDoor) -> JSONResponse:
    """``{"run": null or {"id", "state", "revision", "done", "total", "posts_per_second", "seconds_left", …}}``."""
    found = await door.read(rescore.progress)
    return JSONResponse({"run": rescoring.as_json(found) if found else None})


@router.post("/rescore/{run}/{action}", responses=refusals(404, 409), summary="Pause, resume or cancel a rescore run")
async def steer_rescore_run(
    run: Annotated[int, Path(ge=1, lt=2**63)], action: rescoring.Action, door: HasDoor
) -> JSONResponse:
    """``{"run": …}`` as it stands then; 409 where the run is not in a state for that."""
    return JSONResponse({"run": rescoring.as_json(await door.read(rescoring.turn, action, run))})
