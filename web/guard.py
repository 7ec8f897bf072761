"""Who may come in: hosts, origins, keys; and what browsers are told to forbid. One ASGI layer around everything."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.errors import WrongKey, WrongOrigin, response
from web.settings import WebSettings, is_loopback

OPEN = frozenset({"/", "/docs", "/openapi.json", "/live", "/ready"})
"""Paths that need no key: the page itself, which then asks for it, and the probes."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Refuses foreign hosts (DNS rebinding), foreign pages (CSRF) and wrong keys; adds the security headers."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self.app = app
        self.key = settings.key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if scope["path"].startswith("/v1/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        if refusal is not None:
            await response(refusal)(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)

    def _refusal(self, path: str, headers: Headers) -> WrongKey | WrongOrigin | None:
        host = headers.get("host", "")
        if self.key is None and not is_loopback(_name(host)):
            return WrongOrigin("This door answers to localhost and 127.0.0.1 only; set MOODTAPE_API_KEY to open it.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return WrongOrigin("Another web page may not call this door; open its own page instead.")
        if self.key is None or path in OPEN or path.startswith("/static/"):
            return None
        given = headers.get("x-api-key", "") or headers.get("authorization", "").removeprefix("Bearer ")
        if secrets.compare_digest(given.encode(), self.key.encode()):
            return None
        return WrongKey("The API key is missing or wrong; send it in the header X-API-Key.")


def _name(host: str) -> str:
    """The host without its port."""
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]
