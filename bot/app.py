"""The bot put together: what depends on what, and its life from start to stop."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import structlog
from aiogram import Bot, Dispatcher
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import AiogramError, TelegramNotFound, TelegramUnauthorizedError
from aiogram.types import BotCommand, BotCommandScopeChat
from aiogram.utils.token import TokenValidationError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from answer.catalogue import FALLBACK, Texts
from bot.admin import Watch
from bot.dispatcher import LOOK_AGAIN, InboxDispatcher
from bot.handlers import COMMANDS, make_router
from bot.intake import LONGEST_PAUSE, Intake, loads, serve
from bot.limiter import Limiter
from bot.mailer import Mailer
from bot.reader import Context, Queue, Reader
from bot.settings import BotSettings, hash_key
from db.engine import Store, explain
from db.queries import telegram
from domain.clock import Clock, SystemClock
from domain.errors import ConfigError, MoodtapeError
from runtime.health import Heartbeat

log = structlog.get_logger()

DRAIN = 6.0
"""Seconds that answers under way have to end in when the process is told to stop."""

EXPIRE_EVERY = 3600.0

T = TypeVar("T")


@dataclass
class Door:
    """The running parts."""

    bot: Bot
    intake: Intake
    dispatcher: InboxDispatcher
    store: Store
    settings: BotSettings

    def healthy(self) -> bool:
        """Telegram has answered and the inbox has been read lately."""
        now = time.monotonic()
        polled = now - self.intake.moved_at < self.settings.poll_seconds + 15 or bool(self.settings.webhook_url)
        return polled and now - self.dispatcher.looked_at < LOOK_AGAIN + 10


def make_bot(settings: BotSettings) -> Bot:
    """The Bot API's client.

    Raises:
        ConfigError: no token, or one that has not a token's form.
    """
    token = settings.token.get_secret_value().strip()
    if not token:
        raise ConfigError("There is no TELEGRAM_TOKEN; get one from @BotFather and set it.")
    if not settings.api.startswith(("http://", "https://")):
        raise ConfigError("TELEGRAM_API is not a URL; write https://host or http://127.0.0.1:8081.")
    session = AiohttpSession(api=TelegramAPIServer.from_base(settings.api), json_loads=loads)
    try:
        return Bot(token, session=session)
    except TokenValidationError:
        raise ConfigError("TELEGRAM_TOKEN is not a bot's token; it looks like 123456:ABC….") from None


@asynccontextmanager
async def opened(
    settings: BotSettings, engine: Engine, queue: Queue, clock: Clock | None = None, limiter: Limiter | None = None
) -> AsyncIterator[Door]:
    """Everything wired, nothing running yet; closed on the way out."""
    bot = make_bot(settings)
    store, texts = Store(engine), Texts()
    context = Context(store, settings.patience, settings.give_up)
    reader = Reader(bot, store, queue, clock or SystemClock(), settings.at_once)
    mailer = Mailer(bot, store, limiter or Limiter())
    watch = Watch(mailer, store, texts)
    handlers = Dispatcher(disable_fsm=True)
    handlers.include_router(make_router(settings.admin_ids))
    handlers.workflow_data.update(store=store, texts=texts, reader=reader, mailer=mailer, context=context, watch=watch)
    dispatcher = InboxDispatcher(
        bot, handlers, store, mailer, texts, album_seconds=settings.album_seconds, at_once=settings.at_once
    )
    intake = Intake(store, hash_key(settings), dispatcher.wake)
    try:
        yield Door(bot, intake, dispatcher, store, settings)
    finally:
        await dispatcher.drain(DRAIN)
        await watch.close()
        await asyncio.to_thread(reader.close)
        await bot.session.close()


async def run(settings: BotSettings, engine: Engine, queue: Queue) -> None:
    """Work until SIGTERM or SIGINT.

    Raises:
        ConfigError: the token is refused, or a setting is wrong.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    async with AsyncExitStack() as stack:
        await make_bot(settings).session.close()
        await stack.enter_async_context(_alone(engine, stop))
        door = await stack.enter_async_context(opened(settings, engine, queue))
        stack.enter_context(Heartbeat("bot").beating(door.healthy))
        await _until_stopped(door, stop)


async def _until_stopped(door: Door, stop: asyncio.Event) -> None:
    """Run intake, dispatcher and housekeeping; one that ends by an error ends all."""
    works = [
        asyncio.create_task(_arrive(door)),
        asyncio.create_task(door.dispatcher.run()),
        asyncio.create_task(_expire(door)),
    ]
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*works, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in (*works, stopped):
        task.cancel()
    await asyncio.gather(*works, stopped, return_exceptions=True)
    for task in done - {stopped}:
        task.result()


async def _arrive(door: Door) -> None:
    await greet(door.bot, door.settings.admin_ids)
    door.intake.moved_at = time.monotonic()  # Telegram has answered; the first long poll may take half a minute
    if door.settings.webhook_url:
        await serve(door.bot, door.intake, door.settings)
        return
    await _patiently(lambda: door.bot.delete_webhook(drop_pending_updates=False))
    await door.intake.poll(door.bot, door.settings.poll_seconds)


async def greet(bot: Bot, admins: frozenset[int] = frozenset()) -> None:
    """Check the token, and put the commands into Telegram's menu, in every language; admins see theirs too.

    Raises:
        ConfigError: Telegram refuses the token.
    """
    me = await _patiently(bot.me)
    log.info("the bot is known to Telegram", username=me.username, id=me.id)
    texts = Texts()
    for code in texts.languages:
        await _offer(bot, texts, code, COMMANDS, None)
        for admin in admins:
            await _offer(bot, texts, code, (*COMMANDS, "rescore"), BotCommandScopeChat(chat_id=admin))


async def _offer(bot: Bot, texts: Texts, code: str, names: tuple[str, ...], scope: BotCommandScopeChat | None) -> None:
    commands = [
        BotCommand(command=name, description=texts.say(code, f"command-{name.replace('_', '-')}")) for name in names
    ]
    try:
        await bot.set_my_commands(commands, scope=scope, language_code=None if code == FALLBACK else code)
    except AiogramError as error:
        log.info("the menu of commands stays as it is", language=code, error=type(error).__name__)


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The call's result, however long Telegram is away."""
    pause = 0.5
    while True:
        try:
            return await call()
        except (TelegramUnauthorizedError, TelegramNotFound):
            raise ConfigError("Telegram refuses the token; check TELEGRAM_TOKEN.") from None
        except AiogramError as error:
            log.warning("Telegram does not answer", error=type(error).__name__, pause=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


async def _expire(door: Door) -> None:
    while True:
        try:
            await door.intake.own_groups()  # before the updates go that tell whose they were
            await door.store(telegram.expire, door.settings.keep_days)
        except MoodtapeError as error:
            log.warning("old updates stay for now", error=error.message)
        await asyncio.sleep(EXPIRE_EVERY)


@asynccontextmanager
async def _alone(engine: Engine, stop: asyncio.Event) -> AsyncIterator[None]:
    """Hold the lock that keeps a second bot from answering the same inbox; waits for it until told to stop."""
    guard = await asyncio.to_thread(_connect, engine)
    try:
        while not stop.is_set() and not await asyncio.to_thread(telegram.sole_reader, guard):
            log.warning("another bot process works on this database; waiting for it to end")
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN):
                    await stop.wait()
        yield
    finally:
        await asyncio.to_thread(guard.close)


def _connect(engine: Engine) -> Connection:
    try:
        return engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except OperationalError as error:
        raise explain(error) from None
