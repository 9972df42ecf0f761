"""The only code that runs a task."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextvars import copy_context
from itertools import groupby
from typing import Any

from django.db import close_old_connections, connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from .backend import Backend
from .compat import (
    TaskContext,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_started,
)
from .delivery import Keeper
from .exceptions import InvalidMessage
from .message import Message, unpack, verify
from .results import set_fields
from .worker_id import worker_id

__all__ = ["run", "worker_id"]

logger = logging.getLogger("taskbridge")


def run(body: object) -> None:
    """Run the tasks in the body of an envelope, one after the other.

    It never raises, except KeyboardInterrupt where Ctrl-C means it. A task that fails
    is reported by the signal ``task_finished`` (Django logs it as an error); a message
    that is not ours is refused and logged. Either way the library may acknowledge it.

    Args:
        body: what `Backend.push` was given as ``Envelope.body``.
    """
    messages = _verified(body)
    # As Django does around a request: no stale connection, and DEBUG's query log does
    # not grow for ever.
    reset_queries()
    close_old_connections()
    try:
        for (alias, durable), group in groupby(messages, _delivery):
            backend = task_backends[alias]
            assert isinstance(backend, Backend)  # noqa: S101 - _verified() looked
            backend.delivery_of(durable=durable).run(list(group), _attempt)
    finally:
        close_old_connections()


def _delivery(message: Message) -> tuple[str, bool]:
    return message.backend, message.durable


def _verified(body: object) -> list[Message]:
    """Return the messages in a body that are ours; log the others."""
    messages = []
    try:
        for signed in unpack(body):
            try:
                messages.append(_checked(verify(signed)))
            except InvalidMessage as exc:
                logger.error("Refused a message: %s", exc, exc_info=exc.__cause__)
    except InvalidMessage as exc:
        logger.error("Refused a message: %s", exc)
    return messages


def _checked(message: Message) -> Message:
    known = message.backend in task_backends.settings
    if not known or not isinstance(task_backends[message.backend], Backend):
        raise InvalidMessage(
            f"Message {message.id} is for backend {message.backend!r}, which TASKS "
            f"does not have, or not as one of TaskBridge."
        )
    return message


def _attempt(result: TaskResult[Any], keeper: Keeper) -> None:
    with _restored_connections() as restore:
        # A task leaves no language, nor another context variable, to the next one.
        copy_context().run(_run_task, result, keeper, restore)


@contextlib.contextmanager
def _restored_connections() -> Iterator[Callable[[], None]]:
    """Yield what gives connections back as the task found them, and call it."""
    before = {
        c.alias for c in connections.all(initialized_only=True) if c.in_atomic_block
    }

    def restore() -> None:
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:
                if connection.alias not in before:
                    _drop(connection)
            elif connection.errors_occurred or not _commits(connection):
                connection.close()

    try:
        yield restore
    finally:
        restore()


def _commits(connection: BaseDatabaseWrapper) -> bool:
    usual = connection.settings_dict["AUTOCOMMIT"]
    return connection.connection is None or connection.get_autocommit() == usual


def _drop(connection: BaseDatabaseWrapper) -> None:
    """Let go of a connection whose task opened a transaction and did not end it.

    Otherwise what is written after it would never be committed.
    """
    logger.error(
        "A task left a transaction open on database %r; it is rolled back.",
        connection.alias,
    )
    if connection.connection is not None:
        connection.connection.close()
        connection.connection = None  # whoever still has the object closes it again
    del connections[connection.alias]


def _run_task(
    result: TaskResult[Any], keeper: Keeper, restore: Callable[[], None]
) -> None:
    now = timezone.now()
    set_fields(
        result,
        status=TaskResultStatus.RUNNING,
        started_at=result.started_at or now,
        last_attempted_at=now,
    )
    result.worker_ids.append(worker_id())
    sender = type(task_backends[result.backend])
    task_started.send_robust(sender, task_result=result)
    try:
        return_value = _call(result)
    except BaseException as exc:  # SystemExit must not end the worker
        restore()
        # Inside the handler, since Django's receiver logs the current exception.
        keeper.failed(result, exc)
        if isinstance(exc, KeyboardInterrupt) and _listens_to_ctrl_c():
            raise
    else:
        keeper.succeeded(result, return_value)


def _call(result: TaskResult[Any]) -> Any:
    context = (TaskContext(task_result=result),) if result.task.takes_context else ()
    pid = os.getpid()
    try:
        return normalize_json(result.task.call(*context, *result.args, **result.kwargs))
    finally:
        if os.getpid() != pid:
            os._exit(1)  # a fork that the task did not end must not become a worker


def _listens_to_ctrl_c() -> bool:
    """Whether somebody may have pressed it; workers leave SIGINT to the supervisor."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler
