"""RabbitMQ's client with a deadline: py-amqp 5.4 waits for most answers without one.

It waits for the broker to open and close channels and connections, to declare queues
and to switch to confirmations, and it sends without a limit, too. A broker that is
frozen, or that blocks publishers (a memory or disk alarm), would hold a caller for
ever. Redis needs none of this: its client has a limit for each wait.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from amqp.method_framing import frame_writer
from kombu.exceptions import OperationalError
from kombu.transport import pyamqp

from .confirms import Channel

_local = threading.local()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit all waits of this thread for RabbitMQ; of two limits the earlier holds."""
    before = getattr(_local, "ends_at", None)
    ends_at = time.monotonic() + seconds
    _local.ends_at = ends_at if before is None else min(before, ends_at)
    try:
        yield
    finally:
        _local.ends_at = before


def _seconds_left(at_most: float | None) -> float | None:
    """Return how long the next wait may take; None: for ever.

    Raises:
        TimeoutError: the deadline has passed.
    """
    ends_at = getattr(_local, "ends_at", None)
    if ends_at is None:
        return at_most
    left: float = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError("RabbitMQ did not answer in time")
    return left if at_most is None else min(at_most, left)


class PublishersBlocked(OperationalError):  # noqa: N818 - a noun, as all of ours
    """RabbitMQ accepts no messages now, and says so."""


class Connection(pyamqp.Connection):
    """A connection of py-amqp whose waits end with the deadline."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            *args,
            **{
                **kwargs,
                "frame_writer": _frame_writer,
                "on_blocked": self._block,
                "on_unblocked": self._unblock,
            },
        )
        self._is_blocked = False

    def connect(self, callback: Callable[[], object] | None = None) -> Any:
        """Connect; see py-amqp."""
        self.connect_timeout = _seconds_left(self.connect_timeout)
        return super().connect(callback)

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read one frame: every wait for an answer comes here."""
        if timeout == 0:  # no wait: py-amqp looks for news before it publishes
            return super().blocking_read(timeout)
        self.tell_of_block()
        handled = super().blocking_read(_seconds_left(timeout))
        self.tell_of_block()
        return handled

    def tell_of_block(self) -> None:
        """Raise `PublishersBlocked` if it is so."""
        if self._is_blocked:
            raise PublishersBlocked(
                "RabbitMQ accepts no messages: its alarm for memory or disk is on"
            )

    def _block(self, reason: str) -> None:
        self._is_blocked = True

    def _unblock(self) -> None:
        self._is_blocked = False


def _frame_writer(connection: Any, transport: Any) -> Callable[..., Any]:
    write = frame_writer(connection, transport)

    def write_in_time(*args: Any) -> Any:
        with transport.having_timeout(_seconds_left(None)):
            return write(*args)

    return write_in_time


class Transport(pyamqp.Transport):
    """kombu's transport for amqp://, with such connections."""

    Connection = Connection


class SSLTransport(pyamqp.SSLTransport):
    """kombu's transport for amqps://, with such connections."""

    Connection = Connection
