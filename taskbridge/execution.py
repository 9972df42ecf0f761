"""The only code that runs a task."""

from __future__ import annotations

import logging
import os
import socket
from datetime import datetime
from functools import cache, lru_cache
from traceback import format_exception
from typing import Any

from django.db import close_old_connections, reset_queries
from django.utils import timezone
from django.utils.module_loading import import_string

from .compat import (
    DjangoTask,
    InvalidTask,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from .exceptions import InvalidMessage
from .message import Message, unpack, verify

logger = logging.getLogger("taskbridge")


def run(body: object) -> None:
    """Run the tasks in the body of an envelope, one after the other.

    It never raises, except KeyboardInterrupt: a task that fails is reported by the
    signal ``task_finished`` (Django logs it as an error), a message that is not ours is
    refused and logged. Either way the queue library may acknowledge it.

    Args:
        body: what `Backend.push` was given as ``Envelope.body``.
    """
    try:
        signed_messages = unpack(body)
    except InvalidMessage as exc:
        logger.error("Refused a message: %s", exc)
        return
    for signed in signed_messages:
        try:
            result = _load(verify(signed))
        except InvalidMessage as exc:
            logger.error("Refused a message: %s", exc, exc_info=exc.__cause__)
        else:
            _run_between_connections(result)


def worker_id() -> str:
    """Return the name of this process, as it appears in ``TaskResult.worker_ids``."""
    return _worker_id(os.getpid())


@cache
def _worker_id(pid: int) -> str:
    # django-background-tasks keeps 64 characters of it.
    return f"{socket.gethostname()[:40]}:{pid}"


def _load(message: Message) -> TaskResult[Any]:
    """Return the result object of a message, with the Task it names.

    Raises:
        InvalidMessage: the path is no Task here, or the backend is not in TASKS.
    """
    try:
        task = import_string(message.task)
    except Exception as exc:
        raise InvalidMessage(
            f"Message {message.id} names {message.task!r}, which cannot be imported."
        ) from exc
    if not isinstance(task, DjangoTask):
        raise InvalidMessage(
            f"Message {message.id} names {message.task!r}, which is not a Task."
        )
    if message.backend not in task_backends.settings:
        raise InvalidMessage(
            f"Message {message.id} is for backend {message.backend!r}, not in TASKS."
        )
    try:
        task = _as_enqueued(task, message)
    except InvalidTask as exc:
        raise InvalidMessage(
            f"Message {message.id} asks for what TASKS does not allow here: {exc}"
        ) from exc
    return TaskResult(
        task=task,
        id=message.id,
        status=TaskResultStatus.READY,
        enqueued_at=datetime.fromisoformat(message.enqueued_at),
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=message.args,
        kwargs=message.kwargs,
        backend=message.backend,
        errors=[],
        worker_ids=[],
    )


def _as_enqueued(task: DjangoTask[Any, Any], message: Message) -> DjangoTask[Any, Any]:
    """Return the task with what `using()` had changed."""
    place = (message.backend, message.queue_name, message.priority)
    if place != (task.backend, task.queue_name, task.priority):
        task = _in_place(task, *place)
    if message.run_after is not None:
        task = task.using(run_after=datetime.fromisoformat(message.run_after))
    return task


@lru_cache(maxsize=1024)  # using() checks the whole task anew, for every message
def _in_place(
    task: DjangoTask[Any, Any], backend: str, queue_name: str, priority: int
) -> DjangoTask[Any, Any]:
    return task.using(backend=backend, queue_name=queue_name, priority=priority)


def _run_between_connections(result: TaskResult[Any]) -> None:
    # As Django does around a request: a task neither inherits a broken connection nor
    # leaves one, and DEBUG's query log does not grow for ever.
    reset_queries()
    close_old_connections()
    try:
        _run_task(result)
    finally:
        close_old_connections()


def _run_task(result: TaskResult[Any]) -> None:
    sender = type(task_backends[result.backend])
    started_at = timezone.now()
    _set(
        result,
        status=TaskResultStatus.RUNNING,
        started_at=started_at,
        last_attempted_at=started_at,
    )
    result.worker_ids.append(worker_id())
    task_started.send_robust(sender, task_result=result)
    try:
        return_value = _call(result)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - SystemExit must not end the worker
        _set(result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
        result.errors.append(_task_error(exc))
        # Inside the handler, since Django's receiver logs the current exception.
        task_finished.send_robust(sender, task_result=result)
    else:
        _set(
            result,
            status=TaskResultStatus.SUCCESSFUL,
            finished_at=timezone.now(),
            _return_value=return_value,
        )
        task_finished.send_robust(sender, task_result=result)


def _call(result: TaskResult[Any]) -> Any:
    context = (TaskContext(task_result=result),) if result.task.takes_context else ()
    return normalize_json(result.task.call(*context, *result.args, **result.kwargs))


def _task_error(exc: BaseException) -> TaskError:
    exception_type = type(exc)
    return TaskError(
        exception_class_path=f"{exception_type.__module__}.{exception_type.__qualname__}",
        traceback="".join(format_exception(exc)),
    )


def _set(result: TaskResult[Any], **fields: Any) -> None:
    # TaskResult is frozen for those who read it; Django's backends write it this way.
    for name, value in fields.items():
        object.__setattr__(result, name, value)
