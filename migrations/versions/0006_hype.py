"""hype: the horizon that a kept forecast is about."""

import sqlalchemy as sa
from alembic import op

revision = "0006_hype"
down_revision = "0004_feeds"
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


def downgrade() -> None:
    """Take it away."""
    op.drop_column("predictions", "hype_minutes")
