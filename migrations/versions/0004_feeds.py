"""feeds: windows that wait for their candles, which trajectories searches see, dead letters on their topic."""

import sqlalchemy as sa
from alembic import op

revision = "0004_feeds"
down_revision = "0003_workers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The index first, beside running writers, and safe to begin again; columns with constant defaults: no rewrite."""
    with op.get_context().autocommit_block():
        op.drop_index("ix_trajectories_symbol", table_name="trajectories", if_exists=True)
        op.create_index("ix_trajectories_symbol", "trajectories", ["symbol", "starts_at"], postgresql_concurrently=True)
    op.create_table(
        "open_windows",
        sa.Column("post_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False, comment="of the first of its 256 candles"),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["post_id"], ["posts.id"], name=op.f("fk_open_windows_post_id_posts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("post_id", "symbol", name=op.f("pk_open_windows")),
    )
    op.create_index("ix_open_windows_starts_at", "open_windows", ["starts_at"])
    comment = "whether searches see it; of live windows one per pair and hour"
    op.add_column(
        "trajectories",
        sa.Column("shelved", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment=comment),
    )
    comment = "when it was sent to the topic of dead letters"
    op.add_column("dead_letters", sa.Column("produced_at", sa.DateTime(timezone=True), comment=comment))


def downgrade() -> None:
    """Take them away."""
    op.drop_column("dead_letters", "produced_at")
    op.drop_column("trajectories", "shelved")
    op.drop_table("open_windows")
    op.drop_index("ix_trajectories_symbol", table_name="trajectories")
