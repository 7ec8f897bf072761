"""What a database needs before services use it: the schema, and the starter library."""

from __future__ import annotations

from db.engine import make_engine, transaction
from db.migrate import upgrade


def migrate_and_seed() -> str:
    """Bring up the schema, seed the library where its encoder's rows are missing; returns a sentence.

    Raises:
        ConfigError, Unavailable: the database. WeightsError: the library is missing or altered.
    """
    head = upgrade()
    from db.queries.trajectories import seed
    from models import library

    engine = make_engine()
    try:
        with transaction(engine) as connection:
            rows = seed(connection, library)
    finally:
        engine.dispose()
    return f"the schema is at {head}, the library has {rows} starter trajectories"
