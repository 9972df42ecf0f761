"""The two kinds of delivery: what happens to a task before and after its function."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from taskbridge.compat import TaskResult
from taskbridge.message import Envelope, Message, pack, sign

BATCH = 1000
"""How many tasks are handed over together."""


class Keeper(ABC):
    """Takes note of what became of an attempt."""

    @abstractmethod
    def succeeded(self, result: TaskResult[Any], return_value: Any) -> None:
        """Take note that the attempt returned a value, which is JSON."""

    @abstractmethod
    def failed(self, result: TaskResult[Any], exception: BaseException) -> None:
        """Take note that the attempt raised; called while it is being handled."""


Attempt = Callable[["TaskResult[Any]", Keeper], None]
"""Runs the function of a task, and tells the keeper what became of it."""


class Delivery(ABC):
    """How the tasks of a backend reach a worker, and which of them it then runs."""

    @abstractmethod
    def enqueue(self, results: Sequence[TaskResult[Any]]) -> None:
        """Accept new tasks, all or none; then send ``task_enqueued`` for each.

        Raises:
            TypeError: some argument is not JSON.
            BackendUnavailable: nothing, or not all, was accepted.
        """

    @abstractmethod
    def run(self, messages: Sequence[Message], attempt: Attempt) -> None:
        """Make an attempt of each message that is to run, one after the other.

        Args:
            messages: verified, as they came in one envelope.
            attempt: see `Attempt`.
        """


def seal(messages: Sequence[Message], chunk: int = 1) -> list[Envelope]:
    """Put messages that can travel together, up to `chunk` of them, in one envelope.

    Args:
        messages: in the order in which they are to run.
        chunk: at least 1.

    Raises:
        ValueError: a message holds NaN or Infinity.
    """
    return [
        Envelope(
            body=pack([sign(message) for message in group[start : start + chunk]]),
            queue_name=queue_name,
            priority=priority,
            run_after=None,
        )
        for (queue_name, priority), together in groupby(
            messages, lambda m: (m.queue_name, m.priority)
        )
        for group in [list(together)]
        for start in range(0, len(group), chunk)
    ]
