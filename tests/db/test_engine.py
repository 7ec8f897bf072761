"""A database that stays silent, and a client that does, are both given up within their time."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, make_url, text

from benchmarks.flow import Hole
from db.engine import DatabaseSettings, explain, make_engine, transaction
from domain.errors import Unavailable

pytestmark = pytest.mark.stack


def test_a_swallowed_answer_is_given_up_and_the_engine_recovers(database_url: str) -> None:
    """Every byte vanishes in both directions: the transaction ends as Unavailable; afterwards the same engine works."""
    url = make_url(database_url)
    hole = Hole(url.port or 0)
    through = url.set(port=hole.port).render_as_string(hide_password=False)
    engine = make_engine(DatabaseSettings.model_validate({"DATABASE_URL": through}))
    try:
        with pytest.raises(Unavailable):
            _ask_a_hole(engine, hole)
        hole.swallow(False)
        with transaction(engine, patience=5) as connection:
            assert connection.execute(text("select 3")).scalar() == 3
    finally:
        engine.dispose()
        hole.close()


def test_a_slow_answer_is_waited_for_without_patience(engine: Engine) -> None:
    """Only short transactions are bounded; others wait as long as it takes."""
    with pytest.raises(Unavailable), transaction(engine, patience=0.1) as connection:
        connection.execute(text("select pg_sleep(5)"))
    with transaction(engine) as connection:
        assert connection.execute(text("select 1 from pg_sleep(0.3)")).scalar() == 1


def test_one_inside_another_keeps_its_patience(engine: Engine) -> None:
    """What is called without a patience of its own within a bounded transaction is bounded, too, and only there."""

    def inner() -> None:
        with transaction(engine) as connection:
            connection.execute(text("select pg_sleep(3)"))

    with transaction(engine, patience=0.1), pytest.raises(Unavailable):
        inner()
    with transaction(engine) as connection:
        assert connection.execute(text("select 1 from pg_sleep(0.3)")).scalar() == 1


def test_a_client_that_stands_still_lets_go_of_its_rows(engine: Engine) -> None:
    """The server ends a transaction whose client is silent for twice its patience, and the client learns it."""
    with pytest.raises(Unavailable):
        _stand_still(engine)


def _ask_a_hole(engine: Engine, hole: Hole) -> None:
    with transaction(engine, patience=0.2) as connection:
        connection.execute(text("select 1"))
        hole.swallow(True)
        connection.execute(text("select 2"))


def _stand_still(engine: Engine) -> None:
    with transaction(engine, patience=0.5) as connection:
        pid = connection.execute(text("select pg_backend_pid()")).scalar()
        alive = "select count(*) from pg_stat_activity where pid = :pid"
        with engine.connect() as other:
            while other.execute(text(alive), {"pid": pid}).scalar():
                other.execute(text("select pg_sleep(0.02), pg_stat_clear_snapshot()"))
        connection.execute(text("select 1"))


def test_too_many_clients_are_said_as_such() -> None:
    """A server that is full is not one that does not answer."""
    for words in ("FATAL: sorry, too many clients already", "FATAL: remaining connection slots are reserved"):
        assert "no connection free" in explain(Exception(words)).message
