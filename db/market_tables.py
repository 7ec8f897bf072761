"""Tables of what is said of markets and how it held: the band's standing, walk-forward folds, trials and event rules."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Identity, Index, Integer, SmallInteger, func, text
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


class Prediction(Base):
    """What was said before the outcome existed; written with the verdict of a live or interactive post."""

    __tablename__ = "predictions"
    __table_args__ = (Index("ix_predictions_due_at", "due_at"),)

    post_id: Mapped[str] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True)
    symbol: Mapped[str]
    made_at: Mapped[datetime] = mapped_column(server_default=func.now())
    due_at: Mapped[datetime]
    hype_probability: Mapped[float | None]
    hype_threshold: Mapped[float | None]
    hype_minutes: Mapped[int] = mapped_column(SmallInteger, server_default="256", comment="horizon of the forecast")
    end_mean: Mapped[float | None] = mapped_column(comment="percent after 256 minutes")
    end_low: Mapped[float | None]
    end_high: Mapped[float | None]
    quantiles: Mapped[list[float] | None] = mapped_column(
        ARRAY(DOUBLE_PRECISION), comment="percent, knots by levels (models.trajectories.band)"
    )
    climatology: Mapped[list[float] | None] = mapped_column(
        ARRAY(DOUBLE_PRECISION), comment="the week before, the same"
    )
    miss: Mapped[list[float] | None] = mapped_column(
        ARRAY(DOUBLE_PRECISION), comment="nominal rates at 15, 60, 256 minutes"
    )
    big_move: Mapped[float | None] = mapped_column(comment="percent; the trailing 90th percentile of end moves")
    persistence: Mapped[float | None] = mapped_column(
        comment="log volatility of the day before, its mean error taken off"
    )
    volatility: Mapped[float | None] = mapped_column(comment="expected log volatility of the 256 minutes")
    replayed: Mapped[bool] = mapped_column(Boolean, server_default=text("false"), comment="made on a replay's clock")


class PredictionScore(Base):
    """What then happened; written once by the closing candles."""

    __tablename__ = "prediction_scores"
    __table_args__ = (Index("ix_prediction_scores_closed_at", "closed_at"),)

    post_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[str] = mapped_column(primary_key=True)
    end_change: Mapped[float | None]
    inside_band: Mapped[bool | None]
    hype: Mapped[bool | None]
    brier: Mapped[float | None]
    symbol: Mapped[str | None]
    closed_at: Mapped[datetime | None]
    covered: Mapped[float | None] = mapped_column(comment="share of the knots inside the band")
    width: Mapped[float | None] = mapped_column(comment="percent, of the band's end")
    crps: Mapped[float | None]
    crps_base: Mapped[float | None] = mapped_column(comment="of the week before")
    volatility_error: Mapped[float | None] = mapped_column(comment="squared, of log volatility")
    volatility_base: Mapped[float | None] = mapped_column(comment="the same of persistence")
    big_chance: Mapped[float | None]
    big_moved: Mapped[bool | None]
    replayed: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    scored_at: Mapped[datetime] = mapped_column(server_default=func.now())
