"""hype: the horizon that a kept forecast is about, likes at a fixed age, published windows of a symbol."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007_hype"
down_revision = "0006_paused_jobs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column with a constant default: no rewrite."""
    op.add_column(
        "predictions",
        sa.Column(
            "hype_minutes",
            sa.SmallInteger(),
            server_default=sa.text("256"),
            nullable=False,
            comment="horizon of the forecast",
        ),
    )
    op.create_table(
        "post_engagement",
        sa.Column("post_id", sa.Text(), nullable=False),
        sa.Column("age_minutes", sa.Integer(), nullable=False),
        sa.Column("likes", sa.BigInteger(), nullable=False),
        sa.Column("retweets", sa.BigInteger(), nullable=True),
        sa.Column("replies", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["post_id"], ["posts.id"], name=op.f("fk_post_engagement_post_id_posts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("post_id", "age_minutes", name=op.f("pk_post_engagement")),
    )
    op.create_table(
        "series_windows",
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("values", JSONB(), nullable=False, comment="the columns of domain.series.COLUMNS"),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("symbol", "opened_at", "revision", name=op.f("pk_series_windows")),
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_table("series_windows")
    op.drop_table("post_engagement")
    op.drop_column("predictions", "hype_minutes")
