"""Errors as HTTP: one JSON shape for everything that goes wrong, and never a traceback.

The tree is domain.errors; HTTP itself adds two branches to it, which only this door can raise.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from answer.catalogue import texts
from answer.words import explain
from domain.errors import Busy, InputError, MoodtapeError, NotFound, Unavailable

log = structlog.get_logger()

RETRY_AFTER = 2


class WrongKey(InputError):
    """The API key is missing or wrong."""

    http_status: ClassVar[int] = 401
    code = "wrong_key"


class WrongOrigin(InputError):
    """The request names a foreign host or comes from a foreign page."""

    http_status: ClassVar[int] = 403
    code = "wrong_origin"


def install(app: FastAPI) -> None:
    """Answer every error of this app in the one shape."""
    app.add_exception_handler(MoodtapeError, _deliberate)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Defects)


def language(headers: Headers | None, query: QueryParams | None = None) -> str:
    """The reader's language: ``?lang=``, else what the browser accepts, else English."""
    wish = query.get("lang") if query else None
    accepted = texts().accepted(headers.get("accept-language") if headers else None)
    return texts().choose(wish, accepted)


def response(error: MoodtapeError, headers: Headers | None = None, query: QueryParams | None = None) -> JSONResponse:
    """``{"error": {"code", "message", "id"}}`` with the status of the tree; 503 says when to come back."""
    say = texts().speaker(language(headers, query))
    ours = {"Content-Language": language(headers, query)}
    if isinstance(error, Unavailable):
        wait = error.retry_after if isinstance(error, Busy) else RETRY_AFTER
        ours["Retry-After"] = str(max(1, math.ceil(wait)))
    if isinstance(error, WrongKey):
        ours["WWW-Authenticate"] = 'ApiKey realm="moodtape"'
    return JSONResponse(_body(error, explain(error, say)), status_code=error.http_status, headers=ours)


async def _deliberate(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MoodtapeError)
    level = log.warning if error.http_status >= 500 else log.info
    level("refused", path=request.url.path, code=error.code, message=error.message, id=error.id)
    return response(error, request.headers, request.query_params)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = str(first["loc"][-1]) if first["loc"] else "request"
    return await _deliberate(request, InputError(f"“{where}” cannot be used: {first['msg']}. See /docs."))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return response(NotFound(f"There is nothing at {request.url.path[:80]}; see /docs."))
    told = InputError(f"{str(error.detail).rstrip('.')}. See /docs.")
    headers = dict(error.headers or {})
    if error.status_code == 405:  # Starlette names the methods of the first route of this path only
        own = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
        headers["Allow"] = ", ".join(
            sorted({method for route in own for method in getattr(route, "methods", None) or ()})
        )
    return JSONResponse(_body(told, told.message), status_code=error.status_code, headers=headers)


def _body(error: MoodtapeError, message: str) -> dict[str, dict[str, str]]:
    return {"error": {"code": error.code, "message": message, "id": error.id}}


TEXT = {"type": "string"}
ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"code": TEXT, "message": TEXT, "id": TEXT},
            "required": ["code", "message", "id"],
        }
    },
    "required": ["error"],
}

_REFUSALS = {
    400: "Neither text nor a picture.",
    401: "The API key is missing or wrong.",
    404: "Nothing is there: no such post, run or market, or no prices at that time.",
    409: "The post was taken off the queue before it was read, or the run is not in a state for that.",
    413: "Too many bytes, pixels or characters.",
    415: "Not a picture that can be read.",
    422: "Something else cannot be used: time, number, form.",
    503: "A service is away or the queue is full; Retry-After says when to come back.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for these statuses, in the one error shape."""
    content = {"application/json": {"schema": ERROR}}
    return {status: {"description": _REFUSALS[status], "content": content} for status in statuses}


class Defects:
    """Answers what nobody foresaw with a 500 in the one shape; the log has the traceback under the same id."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            told = MoodtapeError("Something broke on our side; the log has it under this id.")
            log.error("a defect", path=scope.get("path"), id=told.id, exc_info=error)
            if scope["type"] != "http" or begun:
                raise
            await response(told)(scope, receive, send)
