"""A small Telegram Bot API server for tests and for trying the bot offline: `python -m tests.fakes.telegram --port 8081`.

It keeps Telegram's own limits (caption and text length, HTML that parses, one body per request), confirms updates by
offset, and can be told to answer 429, 400 or 403. Point the bot at it with TELEGRAM_API=http://127.0.0.1:8081.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from aiohttp import web

TOKEN = "4242424242:AAemulated-token-that-no-log-may-show"
TAGS = {"b", "i", "u", "s", "a", "code", "pre", "blockquote"}
TEXT_LIMIT, CAPTION_LIMIT, FILE_LIMIT = 4096, 1024, 20 * 2**20
NOT_MODIFIED = "Bad Request: message is not modified"
BOT = {"id": 4242, "is_bot": True, "first_name": "moodtape", "username": "moodtape_bot"}

Json = dict[str, Any]


class Refused(Exception):
    """An answer that is not ok."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


@dataclass
class Call:
    """One request of the bot: parameters, uploaded files by field, and when it came (monotonic seconds)."""

    method: str
    params: Json
    files: dict[str, bytes] = field(default_factory=dict)
    at: float = 0.0
    status: int = 200

    @property
    def picture(self) -> bytes | None:
        """The uploaded picture, of sendPhoto or editMessageMedia."""
        return next(iter(self.files.values()), None)


@dataclass
class Message:
    """A message that stands in a chat: ``text`` as a reader sees it, without markup."""

    chat_id: int
    text: str
    picture: bytes | None = None
    keyboard: Json | None = None
    reply_to: int | None = None

    @property
    def has_media(self) -> bool:
        return self.picture is not None


class Dropped(Exception):
    """The connection breaks before the response."""


Fault = Callable[[Call], Refused | None]


class Telegram:
    """The server's memory: updates waiting, files, messages standing, and every call that was made."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token
        self.url = ""
        self.updates: list[Json] = []
        self.files: dict[str, bytes] = {}
        self.messages: dict[tuple[int, int], Message] = {}
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.webhook: str | None = None
        self.delay = 0.0
        self._ids = 0
        self._news = asyncio.Event()

    def next_id(self) -> int:
        """Message ids, update ids and file ids all come from one counter."""
        self._ids += 1
        return self._ids

    def push(self, **update: Any) -> int:
        """Queue an update for the bot; returns its id."""
        number = self.next_id()
        self.updates.append({"update_id": number, **update})
        self._news.set()
        return number

    def message(self, chat: int = 7, user: int | None = None, **fields: Any) -> Json:
        """A message from a person, not queued yet; a negative chat is a group."""
        person = {"id": user or abs(chat), "is_bot": False, "first_name": "Ada", "language_code": "en"}
        kind = {"type": "group", "title": "g"} if chat < 0 else {"type": "private", "first_name": "Ada"}
        base = {"message_id": self.next_id(), "date": int(time.time()), "from": person, "chat": {"id": chat, **kind}}
        return {**base, **fields}

    def say(self, text: str, chat: int = 7, **fields: Any) -> int:
        """A text message, with the entity that a command has."""
        if text.startswith("/"):
            fields["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text.split(maxsplit=1)[0])}]
        return self.push(message=self.message(chat, text=text, **fields))

    def show(self, picture: bytes, caption: str | None = None, chat: int = 7, **fields: Any) -> int:
        """A photo message, in two sizes as Telegram sends it."""
        if caption is not None:
            fields["caption"] = caption
        return self.push(message=self.message(chat, photo=self.photo(picture), **fields))

    def photo(self, picture: bytes, size: int | None = None) -> list[Json]:
        """Sizes of a picture that can be fetched; ``size`` claims another length in bytes."""
        name = self.keep(picture)
        big = {"file_id": name, "file_unique_id": f"u{name}", "width": 800, "height": 600}
        return [{**big, "file_id": f"thumb{name}", "width": 80}, {**big, "file_size": size or len(picture)}]

    def document(self, content: bytes, mime: str, size: int | None = None) -> Json:
        """A file that can be fetched."""
        name = self.keep(content)
        unique = {"file_id": name, "file_unique_id": f"u{name}"}
        return {**unique, "mime_type": mime, "file_name": "f", "file_size": size or len(content)}

    def keep(self, content: bytes) -> str:
        """Store bytes under a new file id."""
        name = f"file{self.next_id()}"
        self.files[name] = content
        return name

    def press(self, message_id: int, data: str, chat: int = 7, user: int | None = None) -> int:
        """Somebody presses a button under a message."""
        person = {"id": user or abs(chat), "is_bot": False, "first_name": "Ada", "language_code": "en"}
        under = {**self.message(chat), "message_id": message_id, "from": BOT}
        query = {"id": str(self.next_id()), "from": person, "chat_instance": "1", "data": data, "message": under}
        return self.push(callback_query=query)

    def of(self, *methods: str) -> list[Call]:
        """Calls of these methods that were granted."""
        return [call for call in self.calls if call.method in methods and call.status == 200]

    def in_chat(self, chat: int = 7) -> list[Message]:
        """What stands in a chat, oldest first."""
        return [m for (c, _), m in sorted(self.messages.items()) if c == chat]

    def refuse(self, method: str, times: int, refusal: Refused) -> None:
        """Answer the next ``times`` calls of a method with a refusal."""
        left = [times]

        def fault(call: Call) -> Refused | None:
            if call.method != method or left[0] == 0:
                return None
            left[0] -= 1
            return refusal

        self.faults.append(fault)

    async def call(self, call: Call) -> Any:
        """Do what a method does, or raise :class:`Refused`."""
        for fault in self.faults:
            if (refusal := fault(call)) is not None:
                raise refusal
        handler = getattr(self, f"_{call.method}", None)
        if handler is None:
            raise Refused(404, "Not Found: method not found")
        return await handler(call)

    async def _getMe(self, call: Call) -> Json:
        return BOT

    async def _getUpdates(self, call: Call) -> list[Json]:
        offset = int(call.params.get("offset") or 0)
        end = time.monotonic() + float(call.params.get("timeout") or 0)
        self.updates = [u for u in self.updates if u["update_id"] >= offset]
        while not self.updates and (left := end - time.monotonic()) > 0:
            self._news.clear()
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                break
        return self.updates[: int(call.params.get("limit") or 100)]

    async def _sendMessage(self, call: Call) -> Json:
        return self._stand(call, Message(int(call.params["chat_id"]), self._words(call, "text", TEXT_LIMIT)))

    async def _sendPhoto(self, call: Call) -> Json:
        words = self._words(call, "caption", CAPTION_LIMIT)
        if not call.picture:
            raise Refused(400, "Bad Request: there is no photo in the request")
        return self._stand(call, Message(int(call.params["chat_id"]), words, call.picture))

    async def _sendChatAction(self, call: Call) -> bool:
        return True

    async def _setMyCommands(self, call: Call) -> bool:
        return True

    async def _answerCallbackQuery(self, call: Call) -> bool:
        return True

    async def _deleteWebhook(self, call: Call) -> bool:
        self.webhook = None
        return True

    async def _setWebhook(self, call: Call) -> bool:
        self.webhook = call.params["url"]
        return True

    async def _getFile(self, call: Call) -> Json:
        name = call.params["file_id"]
        if name not in self.files:
            raise Refused(400, "Bad Request: invalid file_id")
        if len(self.files[name]) > FILE_LIMIT:
            raise Refused(400, "Bad Request: file is too big")
        return {"file_id": name, "file_unique_id": f"u{name}", "file_path": f"photos/{name}"}

    async def _editMessageText(self, call: Call) -> Json:
        if self._found(call).has_media:
            raise Refused(400, "Bad Request: there is no text in the message to edit")
        return self._change(call, text=self._words(call, "text", TEXT_LIMIT))

    async def _deleteMessage(self, call: Call) -> bool:
        self._found(call)
        del self.messages[int(call.params["chat_id"]), int(call.params["message_id"])]
        return True

    async def _editMessageCaption(self, call: Call) -> Json:
        return self._change(call, text=self._words(call, "caption", CAPTION_LIMIT))

    async def _editMessageMedia(self, call: Call) -> Json:
        media = json.loads(call.params["media"])
        call.params.update(caption=media.get("caption", ""), parse_mode=media.get("parse_mode"))
        return self._change(call, text=self._words(call, "caption", CAPTION_LIMIT), picture=call.picture)

    async def _editMessageReplyMarkup(self, call: Call) -> Json:
        return self._change(call)

    def _stand(self, call: Call, message: Message) -> Json:
        number = self.next_id()
        message.keyboard = json.loads(call.params["reply_markup"]) if call.params.get("reply_markup") else None
        reply = json.loads(call.params.get("reply_parameters") or "{}")
        message.reply_to = reply.get("message_id")
        self.messages[message.chat_id, number] = message
        return self._shown(message.chat_id, number)

    def _found(self, call: Call) -> Message:
        found = self.messages.get((int(call.params["chat_id"]), int(call.params["message_id"])))
        if found is None:
            raise Refused(400, "Bad Request: message to edit not found")
        return found

    def _change(self, call: Call, **fields: Any) -> Json:
        message = self._found(call)
        markup = call.params.get("reply_markup")
        fields["keyboard"] = json.loads(markup) if markup else None
        if all(getattr(message, name) == value for name, value in fields.items()):
            raise Refused(400, NOT_MODIFIED)
        for name, value in fields.items():
            setattr(message, name, value)
        return self._shown(message.chat_id, int(call.params["message_id"]))

    def _shown(self, chat: int, number: int) -> Json:
        return {**self.message(chat), "message_id": number, "from": BOT, "text": self.messages[chat, number].text}

    def _words(self, call: Call, name: str, limit: int) -> str:
        words = str(call.params.get(name) or "")
        if call.params.get("parse_mode") == "HTML":
            words = plain(words)
        if len(words.encode("utf-16-le")) // 2 > limit:
            raise Refused(400, f"Bad Request: message {name} is too long")
        if name == "text" and not words.strip():
            raise Refused(400, "Bad Request: message text is empty")
        return words


class _Plain(HTMLParser):
    """The words of Telegram's HTML; a tag that it does not know, or a wrong nesting, is refused."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words, self.open = "", [""]

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in TAGS:
            raise Refused(400, f'Bad Request: can\'t parse entities: Unsupported start tag "{tag}"')
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open.pop() != tag:
            raise Refused(400, "Bad Request: can't parse entities: unmatched end tag")

    def handle_data(self, data: str) -> None:
        self.words += data


def plain(markup: str) -> str:
    """What a reader sees of HTML; raises :class:`Refused` where Telegram would."""
    parser = _Plain()
    parser.feed(markup)
    parser.close()
    if parser.open != [""]:
        raise Refused(400, "Bad Request: can't parse entities: can't find end tag")
    return parser.words


async def _parameters(request: web.Request) -> tuple[Json, dict[str, bytes]]:
    params: Json = dict(request.query)
    files: dict[str, bytes] = {}
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            files[name] = value.file.read()
        else:
            params[name] = value
    return params, files


def application(telegram: Telegram) -> web.Application:
    """The HTTP side of a :class:`Telegram`."""

    async def method(request: web.Request) -> web.Response:
        params, files = await _parameters(request)
        call = Call(request.match_info["method"], params, files, time.monotonic())
        try:
            if request.match_info["token"] != telegram.token:
                raise Refused(401, "Unauthorized")
            await asyncio.sleep(telegram.delay)
            result = await telegram.call(call)
        except Refused as error:
            call.status = error.status
            body = {"ok": False, "error_code": error.status, "description": error.description}
            if error.parameters:
                body["parameters"] = error.parameters
            return web.json_response(body, status=error.status)
        except Dropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        finally:
            telegram.calls.append(call)
        return web.json_response({"ok": True, "result": result})

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if request.match_info["token"] != telegram.token or name not in telegram.files:
            raise web.HTTPNotFound
        return web.Response(body=telegram.files[name])

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/bot{token}/{method}", method)
    app.router.add_get("/file/bot{token}/photos/{name}", file)
    return app


async def serve(telegram: Telegram, port: int = 0, app: web.Application | None = None) -> tuple[web.AppRunner, str]:
    """Listen on the loopback; returns the runner, to be cleaned up, and the base URL."""
    runner = web.AppRunner(app or application(telegram), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


if __name__ == "__main__":
    from tests.fakes.telegram_page import main

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8081)
    asyncio.run(main(parser.parse_args().port))
