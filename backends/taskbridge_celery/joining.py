"""What a worker has taken and no process can run yet: it is joined into few chunks."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import copy
from time import monotonic
from typing import Any

from celery.worker import state
from kombu.utils.json import dumps

from taskbridge.merging import Merger, joined

logger = logging.getLogger("taskbridge")

STUCK_S = 0.1
"""How long messages may wait for a process while no other worker can take them."""


class Buffer:
    """Holds messages of ours back until a process is free, and then joins some.

    A worker takes as many ahead as a look may join while its tasks are quick. If no
    process gets free for `STUCK_S`, it gives back what is more than one for each.

    Args:
        consumer: Celery's, connected.
        handle: its own handler of messages.
        merger: says which messages run as one chunk.
    """

    def __init__(
        self, consumer: Any, handle: Callable[[Any], object], merger: Merger
    ) -> None:
        self._consumer = consumer
        self._handle = handle
        self._merger = merger
        self._waiting: deque[tuple[Any, str]] = deque()
        self._ahead = 0
        """How many more than one for each process are taken."""
        self._fed_at = 0.0
        self._is_watched = False
        self._set_prefetch = consumer.qos.callback
        consumer.qos.callback = self._set_prefetch_ahead
        consumer.hub.on_tick.add(self._tick)

    def __len__(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """Forget all; the broker hands out again what was not acknowledged."""
        self._waiting.clear()
        self._consumer.hub.on_tick.discard(self._tick)

    def add(self, message: Any, body: str) -> None:
        """Take a message, and what it carries."""
        self._waiting.append((message, body))
        self.feed()
        if self._waiting and not self._is_watched:
            self._is_watched = True
            self._consumer.hub.call_later(STUCK_S, self._watch)

    def feed(self) -> bool:
        """Give each process that is free something to do; return whether one was."""
        was_free = False
        while self._waiting and len(state.reserved_requests) < self._merger.processes:
            was_free = True
            self._fed_at = monotonic()
            self._handle(_as_one(self._next()))
        return was_free

    def _tick(self) -> None:
        """Do what there is to do in a turn of the event loop."""
        if self.feed():
            # The pool looks in its own tick for what it has to write, and if that was
            # earlier in this turn, it would do so in the next one.
            for tick in copy(self._consumer.hub.on_tick):
                if tick != self._tick:
                    tick()

    def _next(self) -> list[tuple[Any, str]]:
        """Take the messages that run next, as one chunk."""
        waiting = len(self._waiting)
        reach = self._merger.reach(waiting)
        bodies = [self._waiting[index][1] for index in range(reach)]
        [group, *_] = self._merger.groups(bodies, waiting)
        is_backlog = waiting >= self._merger.processes
        if is_backlog and len(group) == reach:
            self._look_further(bodies[-1])
        return [self._waiting.popleft() for _ in group]

    def _look_further(self, body: str) -> None:
        """Take more ahead the next time, but no more than runs in a moment."""
        each = self._merger.like(body, self._merger.most * self._merger.processes)
        if each == 1:
            return
        most = each * self._merger.processes
        ahead = min(max(2 * self._ahead, self._merger.processes), most)
        if ahead > self._ahead:
            self._take_ahead(ahead)

    def _take_ahead(self, number: int) -> None:
        self._ahead = number
        self._consumer.qos.prev = None  # so the event loop sets it

    def _set_prefetch_ahead(self, prefetch_count: int) -> None:
        self._set_prefetch(prefetch_count=prefetch_count + self._ahead)

    def _watch(self) -> None:
        self._is_watched = False
        if not self._waiting:
            return
        if monotonic() - self._fed_at >= STUCK_S:
            self._give_back()
        self._is_watched = True
        self._consumer.hub.call_later(STUCK_S, self._watch)

    def _give_back(self) -> None:
        """Let other workers have what is more than one for each process."""
        if self._ahead:
            self._take_ahead(0)
            self._consumer.qos.update()
        errors = self._consumer.connection_errors
        while len(self._waiting) > self._merger.processes:
            message, _ = self._waiting.pop()  # the last first, which keeps their order
            message.reject_log_error(logger, errors, requeue=True)


def _as_one(group: Sequence[tuple[Any, str]]) -> Any:
    """Return a message that carries what all of these do, and answers for them."""
    messages = [message for message, _ in group]
    first = messages[0]
    if len(messages) == 1:
        return first
    then = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    body = joined([body for _, body in group])
    first.body = dumps([[body], {}, then]).encode()
    first.content_encoding = "utf-8"
    for name in ("ack_log_error", "reject_log_error"):
        setattr(first, name, _for_all(messages, name))
    return first


def _for_all(messages: Sequence[Any], name: str) -> Callable[..., None]:
    answers = [getattr(message, name) for message in messages]
    qos = getattr(messages[0].channel, "qos", None)
    together = getattr(qos, "together", nullcontext)  # of our channels on Redis

    def answer(*args: Any, **kwargs: Any) -> None:
        with together():
            for each in answers:
                each(*args, **kwargs)

    return answer
