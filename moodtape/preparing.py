"""What a database needs before services use it: the schema, and the starter library."""

from __future__ import annotations

from db.engine import make_engine, transaction
from db.migrate import upgrade
from db.queries import trajectories
from models import library


def prepare(*, seed: bool) -> str:
    """Bring up the schema, and seed the library where its encoder's rows are missing; returns a sentence.

    Raises:
        ConfigError, Unavailable: the database. WeightsError: the library is missing or altered.
    """
    head = upgrade()
    if not seed:
        return f"the schema is at {head}"
    engine = make_engine()
    try:
        with transaction(engine) as connection:
            rows = trajectories.seed(connection, library)
    finally:
        engine.dispose()
    return f"the schema is at {head}, the library has {rows} starter trajectories"
