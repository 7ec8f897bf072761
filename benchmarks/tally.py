"""Counts every write of a run by triggers in the benchmark's own database, and says what is wrong with the sums.

The keys let no row stand there twice, so counting rows cannot show that one was written twice. The triggers note how many
rows each statement wrote, in its transaction: what is rolled back does not count, what is written again does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import Engine

from benchmarks.streams import Servers, wait_for

TABLES = ("candles", "posts", "jobs")
SETTLE_SECONDS = 30.0
"""Time for messages that were sent again to be read after the flow has ended."""

_LOG = """
create table bench_writes (of_table text, rows int8);
create function bench_note() returns trigger language plpgsql as $$
begin
    insert into bench_writes select tg_table_name, count(*) from written;
    return null;
end $$;
"""
_TRIGGER = """
create trigger bench_{verb} after {verb} on {table} referencing new table as written
for each statement execute function bench_note();
"""


def watch(engine: Engine) -> None:
    """Count what is written from now on."""
    with engine.begin() as connection:
        connection.exec_driver_sql(_LOG)
        for table in TABLES:
            for verb in ("insert", "update"):
                connection.exec_driver_sql(_TRIGGER.format(verb=verb, table=table))


def count(stack: Servers, candles: int, posts: int) -> dict[str, int]:
    """What is stored, of so many candles and posts, and what was written; every message of the flow carries one row.

    ``doubled``: rows written more than once. ``refused_duplicates``: messages read that wrote nothing.
    """
    with suppress(TimeoutError):
        wait_for(lambda: not unread(stack), SETTLE_SECONDS, every=0.5)
    rows = {name: stack.number(f"select count(*) from {name}") for name in TABLES}
    writes = {n: stack.number(f"select sum(rows) from bench_writes where of_table = '{n}'") for n in TABLES}
    dead_letters, offsets = stack.number("select count(*) from dead_letters"), stack.stored()
    return {
        **rows,
        "dead_letters": dead_letters,
        "lost": candles + posts - rows["candles"] - rows["posts"],
        "writes": sum(writes.values()),
        "doubled": sum(writes.values()) - sum(rows.values()),
        "refused_duplicates": offsets - writes["candles"] - writes["posts"] - dead_letters,
        "offsets": offsets,
        "unread": unread(stack),
    }


def unread(stack: Servers) -> int:
    """Messages of the broker's log that no transaction has covered, over all partitions; 0 is no gap anywhere."""
    with stack.engine.connect() as connection:
        rows = connection.exec_driver_sql("select topic, partition, next_offset from stream_offsets").all()
    consumer = KafkaConsumer(bootstrap_servers=stack.bootstrap)
    ends = consumer.end_offsets([TopicPartition(topic, number) for topic, number, _ in rows])
    consumer.close()
    return sum(max(0, ends[TopicPartition(topic, number)] - offset) for topic, number, offset in rows)


def wrong(found: dict[str, Any]) -> list[str]:
    """The names of the figures that are not as they should be.

    A broker that is killed may lose messages on their way, which are then sent again: the offsets need not equal what was
    sent, and after a new log begins they do not even count all that was read.
    """
    out = [name for name in ("lost", "doubled", "unread", "dead_letters") if found[name]]
    out += [name for name in ("ended", "under_load") if not found[name]]
    if found["jobs"] != found["posts"]:
        out.append("jobs")
    if found["victim"] != "broker" and (found["offsets"] != found["sent"] or found["refused_duplicates"] < 0):
        out.append("offsets")
    if found["victim"] == "stop" and found["stops_fenced"] < found["kills"]:
        out.append("stops_fenced")
    return out
