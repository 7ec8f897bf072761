"""Tables of the scoring queue: scorers, batches, rescore runs, changes of the champion."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003_workers"
down_revision = "0002_bot"
branch_labels = None
depends_on = None


def _moment(name: str, now: bool = True) -> sa.Column[Any]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not now)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "scorers",
        sa.Column("name", sa.Text(), nullable=False, comment="host and process id"),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("posts_per_second", sa.Double(), server_default="0", nullable=False, comment="while busy"),
        _moment("started_at"),
        _moment("beat_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_scorers")),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("job_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        _moment("started_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_table(
        "rescore_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("filters", postgresql.JSONB(), nullable=False, comment="since, until, symbol, source, limit"),
        sa.Column("total", sa.BigInteger(), nullable=False, comment="posts that match, when the run began"),
        sa.Column("fed", sa.BigInteger(), server_default="0", nullable=False, comment="posts passed so far"),
        sa.Column("enqueued", sa.BigInteger(), server_default="0", nullable=False, comment="jobs made or revived"),
        sa.Column("cursor_at", sa.DateTime(timezone=True), comment="posted_at of the last post passed"),
        sa.Column("cursor_id", sa.Text()),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("started_by", sa.Text(), server_default="", nullable=False),
        _moment("started_at"),
        _moment("finished_at", now=False),
        sa.CheckConstraint("state in ('running', 'paused', 'done', 'cancelled')", name=op.f("ck_rescore_runs_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rescore_runs")),
    )
    op.create_index(
        "ix_rescore_runs_open",
        "rescore_runs",
        ["id"],
        postgresql_where=sa.text("state in ('running', 'paused')"),
    )
    op.create_table(
        "revision_changes",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("replaced", sa.Text()),
        sa.Column("action", sa.Text(), nullable=False, comment="install, promote or rollback"),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("automatic", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _moment("changed_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revision_changes")),
    )


def downgrade() -> None:
    """Undo."""
    for table in ("revision_changes", "rescore_runs", "batches", "scorers"):
        op.drop_table(table)
