"""A page on the emulator, for trying the bot by hand without Telegram: send words or a picture, see the answers."""

from __future__ import annotations

import asyncio
import base64
from html import escape

from aiohttp import web

from tests.fakes.telegram import Message, Telegram, application, serve

FORM = """<!doctype html><meta charset=utf-8><title>Telegram, emulated</title>
<style>body{font:16px sans-serif;max-width:60rem;margin:2rem auto}pre{white-space:pre-wrap}img{max-width:100%}</style>
<h1>Telegram, emulated</h1>
<form method=post action=/send enctype=multipart/form-data>
<input name=words size=60 placeholder="words, a caption, or /help"> <input type=file name=picture accept="image/*">
<button>Send</button></form><p><a href="/">Look again</a></p>"""


def _shown(message: Message, number: int) -> str:
    parts = []
    if message.picture:
        parts.append(f'<img alt=answer src="data:image/png;base64,{base64.b64encode(message.picture).decode()}">')
    parts.append(f"<pre>{escape(message.text)}</pre>")
    for row in (message.keyboard or {}).get("inline_keyboard", []):
        parts += [
            f'<a href="/press?message={number}&data={escape(b["callback_data"])}">[{escape(b["text"])}]</a> '
            for b in row
        ]
    return "<hr>" + "".join(parts)


def with_page(telegram: Telegram) -> web.Application:
    """The emulator's application with the page at ``/``."""
    app = application(telegram)

    async def page(_: web.Request) -> web.Response:
        shown = [_shown(m, number) for (_, number), m in sorted(telegram.messages.items(), reverse=True)]
        return web.Response(text=FORM + "".join(shown), content_type="text/html")

    async def send(request: web.Request) -> web.Response:
        fields = await request.post()
        words, file = str(fields.get("words", "")), fields.get("picture")
        content = file.file.read() if isinstance(file, web.FileField) else b""
        if content:
            telegram.show(content, words or None)
        else:
            telegram.say(words)
        await asyncio.sleep(1.5)
        raise web.HTTPSeeOther("/")

    async def press(request: web.Request) -> web.Response:
        telegram.press(int(request.query["message"]), request.query["data"])
        await asyncio.sleep(0.5)
        raise web.HTTPSeeOther("/")

    app.router.add_get("/", page)
    app.router.add_post("/send", send)
    app.router.add_get("/press", press)
    return app


async def main(port: int) -> None:
    """Serve until interrupted."""
    telegram = Telegram()
    runner, url = await serve(telegram, port, with_page(telegram))
    print(f"{url}/ – start the bot with TELEGRAM_API={url} TELEGRAM_TOKEN={telegram.token}")
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
