"""Reading a form from a stranger: counted while it streams in, so that nothing oversized is ever kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from domain.errors import InputError, TooLarge
from domain.reasons import Reason
from workers.client.images import MAX_BYTES

MAX_BODY = MAX_BYTES + 256 * 1024
"""A picture of the greatest size, and words."""

MOST_DISCARDED = 3 * MAX_BODY
"""Bytes read and dropped beyond the limit, so that an ordinary client gets to read why it was refused."""

MAX_FIELD = 128 * 1024

SCHEMA = {
    "type": "object",
    "properties": {
        "image": {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF, HEIC; ≤ 20 MB, ≤ 25 Mpx"},
        "caption": {"type": "string", "description": "the words of the post (`text` is taken as well)"},
        "symbol": {
            "type": "string",
            "minLength": 1,
            "description": "market, such as BTC/USDT; else the one the words name",
        },
        "at": {
            "type": "string",
            "format": "date-time",
            "description": "time of the post, ISO 8601, UTC unless it says otherwise; else now",
        },
    },
}
BODY = {
    "requestBody": {
        "content": {"multipart/form-data": {"schema": SCHEMA}, "application/x-www-form-urlencoded": {"schema": SCHEMA}}
    }
}
"""What the OpenAPI description says of the body, which is read by hand."""


@dataclass(frozen=True, slots=True)
class Form:
    """What came in; None where a field was left out or empty."""

    caption: str
    image: bytes | None
    symbol: str | None
    at: str | None


async def read_form(request: Request) -> Form:
    """The fields of the request.

    Raises:
        TooLarge: the body is longer than :data:`MAX_BODY`; found out before or while reading.
        InputError: not a form, or a broken one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    stream = _counted(request)
    try:
        if kind == "multipart/form-data":
            form = await MultiPartParser(
                request.headers, stream, max_files=1, max_fields=8, max_part_size=MAX_FIELD
            ).parse()
        elif kind == "application/x-www-form-urlencoded":
            form = await FormParser(request.headers, stream).parse()
        else:
            raise InputError("Send a form (multipart/form-data) with image, caption, symbol, at. See /docs.")
    except MultiPartException as error:
        raise InputError(f"The form cannot be read: {error.message.rstrip('.')}. See /docs.") from None
    try:
        return await _fields(form)
    finally:
        await form.close()


async def _counted(request: Request) -> AsyncGenerator[bytes, None]:
    """The body's chunks until the limit; what comes after it is dropped, and then the error is raised."""
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen <= MAX_BODY:
            yield chunk
        elif seen > MOST_DISCARDED:
            break
    if seen > MAX_BODY:
        raise TooLarge(Reason("upload_too_large", {"most": 20}))


async def _fields(form: FormData) -> Form:
    image = form.get("image")
    if isinstance(image, UploadFile):
        data = await image.read()
        picture = None if not image.filename and not data else data
    elif image:
        raise InputError("“image” must be a file, not text. See /docs.")
    else:
        picture = None
    return Form(
        caption=_word(form, "caption") or _word(form, "text") or "",
        image=picture,
        symbol=_word(form, "symbol"),
        at=_word(form, "at"),
    )


def _word(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if isinstance(value, UploadFile):
        raise InputError(f"“{name}” must be text, not a file. See /docs.")
    return value if value is not None and value.strip() else None
