"""The page that people see, its script and style, and the description of the API; all from this folder, no network."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

STATIC = Path(__file__).parent / "static"

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    """The local page."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


@router.get("/docs")
async def docs() -> FileResponse:
    """The API, drawn from /openapi.json without anything from elsewhere."""
    return FileResponse(STATIC / "docs.html", headers={"Cache-Control": "no-cache"})
