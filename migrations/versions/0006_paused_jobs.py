"""paused jobs: what a pause of a rescore run takes off the queue has a state of its own."""

from alembic import op

revision = "0006_paused_jobs"
down_revision = "0005_markets"
branch_labels = None
depends_on = None

NAME = "ck_jobs_state"


def upgrade() -> None:
    """The rule is checked against new rows first, and against the old ones without holding anybody up."""
    op.drop_constraint(op.f(NAME), "jobs", type_="check")
    states = "('waiting', 'paused', 'done', 'failed', 'cancelled')"
    op.execute(f"alter table jobs add constraint {NAME} check (state in {states}) not valid")
    op.execute(f"alter table jobs validate constraint {NAME}")
    op.execute(
        "update jobs set state = 'paused' where state = 'cancelled' and finished_at is null and priority = 2 "
        "and run_id in (select id from rescore_runs where state = 'paused')"
    )


def downgrade() -> None:
    """As it was: such a job is cancelled and not finished."""
    op.execute("update jobs set state = 'cancelled' where state = 'paused'")
    op.drop_constraint(op.f(NAME), "jobs", type_="check")
    op.create_check_constraint(op.f(NAME), "jobs", "state in ('waiting', 'done', 'failed', 'cancelled')")
