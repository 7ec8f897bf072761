"""How Alembic runs: on the connection that db/migrate.py hands over, one transaction per migration."""

from alembic import context

import db.market_tables
import db.queue_tables  # noqa: F401  registers its tables
from db.tables import Base


def run() -> None:
    """Run the chosen migrations."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


run()
