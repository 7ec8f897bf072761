"""Candles per second from a producer through the broker to committed rows, against one ORM insert per message.

``python -m benchmarks.ingest --json`` runs on the packaged servers; ``--broker HOST:PORT`` takes another broker.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from kafka import KafkaConsumer
from sqlalchemy.orm import Session

from benchmarks.streams import Servers, blocks, servers, singles, wait_for
from db.migrate import ensure_months
from db.tables import CandleRow
from streaming.kafka import KafkaBroker
from streaming.messages import CANDLES, TOPICS, CandleMessage, Outgoing, decode


def send(bootstrap: str, messages: Iterable[Outgoing]) -> int:
    """Produce everything, wait for the acknowledgements; returns the number of messages."""
    producer, count = KafkaBroker(bootstrap).producer(), 0
    for count, message in enumerate(messages, start=1):  # noqa: B007 - the last number is the result
        producer.send(message.topic, message.key, message.value)
    producer.flush(120)
    producer.close()
    return count


def ours(stack: Servers, messages: Iterable[Outgoing], rows: int) -> tuple[float, float]:
    """Rows per second end to end, and of producing alone."""
    before, began = stack.stored(), time.monotonic()
    count = send(stack.bootstrap, messages)
    produced = time.monotonic() - began
    wait_for(lambda: stack.stored() >= before + count, 600)
    return rows / (time.monotonic() - began), rows / produced


def peer(stack: Servers, rows: int) -> float:
    """The common way: poll, one ORM object, one commit, one offset commit per message."""
    with stack.engine.begin() as connection:
        ensure_months(connection, [datetime.fromtimestamp(1_700_000_040, UTC)])
    topic = "peer"
    KafkaBroker(stack.bootstrap).ensure({topic: 1})
    send(stack.bootstrap, (Outgoing(topic, m.key, m.value, m.stream, m.upto) for m in singles(1, rows)))
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=stack.bootstrap,
        group_id="peer",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    done, began = 0, 0.0
    while done < rows:
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                began = began or time.monotonic()
                message = decode(CANDLES, record.value)
                assert isinstance(message, CandleMessage)
                with Session(stack.engine) as session:
                    assert isinstance(message.at, int)
                    bars = {name: getattr(message, name) for name in ("open", "high", "low", "close", "volume")}
                    opened_at = datetime.fromtimestamp(message.at, UTC)
                    session.add(CandleRow(market_id=1_000_000, opened_at=opened_at, **bars))
                    session.commit()
                consumer.commit()
                done += 1
    seconds = time.monotonic() - began
    consumer.close()
    return rows / seconds


def measure(bootstrap: str | None, candles: int, block: int, peer_rows: int) -> dict[str, Any]:
    """Both ways on one set of servers."""
    with servers(bootstrap) as stack:
        KafkaBroker(stack.bootstrap).ensure(TOPICS)
        stack.sink()
        before = stack.stored()
        send(stack.bootstrap, singles(4, 5))
        wait_for(lambda: stack.stored() >= before + 20, 60)
        single, single_sent = ours(stack, singles(100, candles // 100), candles)
        minutes = candles // 10
        many, many_sent = ours(stack, blocks(100, minutes, block), 100 * minutes)
        rows, dead_letters = (
            stack.number("select count(*) from candles"),
            stack.number("select count(*) from dead_letters"),
        )
        slow = peer(stack, peer_rows)
    return {
        "ours": round(single),
        "peer": round(slow),
        "ratio": round(single / slow, 1),
        "unit": "candles/s, one a message, producer to committed row",
        "blocks": {"ours": round(many), "ratio": round(many / slow, 1), "candles_per_message": block},
        "produced": {"single": round(single_sent), "blocks": round(many_sent)},
        "rows": rows,
        "different_candles_sent": 100 * minutes,
        "dead_letters": dead_letters,
        "broker": "embedded" if bootstrap is None else bootstrap,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("kafka-python", "psycopg", "sqlalchemy", "msgspec")},
    }


def main() -> None:
    """Command line; exits 1 when a candle is missing or a message was refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--broker", help="host:port of another broker")
    parser.add_argument("--candles", type=int, default=200_000, help="at least 50")
    parser.add_argument("--block", type=int, default=100)
    parser.add_argument("--peer-rows", type=int, default=2_000)
    options = parser.parse_args()
    found = measure(options.broker, options.candles, options.block, options.peer_rows)
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        for name, value in found.items():
            sys.stdout.write(f"{name:12} {value}\n")
    sys.exit(1 if found["rows"] != found["different_candles_sent"] or found["dead_letters"] else 0)


if __name__ == "__main__":
    main()
