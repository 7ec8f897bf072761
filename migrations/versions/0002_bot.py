"""bot: who wrote an update, whether its answer is on the way, and a chat's last answer."""

import sqlalchemy as sa
from alembic import op

revision = "0002_bot"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Three columns that may be null: no rewrite, no long lock."""
    op.add_column("inbox", sa.Column("author_hash", sa.Text(), nullable=True))
    comment = "set just before our answer leaves, see bot/mailer.py"
    op.add_column("inbox", sa.Column("sending_at", sa.DateTime(timezone=True), nullable=True, comment=comment))
    op.add_column("chats", sa.Column("last_post_id", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take them away."""
    op.drop_column("chats", "last_post_id")
    op.drop_column("inbox", "sending_at")
    op.drop_column("inbox", "author_hash")
