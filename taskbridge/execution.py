"""`run`, the function that every queue library is told to call.

Its name travels: Django-Q2's packages and schedules say ``taskbridge.execution.run``.
"""

from __future__ import annotations

from datetime import datetime
from itertools import groupby

from django.db import reset_queries

from . import events
from .attempt import close_stale_connections
from .backend import Backend
from .compat import task_backends
from .exceptions import InvalidMessage
from .message import Message, unpack, verify
from .moments import as_utc
from .pulse import running
from .worker_id import worker_id

__all__ = ["run", "worker_id"]


def run(body: object) -> None:
    """Run the tasks in the body of an envelope, one after the other.

    A task that fails is reported by the signal ``task_finished`` (Django logs it as an
    error); a message that is not ours is refused and logged. Either way the library may
    acknowledge it. It raises only what a signal handler of this process has raised in
    the middle of a task, because the process is to end.

    Args:
        body: what `Adapter.push` was given as ``Envelope.body``.
    """
    with running():
        _run(body)


def _run(body: object) -> None:
    messages = _verified(body)
    # As Django does around a request: no stale connection, and DEBUG's query log does
    # not grow for ever.
    reset_queries()
    try:
        for (alias, durable), group in groupby(messages, _delivery):
            backend = task_backends[alias]
            assert isinstance(backend, Backend)  # noqa: S101 - _verified() looked
            backend.delivery_of(durable=durable).run(list(group))
    finally:
        close_stale_connections()


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
                events.refused(exc)
    except InvalidMessage as exc:
        events.refused(exc)
    return messages


def _checked(message: Message) -> Message:
    known = message.backend in task_backends.settings
    backend = task_backends[message.backend] if known else None
    if not isinstance(backend, Backend):
        raise InvalidMessage(
            f"Message {message.id} is for backend {message.backend!r}, which is not in "
            f"TASKS, or is not a backend of TaskBridge."
        )
    if not message.durable and backend.keeps_records:
        _check_age(message, backend)
    return message


def _check_age(message: Message, backend: Backend) -> None:
    """Refuse a native message that came after delivery had become durable."""
    before = backend.durable_options.native_before
    enqueued_at = as_utc(datetime.fromisoformat(message.enqueued_at))
    if before is not None and enqueued_at >= as_utc(before):
        raise InvalidMessage(
            f"Message {message.id} is native and was enqueued at {enqueued_at}; "
            f"{backend} has durable delivery, and its NATIVE_BEFORE is {before}."
        )
