"""What the worker of our own Celery app takes from its queues: our messages alone.

Celery 5.7 runs whatever names a task that somebody has imported, and a message whose
form it does not expect ends the worker or, where the broker hands it out again, each
worker that comes after it.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from celery.app.registry import TaskRegistry
from celery.worker import consumer

from taskbridge.merging import Merger

from .joining import Buffer

NATIVE_TASK = "taskbridge.run"
SHOWN = 200
"""How many characters of a strange message are logged."""

logger = logging.getLogger("taskbridge")


class Registry(TaskRegistry):
    """Holds the one task that carries envelopes; Celery offers its own, and others'."""

    def __setitem__(self, name: str, task: Any) -> None:
        if name == NATIVE_TASK:
            super().__setitem__(name, task)


class Consumer(consumer.Consumer):
    """Hands our messages to the pool, and rejects all others."""

    merger: ClassVar[Merger | None] = None
    """Says which messages run as one chunk; None: each runs alone."""

    buffer: Buffer | None = None

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], object]:
        """Return what is called for each message; see Celery."""
        handle = super().create_task_handler(*args, **kwargs)
        self._drop_buffer()
        if self.merger:
            self.buffer = Buffer(self, handle, self.merger)

        def on_message(message: Any) -> None:
            try:
                message.headers, body = _ours(message)
            except Exception as exc:  # noqa: BLE001 - whatever somebody put there
                self.on_decode_error(message, exc)
                return
            if self.buffer is None or message.headers["eta"]:
                handle(message)
            else:
                self.buffer.add(message, body)

        return on_message

    def on_close(self) -> None:
        """Forget what was taken from a connection that is lost."""
        self._drop_buffer()
        super().on_close()

    def _drop_buffer(self) -> None:
        if self.buffer:
            self.buffer.close()
            self.buffer = None

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Throw a message away; Celery calls this if kombu cannot unpack one."""
        tell_of_stranger(message.body, exc)
        errors = self.connection_errors  # type: ignore[attr-defined]
        message.reject_log_error(logger, errors)


def _ours(message: Any) -> tuple[dict[str, Any], str]:
    """Return what a message carries that we sent, after its headers.

    Of these, only what we use.

    Raises:
        Exception: of any kind, if it is not ours.
    """
    headers = message.headers
    if headers["task"] != NATIVE_TASK:
        raise ValueError(f"it is for the task {headers['task']!r}")
    (body,), kwargs, then = message.decode()
    # Of what a message may ask Celery to do when its task has ended, we ask nothing.
    if not isinstance(body, str) or kwargs or any(then.values()):
        raise ValueError("it does not carry an envelope")
    if not isinstance(headers["id"], str):
        raise TypeError("it has no id")
    if headers.get("eta") is not None:
        datetime.fromisoformat(headers["eta"]).timestamp()  # Celery can read it, too
    used = {
        "lang": "py",
        "task": NATIVE_TASK,
        "id": headers["id"],
        "root_id": headers["id"],
        "eta": headers.get("eta"),
        "argsrepr": "(...)",
        "kwargsrepr": "{}",
        "ignore_result": True,
    }
    return used, body


def tell_of_stranger(body: object, exc: Exception) -> None:
    """Log what is thrown away, and why."""
    logger.error(
        "A message is not ours (%s: %s), and was thrown away: %.*s",
        type(exc).__name__,
        exc,
        SHOWN,
        repr(body),
    )
