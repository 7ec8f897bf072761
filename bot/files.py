"""Which picture a message holds, and fetching it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramBadRequest
from aiogram.types import Message
from aiohttp import ClientError

from bot.wording import MEGABYTES, FileTooBig, Unsupported
from domain.errors import Unavailable, UnreadableImage

LIMIT = MEGABYTES * 2**20


@dataclass(frozen=True, slots=True)
class Picture:
    """A file to fetch; ``size`` is what Telegram says of it, in bytes."""

    file_id: str
    size: int | None


def picture_of(messages: Sequence[Message]) -> Picture | None:
    """The first picture of a message or album: a photo's largest size, a picture sent as a file, or a still sticker.

    Raises:
        Unsupported: a file of another kind, and nothing else to read.
    """
    found = [picture for message in messages if (picture := _picture(message)) is not None]
    if found:
        return found[0]
    if any(m.document or m.video or m.voice or m.audio or m.video_note or m.sticker for m in messages) and not any(
        m.caption or m.text for m in messages
    ):
        raise Unsupported("This kind of message cannot be read; send text or a picture.")
    return None


def _picture(message: Message) -> Picture | None:
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        return Picture(largest.file_id, largest.file_size)
    document = message.document
    if document is not None and (document.mime_type or "").startswith("image/"):
        return Picture(document.file_id, document.file_size)
    if message.sticker is not None and not (message.sticker.is_animated or message.sticker.is_video):
        return Picture(message.sticker.file_id, message.sticker.file_size)
    if message.animation is not None and message.animation.thumbnail is not None:
        still = message.animation.thumbnail
        return Picture(still.file_id, still.file_size)
    return None


async def fetch(bot: Bot, picture: Picture) -> bytes:
    """The file's bytes.

    Raises:
        FileTooBig: more than Telegram lets bots fetch, or more than it said.
        Unavailable: Telegram does not hand the file out.
    """
    if (picture.size or 0) > LIMIT:
        raise FileTooBig(f"Telegram lets bots fetch {MEGABYTES} MB.")
    try:
        file = await bot.get_file(picture.file_id)
        if file.file_path is None:
            raise Unavailable("Telegram does not hand this file out; send it again.")
        return await _download(bot, bot.session.api.file_url(bot.token, file.file_path))
    except TelegramBadRequest as error:
        if "too big" in error.message:
            raise FileTooBig(f"Telegram lets bots fetch {MEGABYTES} MB.") from None
        raise UnreadableImage("Telegram does not know this file any more; send it again.") from None
    except (AiogramError, ClientError, TimeoutError):
        # The message of the original holds the URL, and the URL the token.
        raise Unavailable("Telegram does not hand the file out now; try again.") from None


async def _download(bot: Bot, url: str) -> bytes:
    content = bytearray()
    async for piece in bot.session.stream_content(url, raise_for_status=True):
        content += piece
        if len(content) > LIMIT:
            raise FileTooBig(f"Telegram lets bots fetch {MEGABYTES} MB.")
    return bytes(content)
