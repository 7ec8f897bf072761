"""Postgres, a Kafka-protocol broker and Redis from wheels, on the loopback, for one machine and for the tests."""

from __future__ import annotations

from moodtape.servers.brokers import Broker, Redis
from moodtape.servers.common import Server
from moodtape.servers.postgres import Postgres

__all__ = ["Broker", "Postgres", "Redis", "Server"]
