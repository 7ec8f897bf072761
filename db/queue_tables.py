"""Tables of the scoring queue beside ``jobs``: who scores, what is in the air, rescore runs, and who promoted what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Identity, Index, Integer, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.tables import Base


class ScorerRow(Base):
    """A scoring process that reports itself; one that has not for a while is gone."""

    __tablename__ = "scorers"

    name: Mapped[str] = mapped_column(primary_key=True, comment="host and process id")
    revision: Mapped[str]
    device: Mapped[str]
    posts_per_second: Mapped[float] = mapped_column(comment="while busy", server_default="0")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    beat_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Batch(Base):
    """Jobs in the air. Written before they are scored, removed with their verdicts: what stays behind has died."""

    __tablename__ = "batches"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RescoreRun(Base):
    """One ``moodtape rescore``: which posts, how far they have been put on the queue, and how it stands."""

    __tablename__ = "rescore_runs"
    __table_args__ = (
        CheckConstraint("state in ('running', 'paused', 'done', 'cancelled')", name="state"),
        Index("ix_rescore_runs_open", "id", postgresql_where=text("state in ('running', 'paused')")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    revision: Mapped[str]
    filters: Mapped[dict[str, Any]] = mapped_column(comment="since, until, symbol, source, limit")
    total: Mapped[int] = mapped_column(BigInteger, comment="posts that match, when the run began")
    fed: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="posts passed so far")
    enqueued: Mapped[int] = mapped_column(BigInteger, server_default="0", comment="jobs made or revived")
    cursor_at: Mapped[datetime | None] = mapped_column(comment="posted_at of the last post passed")
    cursor_id: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default="running")
    started_by: Mapped[str] = mapped_column(server_default="")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]


class RevisionChange(Base):
    """Promotions and roll-backs: who, when, why."""

    __tablename__ = "revision_changes"

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    revision: Mapped[str]
    replaced: Mapped[str | None]
    action: Mapped[str] = mapped_column(comment="install, promote or rollback")
    changed_by: Mapped[str]
    reason: Mapped[str]
    automatic: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
