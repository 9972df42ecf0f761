"""What Redis is told of the messages in a worker's hands, also if it does not answer.

Where an acknowledgement failed, kombu 5.7 counted its message as taken but not
acknowledged for good. When as many had failed as a worker takes ahead, it took nothing
more, without a word. And kombu makes a round trip for each message that is taken, and
one for each acknowledgement: here several can go together.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from time import time
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.json import dumps

logger = logging.getLogger("taskbridge")

_owed: set[str] = set()
"""Delivery tags, over reconnects: a channel does not outlive its connection."""


def install() -> None:
    """Have the worker of this process make good for acknowledgements that fail."""
    redis.Channel.QoS = LastingQoS


class LastingQoS(redis.QoS):
    """Takes note of an acknowledgement, and sends it as soon as Redis answers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._taken: dict[str, Any] | None = None
        """Messages that are noted together; None: each at once, as what is owed."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, now or later."""
        virtual.QoS.ack(self, delivery_tag)
        _owed.add(delivery_tag)
        if self._taken is None:
            self._try_to_settle()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Tell of what is taken and acknowledged inside at its end."""
        if self._taken is not None:
            yield  # at the end of the outer one
            return
        self._taken = {}
        try:
            yield
        finally:
            taken, self._taken = self._taken, None
            self._note(taken)
            self._try_to_settle()

    def _try_to_settle(self) -> None:
        channel: Any = self.channel
        try:
            self._settle()
        except channel.connection_errors as exc:
            logger.warning(
                "Redis did not take %d acknowledgements (%r); they are sent again with "
                "the next one.",
                len(_owed),
                exc,
            )

    def reject(self, delivery_tag: str, requeue: Any = False) -> None:  # noqa: FBT002
        """Give a message back, or drop it as if it were acknowledged."""
        if requeue:
            super().reject(delivery_tag, requeue=True)
        else:
            self.ack(delivery_tag)

    def append(self, message: Any, delivery_tag: str) -> None:
        """Take note of a message that was taken, maybe once more."""
        _owed.discard(delivery_tag)
        if self._taken is None:
            super().append(message, delivery_tag)
        else:
            self._taken[delivery_tag] = message
            virtual.QoS.append(self, message, delivery_tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Put back what was taken for too long; kombu calls it every 10 s."""
        self._settle()
        super().restore_visible(*args, **kwargs)

    def _note(self, taken: dict[str, Any]) -> None:
        """Have Redis know what we hold; as kombu does for one message."""
        if not taken:
            return
        now = time()
        held = {tag: _held(message) for tag, message in taken.items()}
        with self.pipe_or_acquire() as pipe:
            pipe.zadd(self.unacked_index_key, dict.fromkeys(held, now))
            pipe.hset(self.unacked_key, mapping=held).execute()

    def _settle(self) -> None:
        if tags := tuple(_owed):
            with self.pipe_or_acquire() as pipe:
                pipe.zrem(self.unacked_index_key, *tags)
                pipe.hdel(self.unacked_key, *tags).execute()
            _owed.difference_update(tags)


def _held(message: Any) -> str:
    where = message.delivery_info
    found: str = dumps([message._raw, where["exchange"], where["routing_key"]])  # noqa: SLF001 - as kombu does
    return found
