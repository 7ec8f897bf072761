"""Postgres, a Kafka-protocol broker and Redis from wheels, on the loopback, for one machine and for the tests."""

from __future__ import annotations

from moodtape.servers.broker import Broker
from moodtape.servers.common import Server
from moodtape.servers.postgres import Postgres
from moodtape.servers.redis import Redis

__all__ = ["Broker", "Postgres", "Redis", "Server"]
