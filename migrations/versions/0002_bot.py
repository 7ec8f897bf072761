"""bot: who wrote an update, and whether its answer is on the way

Revision ID: 0002_bot
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002_bot"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inbox", sa.Column("author_hash", sa.Text(), nullable=True))
    op.add_column(
        "inbox",
        sa.Column(
            "sending_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="set just before our answer leaves, see bot/desk.py",
        ),
    )
    op.create_index("ix_inbox_chat_id", "inbox", ["chat_id"])
    op.create_index("ix_inbox_album", "inbox", ["album"], postgresql_where=sa.text("album is not null"))
    op.create_index(
        "ix_inbox_author_hash", "inbox", ["author_hash"], postgresql_where=sa.text("author_hash is not null")
    )


def downgrade() -> None:
    op.drop_index("ix_inbox_author_hash", table_name="inbox", postgresql_where=sa.text("author_hash is not null"))
    op.drop_index("ix_inbox_album", table_name="inbox", postgresql_where=sa.text("album is not null"))
    op.drop_index("ix_inbox_chat_id", table_name="inbox")
    op.drop_column("inbox", "sending_at")
    op.drop_column("inbox", "author_hash")
