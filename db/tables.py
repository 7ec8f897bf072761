"""The tables. Column comments say what a name does not; Alembic's migrations are checked against this module."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

EMBEDDING_SIZE = 384

Moment = DateTime(timezone=True)


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: Moment,
        float: Double,
        bytes: LargeBinary,
        dict[str, Any]: JSONB,
    }


class Market(Base):
    """One series of candles: a pair on one exchange, in one market kind and timeframe."""

    __tablename__ = "markets"
    __table_args__ = (
        UniqueConstraint("exchange", "market", "symbol", "timeframe"),
        CheckConstraint("market in ('spot', 'swap')", name="kind"),
    )

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    exchange: Mapped[str]
    market: Mapped[str]
    symbol: Mapped[str]
    timeframe: Mapped[str] = mapped_column(server_default="1m")
    added_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CandleRow(Base):
    """Candles, partitioned by month of ``opened_at``; a corrected candle keeps its key and counts its revisions."""

    __tablename__ = "candles"
    __table_args__ = ({"postgresql_partition_by": "RANGE (opened_at)"},)

    market_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    opened_at: Mapped[datetime] = mapped_column(primary_key=True)
    open: Mapped[float]
    high: Mapped[float]
    low: Mapped[float]
    close: Mapped[float]
    volume: Mapped[float]
    final: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    revision: Mapped[int] = mapped_column(SmallInteger, server_default="0")


class Gap(Base):
    """Minutes that an exchange did not deliver; recorded, never invented."""

    __tablename__ = "candle_gaps"

    market_id: Mapped[int] = mapped_column(ForeignKey("markets.id", ondelete="CASCADE"), primary_key=True)
    start_at: Mapped[datetime] = mapped_column(primary_key=True)
    end_at: Mapped[datetime]
    noticed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    filled_at: Mapped[datetime | None]


class Image(Base):
    """Cleaned pictures by the sha256 of their bytes."""

    __tablename__ = "images"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    mime: Mapped[str]
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[bytes]
    stored_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PostRow(Base):
    """Posts of every source; ``author_hash`` is a keyed hash, ``cluster`` the near-duplicate group's first post."""

    __tablename__ = "posts"
    __table_args__ = (
        Index("ix_posts_posted_at", "posted_at"),
        Index("ix_posts_cluster", "cluster", postgresql_where=text("cluster is not null")),
        Index("ix_posts_author_hash", "author_hash", postgresql_where=text("author_hash is not null")),
        Index("ix_posts_image_sha256", "image_sha256", postgresql_where=text("image_sha256 is not null")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str]
    text: Mapped[str]
    language: Mapped[str]
    posted_at: Mapped[datetime]
    symbols: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    image_sha256: Mapped[str | None] = mapped_column(ForeignKey("images.sha256"))
    author_hash: Mapped[str | None]
    likes: Mapped[int | None] = mapped_column(BigInteger)
    retweets: Mapped[int | None] = mapped_column(BigInteger)
    replies: Mapped[int | None] = mapped_column(BigInteger)
    cluster: Mapped[str | None]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    replayed: Mapped[bool] = mapped_column(
        Boolean, server_default=false(), comment="came from a replay: its clock is its own time of posting"
    )


class PostEngagement(Base):
    """Likes of a post as they were at a fixed age, so that nothing is ever judged by a count that came later."""

    __tablename__ = "post_engagement"

    post_id: Mapped[str] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True)
    age_minutes: Mapped[int] = mapped_column(Integer, primary_key=True)
    likes: Mapped[int] = mapped_column(BigInteger)
    retweets: Mapped[int | None] = mapped_column(BigInteger)
    replies: Mapped[int | None] = mapped_column(BigInteger)
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SeriesWindow(Base):
    """A closed window of 15 minutes of a symbol as published; a later correction is a further revision with its reason."""

    __tablename__ = "series_windows"

    symbol: Mapped[str] = mapped_column(primary_key=True)
    opened_at: Mapped[datetime] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default="0")
    row: Mapped[dict[str, Any]] = mapped_column("values", comment="the columns of domain.series.COLUMNS")
    reason: Mapped[str] = mapped_column(server_default="")
    written_at: Mapped[datetime] = mapped_column(server_default=func.now())


class InboxRow(Base):
    """Telegram updates, written before anything else happens; ``answered_at`` closes a row."""

    __tablename__ = "inbox"
    __table_args__ = (Index("ix_inbox_open", "update_id", postgresql_where=text("answered_at is null")),)

    update_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    chat_id: Mapped[int | None] = mapped_column(BigInteger)
    album: Mapped[str | None] = mapped_column(comment="Telegram's media_group_id")
    payload: Mapped[dict[str, Any]]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    post_id: Mapped[str | None]
    reply_id: Mapped[int | None] = mapped_column(BigInteger, comment="message id of our first reply")
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    author_hash: Mapped[str | None]
    sending_at: Mapped[datetime | None] = mapped_column(comment="set just before our answer leaves, see bot/mailer.py")
    answered_at: Mapped[datetime | None]
    error: Mapped[str | None]


class Job(Base):
    """The truth of the scoring queue: one row per (post, revision). Priority 0 people, 1 live, 2 rescoring."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("post_id", "revision"),
        CheckConstraint("state in ('waiting', 'paused', 'done', 'failed', 'cancelled')", name="state"),
        Index("ix_jobs_waiting", "priority", "id", postgresql_where=text("state = 'waiting'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    post_id: Mapped[str] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"))
    revision: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    requester: Mapped[str | None] = mapped_column(comment="hashed chat or key, for fairness")
    run_id: Mapped[int | None] = mapped_column(BigInteger, comment="the rescore run it belongs to")
    state: Mapped[str] = mapped_column(server_default="waiting")
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    error: Mapped[str | None]
    submitted_at: Mapped[datetime] = mapped_column(server_default=func.now())
    rung_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


class VerdictRow(Base):
    """One verdict per (post, revision): the answer's JSON, its matches without their 256 steps (see queries.verdicts)."""

    __tablename__ = "verdicts"
    __table_args__ = (Index("ix_verdicts_scored_at", "scored_at"),)

    post_id: Mapped[str] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True)
    answer: Mapped[dict[str, Any]]
    scored_at: Mapped[datetime] = mapped_column(server_default=func.now())
    known: Mapped[dict[str, Any] | None] = mapped_column(comment="what went in, so that it can be made again")


class TrajectoryRow(Base):
    """The library: a vector of the words, and the 256 steps that followed. Numbers only for the starter rows."""

    __tablename__ = "trajectories"
    __table_args__ = (
        UniqueConstraint("post_id", "symbol", "revision"),
        Index("ix_trajectories_revision_id", "revision", "id"),
        Index("ix_trajectories_symbol", "symbol", "starts_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    post_id: Mapped[str]
    source: Mapped[str]
    symbol: Mapped[str]
    posted_at: Mapped[datetime]
    starts_at: Mapped[datetime]
    revision: Mapped[str] = mapped_column(comment="of the encoder that made the embedding")
    embedding: Mapped[Any] = mapped_column(HALFVEC(EMBEDDING_SIZE))
    change: Mapped[Any] = mapped_column(HALFVEC(256), comment="percent since the first step")
    volatility: Mapped[float] = mapped_column(
        comment="std of 1-minute percent changes in the 256 minutes before; NaN-free"
    )
    shelved: Mapped[bool] = mapped_column(
        Boolean, server_default=text("true"), comment="whether searches see it; of live windows one per pair and hour"
    )


class OpenWindow(Base):
    """A live post whose 256 candles are waited for; see :mod:`db.queries.outcomes`."""

    __tablename__ = "open_windows"
    __table_args__ = (Index("ix_open_windows_starts_at", "starts_at"),)

    post_id: Mapped[str] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True)
    symbol: Mapped[str] = mapped_column(primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(comment="of the first of its 256 candles")
    opened_at: Mapped[datetime] = mapped_column(server_default=func.now())


class StreamOffset(Base):
    """Next offset to read, per consumer group and partition; written in the transaction of the rows."""

    __tablename__ = "stream_offsets"

    group: Mapped[str] = mapped_column("consumer_group", primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(Integer, primary_key=True)
    offset: Mapped[int] = mapped_column("next_offset", BigInteger)
    epoch: Mapped[str] = mapped_column(server_default="", comment="identity of the broker's log; a new one starts at 0")
    moved_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SourceCursor(Base):
    """How far a source has been read *and stored*; advances only with the sink's commit."""

    __tablename__ = "source_cursors"

    source: Mapped[str] = mapped_column(primary_key=True)
    cursor: Mapped[dict[str, Any]]
    moved_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DeadLetter(Base):
    """Messages that could not be stored, with the reason and the original bytes."""

    __tablename__ = "dead_letters"
    __table_args__ = (UniqueConstraint("topic", "partition", "offset", "epoch"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    topic: Mapped[str]
    partition: Mapped[int] = mapped_column(Integer)
    offset: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[str] = mapped_column(server_default="")
    key: Mapped[bytes | None]
    payload: Mapped[bytes]
    reason: Mapped[str]
    refused_at: Mapped[datetime] = mapped_column(server_default=func.now())
    replayed_at: Mapped[datetime | None]
    produced_at: Mapped[datetime | None] = mapped_column(comment="when it was sent to the topic of dead letters")


class Feedback(Base):
    """What people said of an answer; the author is a keyed hash."""

    __tablename__ = "feedback"
    __table_args__ = (UniqueConstraint("post_id", "author_hash"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    post_id: Mapped[str] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"))
    author_hash: Mapped[str]
    label: Mapped[str] = mapped_column(comment="an emotion, or right / wrong")
    given_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Chat(Base):
    """A Telegram chat's language and consent; the only table that holds a chat id beside the inbox."""

    __tablename__ = "chats"

    chat_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    language: Mapped[str] = mapped_column(server_default="en")
    consent_at: Mapped[datetime | None]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_post_id: Mapped[str | None]


class ModelRevision(Base):
    """Known model revisions; at most one is the champion, whose verdicts people see."""

    __tablename__ = "model_revisions"
    __table_args__ = (
        CheckConstraint("state in ('champion', 'shadow', 'retired')", name="state"),
        Index("uq_model_revisions_champion", "state", unique=True, postgresql_where=text("state = 'champion'")),
    )

    revision: Mapped[str] = mapped_column(primary_key=True)
    manifest: Mapped[dict[str, Any]]
    state: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    changed_by: Mapped[str] = mapped_column(server_default="")
    reason: Mapped[str] = mapped_column(server_default="")
