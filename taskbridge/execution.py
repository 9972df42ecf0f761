"""The only code that runs a task."""

from __future__ import annotations

import logging
import os
import signal
import socket
from contextvars import copy_context
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

    It never raises, except KeyboardInterrupt where Ctrl-C means it. A task that fails
    is reported by the signal ``task_finished`` (Django logs it as an error); a message
    that is not ours is refused and logged. Either way the library may acknowledge it.

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
    if message.backend not in task_backends.settings:
        raise InvalidMessage(
            f"Message {message.id} is for backend {message.backend!r}, not in TASKS."
        )
    try:
        task = _task_in_place(
            message.task, message.backend, message.queue_name, message.priority
        )
        if message.run_after is not None:
            task = task.using(run_after=datetime.fromisoformat(message.run_after))
        enqueued_at = datetime.fromisoformat(message.enqueued_at)
    except (InvalidTask, ValueError) as exc:
        raise InvalidMessage(
            f"Message {message.id} asks for what is not possible here: {exc}"
        ) from exc
    return TaskResult(
        task=task,
        id=message.id,
        status=TaskResultStatus.READY,
        enqueued_at=enqueued_at,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=message.args,
        kwargs=message.kwargs,
        backend=message.backend,
        errors=[],
        worker_ids=[],
    )


@lru_cache(maxsize=1024)  # using() checks the whole task anew
def _task_in_place(
    path: str, backend: str, queue_name: str, priority: int
) -> DjangoTask[Any, Any]:
    """Return the task at a path, with what `using()` had changed."""
    try:
        task = import_string(path)
    except BaseException as exc:  # a module may even call sys.exit()
        raise InvalidMessage(f"A message names {path!r}; it does not import.") from exc
    if not isinstance(task, DjangoTask):
        raise InvalidMessage(f"A message names {path!r}, which is not a Task.")
    if (backend, queue_name, priority) == (
        task.backend,
        task.queue_name,
        task.priority,
    ):
        return task
    return task.using(backend=backend, queue_name=queue_name, priority=priority)


def _run_between_connections(result: TaskResult[Any]) -> None:
    # As Django does around a request: a task neither inherits a broken connection nor
    # leaves one, and DEBUG's query log does not grow for ever.
    reset_queries()
    close_old_connections()
    try:
        # Nor does it leave a language, or another context variable, to the next one.
        copy_context().run(_run_task, result)
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
    except BaseException as exc:  # SystemExit must not end the worker
        _set(result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
        result.errors.append(_task_error(exc))
        # Inside the handler, since Django's receiver logs the current exception.
        task_finished.send_robust(sender, task_result=result)
        if isinstance(exc, KeyboardInterrupt) and _listens_to_ctrl_c():
            raise
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
    pid = os.getpid()
    try:
        return normalize_json(result.task.call(*context, *result.args, **result.kwargs))
    finally:
        if os.getpid() != pid:
            os._exit(1)  # a fork that the task did not end must not become a worker


def _listens_to_ctrl_c() -> bool:
    """Whether somebody may have pressed it; workers leave SIGINT to the supervisor."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


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
