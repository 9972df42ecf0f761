"""`Links`: connections to a broker on which nobody waits for long."""

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from functools import cache
from typing import Any

import kombu
from celery import Celery
from kombu.transport import pyamqp

from . import deadline

ANSWER_WITHIN_S = 4.5
"""How long a broker that does not answer holds a caller; promised are 5 seconds."""
LONGER_PER_MESSAGE_S = 0.05
"""How much longer it may take to confirm many messages, as long as it answers."""

# Redis: what its client waits for a connection, and for each answer.
REDIS_CONNECT_S = 1.3
REDIS_ANSWER_S = 3.2
# RabbitMQ: the wait for a confirmation, and then for each of two new connections.
CONFIRM_S = 2
AMQP_CONNECT_S = 1.2


def in_time(messages: int) -> contextlib.AbstractContextManager[None]:
    """Limit the waits for a broker that is to take so many messages."""
    return deadline.within(ANSWER_WITHIN_S + LONGER_PER_MESSAGE_S * messages)


_IN_TIME: dict[type, type] = {
    pyamqp.Transport: deadline.Transport,
    pyamqp.SSLTransport: deadline.SSLTransport,
}


_OF_REDIS = "kombu.transport.redis.Transport"


class Link(kombu.Connection):
    """A connection for calls that have to return, by the settings of an app."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.known: dict[Any, Any] = {}
        """What may be used again as long as the connection lasts."""

    def get_transport_cls(self) -> Any:
        """Return the transport; also after kombu has gone on to the next host."""
        found = super().get_transport_cls()
        if f"{found.__module__}.{found.__qualname__}" == _OF_REDIS:
            from . import redis_clients  # noqa: PLC0415 - needs redis-py

            return redis_clients.Transport
        return _IN_TIME.get(found, found)


class Links:
    """The connections of a process to the broker of an app.

    Celery's own pools have no limit for waiting, neither for a broker nor for another
    thread. Here each thread that publishes takes an idle connection, or a new one.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._idle: deque[kombu.Producer] = deque()
        # A connection that two processes share hangs both. To close it here would end
        # it for the other one.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._idle.clear)

    @contextlib.contextmanager
    def producer(
        self, messages: int, *, on_new: bool = False
    ) -> Iterator[kombu.Producer]:
        """Lend a producer for so many messages; it is thrown away if that fails.

        Args:
            messages: how many may be published with it.
            on_new: whether it has to have a new connection.
        """
        try:
            producer = None if on_new else self._idle.pop()
        except IndexError:
            producer = None
        producer = producer or kombu.Producer(self._new())
        link: Any = producer.connection
        try:
            with in_time(messages):
                yield producer
        except BaseException:
            _abandon(link)
            raise
        self._idle.append(producer)

    @contextlib.contextmanager
    def link(self, messages: int = 0) -> Iterator[Link]:
        """Lend a new connection, for something else than publishing.

        Args:
            messages: how many may be handled on it.
        """
        link = self._new()
        try:
            with deadline.within(ANSWER_WITHIN_S):
                _ = link.default_channel  # connects, by the options of _new()
            with in_time(messages):
                yield link
                link.release()
        except BaseException:
            _abandon(link)
            raise

    def _new(self) -> Link:
        of_app = self._app.connection_for_write()  # opens nothing
        is_redis = of_app.transport.driver_type == "redis"
        known = of_app.info()
        once = {
            "max_retries": max(len(known["alternates"]) - 1, 0),
            **dict.fromkeys(("interval_start", "interval_step", "interval_max"), 0),
        }
        limits = _redis_limits if is_redis else _amqp_limits
        options = known["transport_options"] or {}
        known["transport_options"] = {**options, **once, **limits(options)}
        if not is_redis:
            known["connect_timeout"] = AMQP_CONNECT_S
        return Link(**known)


@cache
def links_of(app: Celery) -> Links:
    """Return the connections of an app, once for each process."""
    return Links(app)


def _redis_limits(options: dict[str, Any]) -> dict[str, Any]:
    limits = {
        "socket_timeout": REDIS_ANSWER_S,
        "socket_connect_timeout": REDIS_CONNECT_S,
    }
    # The project's own may be shorter.
    shortest = {
        name: min(limit, options.get(name) or limit) for name, limit in limits.items()
    }
    return {**shortest, "retry_on_timeout": False}


def _amqp_limits(options: dict[str, Any]) -> dict[str, Any]:
    # Without it a publish returns before RabbitMQ has taken the message.
    return {"confirm_publish": True}


def _abandon(link: kombu.Connection) -> None:
    """Close a connection without a word to a broker that may not answer."""
    with contextlib.suppress(Exception), deadline.within(0):
        link.collect()
