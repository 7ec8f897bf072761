"""Tables of what is said of markets and how it held: the band's standing, walk-forward folds, trials and event rules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Identity, Index, Integer, func, text
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION
from sqlalchemy.orm import Mapped, mapped_column

from db.tables import Base


class BandState(Base):
    """The conformal experts of a market once a window has closed; one row per 64 minutes, never changed."""

    __tablename__ = "band_states"

    market_id: Mapped[int] = mapped_column(ForeignKey("markets.id", ondelete="CASCADE"), primary_key=True)
    slot: Mapped[int] = mapped_column(
        BigInteger, primary_key=True, comment="start of the window, in 64 minutes of the epoch"
    )
    places: Mapped[list[float] | None] = mapped_column(
        ARRAY(DOUBLE_PRECISION), comment="of the outcome in the forecast at 15, 60, 256 minutes; null where unknown"
    )
    miss: Mapped[list[float]] = mapped_column(ARRAY(DOUBLE_PRECISION), comment="per horizon and expert, after it")
    weight: Mapped[list[float]] = mapped_column(ARRAY(DOUBLE_PRECISION))


class WalkForward(Base):
    """One walk-forward over files or over what is stored; the newest says whether anything earns a signal."""

    __tablename__ = "walk_forwards"
    __table_args__ = (Index("ix_walk_forwards_made_at", "made_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    made_at: Mapped[datetime] = mapped_column(server_default=func.now())
    source: Mapped[str] = mapped_column(comment="files or store")
    revision: Mapped[str]
    trials: Mapped[int] = mapped_column(Integer, comment="how many comparisons this run made")
    figures: Mapped[dict[str, Any]]
    signal: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    alarms: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class EventRule(Base):
    """A kind of post that the market was seen to answer to, confirmed on later posts than those it was found on."""

    __tablename__ = "event_rules"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    symbol: Mapped[str]
    rule: Mapped[dict[str, Any]] = mapped_column(comment="author, text or emotion: what a post must be")
    outcome: Mapped[str] = mapped_column(comment="volume or volatility")
    minutes: Mapped[int] = mapped_column(Integer)
    ratio: Mapped[float] = mapped_column(comment="median over matched controls, on the confirming posts")
    low: Mapped[float]
    high: Mapped[float]
    n: Mapped[int] = mapped_column(Integer, comment="confirming posts, one per window")
    held: Mapped[int] = mapped_column(Integer, comment="of those, above their controls' median")
    tried: Mapped[int] = mapped_column(Integer, comment="hypotheses of the study that found it")
    confirmed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retired_at: Mapped[datetime | None] = mapped_column(comment="when a later study took its place")
