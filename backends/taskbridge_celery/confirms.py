"""RabbitMQ's confirmations, which a caller may await together.

py-amqp 5.4 waits for each of them before it publishes the next message.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from amqp.exceptions import MessageNacked
from kombu.exceptions import OperationalError
from kombu.transport import pyamqp

NACKED = "its queue takes no more messages, or the server has trouble"


TRUSTED_S = 1
"""How long ago RabbitMQ may have confirmed something, to be trusted with more."""
TRUSTED_WITH = 100
"""How many messages it is trusted with that it has not confirmed."""

REFUSED = (
    "RabbitMQ has not taken message %s, which was sent before: %s. Its task has a "
    "record, and is delivered after REDELIVER."
)
UNKNOWN = (
    "RabbitMQ had not confirmed %d messages when its connection broke (%r). If they "
    "are lost, their tasks, which have records, are delivered after REDELIVER."
)

logger = logging.getLogger("taskbridge")


class Unroutable(OperationalError):  # noqa: N818 - a noun, as all of ours
    """RabbitMQ had no queue for a message: somebody has deleted it."""


class Channel(pyamqp.Channel):
    """Keeps count of what it has published, and of what RabbitMQ said to that."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._published = 0
        self._unconfirmed: dict[int, str] = {}
        """Ids of messages by the numbers under which RabbitMQ confirms them."""
        self._refused: dict[str, Exception] = {}
        self._is_awaited = True
        self._is_left = False
        self._left: set[str] = set()
        """Ids of messages whose confirmation nobody awaits."""
        self._is_doubted = False
        self._confirmed_at = -math.inf
        self.accepted: set[str] = set()
        """Ids of messages that RabbitMQ has accepted, of those published last."""
        events: Any = vars(self)["events"]
        events["basic_ack"].add(self._on_confirmed)
        events["basic_nack"].add(self._on_refused)
        events["basic_return"].add(self._on_returned)

    @contextmanager
    def together(self, stalled_s: float) -> Iterator[None]:
        """Await the confirmations of all that is published inside, at its end.

        Args:
            stalled_s: how many seconds may pass without one.

        Raises:
            MessageNacked, Unroutable: some were refused; see `accepted`.
            TimeoutError: no confirmation came for so long.
        """
        self.accepted = set()
        self._is_doubted = self._is_awaited = False
        try:
            yield
        finally:
            self._is_awaited = True
        self._wait(stalled_s)

    @contextmanager
    def later(self, stalled_s: float) -> Iterator[None]:
        """Leave the confirmation of what is published inside until later.

        That is, if RabbitMQ has just confirmed others; else as `together`. If it
        refuses a message later, that is logged, and whoever publishes next waits.
        """
        self.accepted = set()
        self._listen()
        is_recent = monotonic() - self._confirmed_at < TRUSTED_S
        if self._is_doubted or not is_recent or len(self._unconfirmed) >= TRUSTED_WITH:
            with self.together(stalled_s):
                yield
            return
        self._is_left, self._is_awaited = True, False
        try:
            yield
        finally:
            self._is_left, self._is_awaited = False, True

    def _listen(self) -> None:
        """Take in what RabbitMQ has said meanwhile."""
        connection: Any = self.connection
        try:
            while True:
                connection.drain_events(timeout=0)
        except TimeoutError:
            connection.tell_of_block()
        except Exception as exc:
            if self._left:
                logger.warning(UNKNOWN, len(self._left), exc)
            raise

    def basic_publish_confirm(
        self, msg: Any, *args: Any, confirm_timeout: float | None = None, **kwargs: Any
    ) -> None:
        """Publish a message, and wait for its confirmation unless `together` does."""
        channel: Any = self
        if not channel._confirm_selected:  # noqa: SLF001 - as py-amqp does here
            channel._confirm_selected = True  # noqa: SLF001
            channel.confirm_select()
        self._published += 1
        self._unconfirmed[self._published] = msg.properties.get("correlation_id", "")
        channel._basic_publish(msg, *args, **kwargs)  # noqa: SLF001
        if self._is_left:
            self._left.add(self._unconfirmed[self._published])
        if self._is_awaited:
            self._wait(confirm_timeout)

    def _wait(self, stalled_s: float | None) -> None:
        while self._unconfirmed:
            connection: Any = self.connection
            connection.drain_events(timeout=stalled_s)
        refused, self._refused = self._refused, {}
        for exc in refused.values():
            raise exc

    def _on_confirmed(self, number: int, multiple: bool) -> None:  # noqa: FBT001 - as py-amqp calls it
        self._confirmed_at = monotonic()
        confirmed = self._taken(number, multiple)
        self._left -= confirmed
        # A message that comes back is confirmed nevertheless, and afterwards.
        self.accepted.update(confirmed - self._refused.keys())

    def _on_refused(self, number: int, multiple: bool) -> None:  # noqa: FBT001 - as above
        for key in self._taken(number, multiple):
            self._refuse(key, MessageNacked(NACKED))

    def _on_returned(self, exc: Exception, exchange: str, key: str, msg: Any) -> None:
        reason = Unroutable(f"there is no queue {key!r} any more")
        self._refuse(msg.properties.get("correlation_id", ""), reason)

    def _refuse(self, key: str, reason: Exception) -> None:
        if key in self._left:
            self._left.discard(key)
            self._is_doubted = True
            logger.warning(REFUSED, key, reason)
        else:
            self._refused[key] = reason

    def _taken(self, number: int, multiple: bool) -> set[str]:  # noqa: FBT001 - as above
        """Return the ids that these numbers stand for, and forget the numbers."""
        numbers = [number]
        if multiple:
            numbers = [each for each in self._unconfirmed if each <= number]
        return {self._unconfirmed.pop(each) for each in numbers}
