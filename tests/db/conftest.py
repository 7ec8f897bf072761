"""A database without tables, for the tests of the migrations."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """URL of a new, empty database; dropped afterwards."""
    name = f"empty_{secrets.token_hex(4)}"
    server = make_url(postgres_url).set(drivername="postgresql")
    with psycopg.connect(server.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(f"create database {name}")
        yield server.set(database=name).render_as_string(hide_password=False)
        connection.execute(f"drop database {name} with (force)")
