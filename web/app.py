"""Putting the door together: routes, guard, errors, live feed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import Engine

from answer.catalogue import texts
from domain.answer import answer_schema
from domain.clock import Clock, SystemClock
from models.language import language as detect
from web import api, errors, explain, match
from web.errors import language
from web.guard import Guard
from web.health import Figures, Measured, look
from web.live import Hub
from web.settings import WebSettings
from workers.client.queue import ScoringClient

STATIC = Path(__file__).parent / "static"

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request) -> HTMLResponse:
    """The local page, in its reader's language."""
    code = language(request.headers, request.query_params)
    headers = {"Cache-Control": "no-cache", "Content-Language": code, "Vary": "Accept-Language"}
    return HTMLResponse(render((STATIC / "index.html").read_text(encoding="utf-8"), code), headers=headers)


def render(markup: str, code: str) -> str:
    """The page with the words of a language in place of ``{{key}}``, and those for its scripts in place of ``{{words}}``."""
    known = texts()
    words = known.patterns(code, "page-js-", "emotion-", "state-", "steer-")
    rows = [f"<dt>{key}</dt><dd>{escape(text)}</dd>" for key, text in words.items()]
    rows += [
        f'<dt data-language="{one}">language</dt><dd>{escape(known.say(one, "language"))}</dd>'
        for one in known.languages
    ]
    given = {"language": code, "words": "\n".join(rows)}
    return re.sub(r"\{\{([\w-]+)\}\}", lambda hole: given.get(hole[1]) or escape(known.say(code, hole[1])), markup)


@router.get("/docs")
async def docs() -> FileResponse:
    """The API, drawn from /openapi.json without anything from elsewhere."""
    return FileResponse(STATIC / "docs.html", headers={"Cache-Control": "no-cache"})


ABOUT = "Reads the mood of posts against the price tape. Not financial advice."


class Described(FastAPI):
    """With the parts of the answer among the named schemas of its description."""

    def openapi(self) -> dict[str, Any]:
        """The description; made once."""
        if self.openapi_schema is None:
            super().openapi().setdefault("components", {}).setdefault("schemas", {}).update(answer_schema()[1])
        assert self.openapi_schema is not None
        return self.openapi_schema


def create_app(
    engine: Engine, client: ScoringClient, settings: WebSettings | None = None, clock: Clock | None = None
) -> FastAPI:
    """The web door as an ASGI application; nothing runs before its start-up."""
    settings = settings or WebSettings()
    figures = Figures()
    hub = Hub(engine, client.listener, settings.web_max_listeners, dropped=figures.dropped.inc)
    figures.listeners.set_function(lambda: hub.listeners)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        waiters = CapacityLimiter(settings.web_max_waiting)
        app.state.door = api.Door(engine, client, settings, clock or SystemClock(), hub, figures, waiters)
        hub.start()
        warm = asyncio.create_task(asyncio.to_thread(detect, "the language model is loaded before the first post"))
        yield
        await hub.stop()
        await warm

    app = Described(title="moodtape", description=ABOUT, version="2", lifespan=lifespan, docs_url=None, redoc_url=None)
    errors.install(app)
    app.include_router(api.router)
    app.include_router(match.router)
    app.include_router(explain.router)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.state.hub = hub
    _probes(app, settings)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Measured, figures=figures)
    return app


def _probes(app: FastAPI, settings: WebSettings) -> None:
    @app.get("/live", tags=["probes"], summary="Whether the process runs")
    async def live() -> JSONResponse:
        return JSONResponse({"live": True})

    @app.get(
        "/ready",
        tags=["probes"],
        responses={503: {"description": "Something is not well."}},
        summary="Whether the database, a worker and the feed are well",
    )
    async def ready() -> JSONResponse:
        door: api.Door = app.state.door
        health = await asyncio.to_thread(look, door.engine, settings, door.clock)
        return JSONResponse(health.json(), status_code=200 if health.ready else 503)

    @app.get("/metrics", tags=["probes"], response_class=Response, summary="Figures for Prometheus")
    async def metrics() -> Response:
        door: api.Door = app.state.door
        return Response(generate_latest(door.figures.registry), media_type=CONTENT_TYPE_LATEST)
