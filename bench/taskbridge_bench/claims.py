"""The user's own servers: taken only if nothing in them can be destroyed."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import redis

from .databases import RedisDatabase, redis_url
from .refusal import Refusal

ANSWER_TIMEOUT_S = 10
RABBITMQ_QUEUES = ("celery", "bench:default")
"""Of Celery by its own API, and of TaskBridge."""


@contextlib.contextmanager
def claimed_redis(url: str) -> Iterator[None]:
    """Make sure that our databases of a Redis are empty, and empty them at the end.

    Raises:
        Refusal: they are not; nothing was deleted.
    """
    counts = {database: _count(url, database) for database in RedisDatabase}
    if full := {database: n for database, n in counts.items() if n}:
        found = ", ".join(f"{n} keys in database {db:d}" for db, n in full.items())
        raise Refusal(
            f"The Redis at {_place(url)} is not empty: {found}. A run deletes "
            f"everything in databases 0 to {max(RedisDatabase):d}, so nothing was "
            f"done. Give it a Redis that nobody else uses. If these keys were left by "
            f"a run that was killed, delete them yourself."
        )
    try:
        yield
    finally:
        with contextlib.suppress(redis.RedisError):
            for database in RedisDatabase:
                with _client(url, database) as client:
                    client.flushdb()


@contextlib.contextmanager
def claimed_rabbitmq(url: str) -> Iterator[None]:
    """Make sure that our queues do not exist in a vhost, and delete them at the end.

    Raises:
        Refusal: they do; nothing was deleted.
    """
    if found := [name for name in RABBITMQ_QUEUES if _has_queue(url, name)]:
        raise Refusal(
            f"The RabbitMQ at {_place(url)} has queues that a run would purge: "
            f"{', '.join(found)}. Nothing was done. Give it a vhost of its own: "
            f"rabbitmqctl add_vhost bench."
        )
    try:
        yield
    finally:
        for name in RABBITMQ_QUEUES:
            _delete_queue(url, name)


def _count(url: str, database: RedisDatabase) -> int:
    try:
        with _client(url, database) as client:
            return cast("int", client.dbsize())
    except redis.ResponseError as exc:
        raise Refusal(
            f"The Redis at {_place(url)} has no database {database:d} ({exc}). A run "
            f"needs {max(RedisDatabase) + 1:d}: raise `databases` in its configuration."
        ) from exc
    except redis.RedisError as exc:
        raise Refusal(f"The Redis at {_place(url)} does not answer: {exc}.") from exc


def _client(url: str, database: RedisDatabase) -> redis.Redis:
    where = redis_url(url, database)
    return redis.Redis.from_url(where, socket_timeout=ANSWER_TIMEOUT_S)


def _has_queue(url: str, name: str) -> bool:
    from amqp.exceptions import NotFound  # noqa: PLC0415 - comes with Celery
    from kombu import Connection  # noqa: PLC0415 - see above

    try:
        with Connection(url, connect_timeout=ANSWER_TIMEOUT_S) as connection:
            # An AMQP channel; celery-types knows what all transports have.
            channel: Any = connection.default_channel
            channel.queue_declare(name, passive=True)
    except NotFound:
        return False
    except Connection(url).connection_errors as exc:
        raise Refusal(f"The RabbitMQ at {_place(url)} refuses us: {exc}.") from exc
    return True


def _delete_queue(url: str, name: str) -> None:
    from kombu import Connection  # noqa: PLC0415 - see above

    errors = Connection(url).connection_errors + Connection(url).channel_errors
    with contextlib.suppress(*errors), Connection(url) as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(name)


def _place(url: str) -> str:
    """Return where a server is, without the password that its URL may hold."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 'its default port'}{parts.path}"
