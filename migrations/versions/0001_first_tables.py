"""All tables of the first generation."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("create extension if not exists vector")
    op.create_table(
        "candles",
        sa.Column("market_id", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("close", sa.Double(), nullable=False),
        sa.Column("volume", sa.Double(), nullable=False),
        sa.Column("final", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("revision", sa.SmallInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("market_id", "opened_at", name=op.f("pk_candles")),
        postgresql_partition_by="RANGE (opened_at)",
    )
    op.create_table(
        "chats",
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("language", sa.Text(), server_default="en", nullable=False),
        sa.Column("consent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("chat_id", name=op.f("pk_chats")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Text(), server_default="", nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint(
            "topic", "partition", "offset", "epoch", name=op.f("uq_dead_letters_topic_partition_offset_epoch")
        ),
    )
    op.create_table(
        "images",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("mime", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_images")),
    )
    op.create_table(
        "inbox",
        sa.Column("update_id", sa.BigInteger(), nullable=False),
        sa.Column("chat_id", sa.BigInteger(), nullable=True),
        sa.Column("album", sa.Text(), nullable=True, comment="Telegram's media_group_id"),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("post_id", sa.Text(), nullable=True),
        sa.Column("reply_id", sa.BigInteger(), nullable=True, comment="message id of our first reply"),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("update_id", name=op.f("pk_inbox")),
    )
    op.create_index(
        "ix_inbox_open", "inbox", ["update_id"], unique=False, postgresql_where=sa.text("answered_at is null")
    )
    op.create_table(
        "markets",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("market", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("timeframe", sa.Text(), server_default="1m", nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("market in ('spot', 'swap')", name=op.f("ck_markets_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_markets")),
        sa.UniqueConstraint(
            "exchange", "market", "symbol", "timeframe", name=op.f("uq_markets_exchange_market_symbol_timeframe")
        ),
    )
    op.create_table(
        "model_revisions",
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_by", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("state in ('champion', 'shadow', 'retired')", name=op.f("ck_model_revisions_state")),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_model_revisions")),
    )
    op.create_index(
        "uq_model_revisions_champion",
        "model_revisions",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'champion'"),
    )
    op.create_table(
        "prediction_scores",
        sa.Column("post_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("end_change", sa.Double(), nullable=True),
        sa.Column("inside_band", sa.Boolean(), nullable=True),
        sa.Column("hype", sa.Boolean(), nullable=True),
        sa.Column("brier", sa.Double(), nullable=True),
        sa.Column("scored_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("post_id", "revision", name=op.f("pk_prediction_scores")),
    )
    op.create_table(
        "source_cursors",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("cursor", postgresql.JSONB(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_source_cursors")),
    )
    op.create_table(
        "stream_offsets",
        sa.Column("consumer_group", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column(
            "epoch",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="identity of the broker's log; a new one starts at 0",
        ),
        sa.Column("moved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("consumer_group", "topic", "partition", name=op.f("pk_stream_offsets")),
    )
    op.create_table(
        "trajectories",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("post_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False, comment="of the encoder that made the embedding"),
        sa.Column("embedding", HALFVEC(dim=384), nullable=False),
        sa.Column("change", HALFVEC(dim=256), nullable=False, comment="percent since the first step"),
        sa.Column(
            "volatility",
            sa.Double(),
            nullable=False,
            comment="std of 1-minute percent changes in the 256 minutes before; NaN-free",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trajectories")),
        sa.UniqueConstraint("post_id", "symbol", "revision", name=op.f("uq_trajectories_post_id_symbol_revision")),
    )
    op.create_index("ix_trajectories_revision_id", "trajectories", ["revision", "id"], unique=False)
    op.create_table(
        "candle_gaps",
        sa.Column("market_id", sa.Integer(), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("noticed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("filled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["market_id"], ["markets.id"], name=op.f("fk_candle_gaps_market_id_markets"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("market_id", "start_at", name=op.f("pk_candle_gaps")),
    )
    op.create_table(
        "posts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("symbols", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("image_sha256", sa.Text(), nullable=True),
        sa.Column("author_hash", sa.Text(), nullable=True),
        sa.Column("likes", sa.BigInteger(), nullable=True),
        sa.Column("retweets", sa.BigInteger(), nullable=True),
        sa.Column("replies", sa.BigInteger(), nullable=True),
        sa.Column("cluster", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["image_sha256"], ["images.sha256"], name=op.f("fk_posts_image_sha256_images")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posts")),
    )
    op.create_index(
        "ix_posts_author_hash",
        "posts",
        ["author_hash"],
        unique=False,
        postgresql_where=sa.text("author_hash is not null"),
    )
    op.create_index(
        "ix_posts_image_sha256",
        "posts",
        ["image_sha256"],
        unique=False,
        postgresql_where=sa.text("image_sha256 is not null"),
    )
    op.create_index("ix_posts_posted_at", "posts", ["posted_at"], unique=False)
    op.create_table(
        "feedback",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("post_id", sa.Text(), nullable=False),
        sa.Column("author_hash", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False, comment="an emotion, or right / wrong"),
        sa.Column("given_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("fk_feedback_post_id_posts"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("post_id", "author_hash", name=op.f("uq_feedback_post_id_author_hash")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("post_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("requester", sa.Text(), nullable=True, comment="hashed chat or key, for fairness"),
        sa.Column("run_id", sa.BigInteger(), nullable=True, comment="the rescore run it belongs to"),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("rung_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state in ('waiting', 'done', 'failed', 'cancelled')", name=op.f("ck_jobs_state")),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("fk_jobs_post_id_posts"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("post_id", "revision", name=op.f("uq_jobs_post_id_revision")),
    )
    op.create_index(
        "ix_jobs_waiting", "jobs", ["priority", "id"], unique=False, postgresql_where=sa.text("state = 'waiting'")
    )
    op.create_table(
        "predictions",
        sa.Column("post_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hype_probability", sa.Double(), nullable=True),
        sa.Column("hype_threshold", sa.Double(), nullable=True),
        sa.Column("end_mean", sa.Double(), nullable=True, comment="percent after 256 minutes"),
        sa.Column("end_low", sa.Double(), nullable=True),
        sa.Column("end_high", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["post_id"], ["posts.id"], name=op.f("fk_predictions_post_id_posts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("post_id", "revision", name=op.f("pk_predictions")),
    )
    op.create_index("ix_predictions_due_at", "predictions", ["due_at"], unique=False)
    op.create_table(
        "verdicts",
        sa.Column("post_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("answer", postgresql.JSONB(), nullable=False),
        sa.Column("scored_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name=op.f("fk_verdicts_post_id_posts"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("post_id", "revision", name=op.f("pk_verdicts")),
    )
    op.create_index("ix_verdicts_scored_at", "verdicts", ["scored_at"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_verdicts_scored_at", table_name="verdicts")
    op.drop_table("verdicts")
    op.drop_index("ix_predictions_due_at", table_name="predictions")
    op.drop_table("predictions")
    op.drop_index("ix_jobs_waiting", table_name="jobs", postgresql_where=sa.text("state = 'waiting'"))
    op.drop_table("jobs")
    op.drop_table("feedback")
    op.drop_index("ix_posts_posted_at", table_name="posts")
    op.drop_index("ix_posts_image_sha256", table_name="posts", postgresql_where=sa.text("image_sha256 is not null"))
    op.drop_index("ix_posts_author_hash", table_name="posts", postgresql_where=sa.text("author_hash is not null"))
    op.drop_table("posts")
    op.drop_table("candle_gaps")
    op.drop_index("ix_trajectories_revision_id", table_name="trajectories")
    op.drop_table("trajectories")
    op.drop_table("stream_offsets")
    op.drop_table("source_cursors")
    op.drop_table("prediction_scores")
    op.drop_index(
        "uq_model_revisions_champion", table_name="model_revisions", postgresql_where=sa.text("state = 'champion'")
    )
    op.drop_table("model_revisions")
    op.drop_table("markets")
    op.drop_index("ix_inbox_open", table_name="inbox", postgresql_where=sa.text("answered_at is null"))
    op.drop_table("inbox")
    op.drop_table("images")
    op.drop_table("dead_letters")
    op.drop_table("chats")
    op.drop_table("candles")
