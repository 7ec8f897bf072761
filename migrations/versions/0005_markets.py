"""markets: predictions with their whole forecast and score, the band's standing, walk-forward folds, event rules, replays."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_markets"
down_revision = "0004_feeds"
branch_labels = None
depends_on = None

NUMBERS: Any = postgresql.ARRAY(sa.DOUBLE_PRECISION())

FORECAST: tuple[tuple[str, Any, str], ...] = (
    ("quantiles", NUMBERS, "percent, knots by levels (models.trajectories.band)"),
    ("climatology", NUMBERS, "the week before, the same"),
    ("miss", NUMBERS, "nominal rates at 15, 60, 256 minutes"),
    ("big_move", sa.Double(), "percent; the trailing 90th percentile of end moves"),
    ("persistence", sa.Double(), "log volatility of the day before, its mean error taken off"),
    ("volatility", sa.Double(), "expected log volatility of the 256 minutes"),
)
SCORE: tuple[tuple[str, Any, str | None], ...] = (
    ("symbol", sa.Text(), None),
    ("closed_at", sa.DateTime(timezone=True), None),
    ("covered", sa.Double(), "share of the knots inside the band"),
    ("width", sa.Double(), "percent, of the band's end"),
    ("crps", sa.Double(), None),
    ("crps_base", sa.Double(), "of the week before"),
    ("volatility_error", sa.Double(), "squared, of log volatility"),
    ("volatility_base", sa.Double(), "the same of persistence"),
    ("big_chance", sa.Double(), None),
    ("big_moved", sa.Boolean(), None),
)


def _flag(comment: str | None = None) -> sa.Column[bool]:
    return sa.Column("replayed", sa.Boolean(), server_default=sa.text("false"), nullable=False, comment=comment)


def upgrade() -> None:
    """Columns that may be null or have constant defaults: no rewrite; the index beside running writers."""
    with op.get_context().autocommit_block():
        for name, kind, comment in SCORE:
            op.add_column("prediction_scores", sa.Column(name, kind, comment=comment), if_not_exists=True)
        op.drop_index("ix_posts_cluster", table_name="posts", if_exists=True)
        some = sa.text("cluster is not null")
        op.create_index("ix_posts_cluster", "posts", ["cluster"], postgresql_where=some, postgresql_concurrently=True)
        op.drop_index("ix_prediction_scores_closed_at", table_name="prediction_scores", if_exists=True)
        op.create_index(
            "ix_prediction_scores_closed_at", "prediction_scores", ["closed_at"], postgresql_concurrently=True
        )
    for name, kind, comment in FORECAST:
        op.add_column("predictions", sa.Column(name, kind, comment=comment))
    op.add_column("predictions", _flag("made on a replay's clock"))
    op.add_column("prediction_scores", _flag())
    op.add_column(
        "verdicts", sa.Column("known", postgresql.JSONB(), comment="what went in, so that it can be made again")
    )
    op.add_column("posts", _flag("came from a replay: its clock is its own time of posting"))
    _create()


def _create() -> None:
    op.create_table(
        "band_states",
        sa.Column("market_id", sa.Integer(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False, comment="start of the window, in 64 minutes of the epoch"),
        sa.Column(
            "places",
            NUMBERS,
            nullable=True,
            comment="of the outcome in the forecast at 15, 60, 256 minutes; null where unknown",
        ),
        sa.Column("miss", NUMBERS, nullable=False, comment="per horizon and expert, after it"),
        sa.Column("weight", NUMBERS, nullable=False),
        sa.ForeignKeyConstraint(
            ["market_id"], ["markets.id"], name=op.f("fk_band_states_market_id_markets"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("market_id", "slot", name=op.f("pk_band_states")),
    )
    op.create_table(
        "walk_forwards",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="files or store"),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False, comment="how many comparisons this run made"),
        sa.Column("figures", postgresql.JSONB(), nullable=False),
        sa.Column("signal", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("alarms", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_walk_forwards")),
    )
    op.create_index("ix_walk_forwards_made_at", "walk_forwards", ["made_at"])
    op.create_table(
        "event_rules",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("rule", postgresql.JSONB(), nullable=False, comment="author, text or emotion: what a post must be"),
        sa.Column("outcome", sa.Text(), nullable=False, comment="volume or volatility"),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column(
            "ratio", sa.Double(), nullable=False, comment="median over matched controls, on the confirming posts"
        ),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False, comment="confirming posts, one per window"),
        sa.Column("held", sa.Integer(), nullable=False, comment="of those, above their controls' median"),
        sa.Column("tried", sa.Integer(), nullable=False, comment="hypotheses of the study that found it"),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True, comment="when a later study took its place"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_rules")),
    )


def downgrade() -> None:
    """Take them away."""
    for table in ("event_rules", "walk_forwards", "band_states"):
        op.drop_table(table)
    for table in ("posts", "prediction_scores", "predictions"):
        op.drop_column(table, "replayed")
    op.drop_column("verdicts", "known")
    for name, _, _ in FORECAST:
        op.drop_column("predictions", name)
    op.drop_index("ix_posts_cluster", table_name="posts")
    op.drop_index("ix_prediction_scores_closed_at", table_name="prediction_scores")
    for name, _, _ in SCORE:
        op.drop_column("prediction_scores", name)
