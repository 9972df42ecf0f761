"""Making a `TaskResult`, and turning it into the message for its task and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from traceback import format_exception
from typing import Any

from django.utils import timezone

from .compat import (
    DjangoTask,
    TaskError,
    TaskResultStatus,
)
from .exceptions import InvalidMessage, TaskCancelled
from .handles import TaskResult
from .identity import new_id
from .message import Message
from .moments import as_django, as_utc
from .plain import check_arguments
from .registry import find_task
from .worker_id import worker_id

LONGEST_TRACEBACK = 60_000
"""How many characters of a traceback are kept."""
LAST_WORKERS = 20
"""How many workers are kept by name, besides the first."""


def new_result(
    task: DjangoTask[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> TaskResult[Any]:
    """Return the result of a task that is about to be enqueued.

    Raises:
        TypeError: an argument is not JSON, or would not come back as it is; names the
            task.
    """
    try:
        check_arguments(args)
        check_arguments(kwargs)
        return TaskResult(
            task=task,
            id=new_id(),
            status=TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=task.backend,
            errors=[],
            worker_ids=[],
        )
    except (TypeError, ValueError) as exc:
        raise not_json(task, exc) from exc


def not_json(task: DjangoTask[Any, Any], exc: Exception) -> TypeError:
    """Return the error for arguments that are not JSON."""
    return TypeError(
        f"Task {task.module_path!r}: arguments must be JSON ({exc}). Pass a plain "
        f"value, such as a primary key or an ISO date, and load the object in the task."
    )


# Messages.


def message_of_result(result: TaskResult[Any], *, durable: bool) -> Message:
    """Return the message for the next attempt of a result."""
    task: DjangoTask[Any, Any] = result.task
    run_after: datetime | None = task.run_after
    enqueued_at: datetime | None = result.enqueued_at
    return Message(
        id=result.id,
        task=task.module_path,
        args=result.args,
        kwargs=result.kwargs,
        backend=result.backend,
        queue_name=task.queue_name,
        priority=task.priority,
        run_after=as_utc(run_after).isoformat() if run_after else None,
        enqueued_at=as_utc(enqueued_at).isoformat() if enqueued_at else "",
        worker_ids=result.worker_ids,
        durable=durable,
    )


def result_of_message(message: Message) -> TaskResult[Any]:
    """Return the result that a message is about, with the Task it names.

    Raises:
        InvalidMessage: the path is no Task here, or the backend is not in TASKS; or the
            arguments are not in the message.
    """
    if message.args is None or message.kwargs is None:
        raise InvalidMessage(f"Message {message.id} came without its arguments.")
    run_after = _instant_of(message.run_after) if message.run_after else None
    return TaskResult(
        task=find_task(
            message.id,
            message.task,
            backend=message.backend,
            queue_name=message.queue_name,
            priority=message.priority,
            run_after=run_after,
        ),
        id=message.id,
        status=TaskResultStatus.READY,
        enqueued_at=_instant_of(message.enqueued_at),
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=message.args,
        kwargs=message.kwargs,
        backend=message.backend,
        errors=[],
        worker_ids=message.worker_ids,
    )


def unusable_value(task: DjangoTask[Any, Any], cause: Exception) -> Exception:
    """Return the error for a return value that is not JSON, or cannot be kept."""
    kind = TypeError if isinstance(cause, TypeError) else ValueError
    error = kind(
        f"Task {task.module_path!r}: what it returned cannot be kept ({cause}). Its "
        f"work is done, and is not repeated for this. Return a plain value, such as a "
        f"primary key or an ISO date, or nothing."
    )
    error.__cause__ = cause
    return error


def _instant_of(text: str) -> datetime:
    # One without an offset was written without USE_TZ, by an earlier release.
    return as_django(as_utc(datetime.fromisoformat(text)))


# Changing a result.


def with_this_worker(worker_ids: Sequence[str]) -> list[str]:
    """Return the workers of a task with this one as the last.

    Their number is that of the attempts. The names of all but a few are dropped, since
    they travel with each message.
    """
    known = worker_ids[-LAST_WORKERS:]
    dropped = worker_ids[:-LAST_WORKERS]
    return [*dropped[:1], *[""] * len(dropped[1:]), *known, worker_id()]


def task_error(exc: BaseException) -> TaskError:
    """Return an exception as an item of `TaskResult.errors`; a long one is cut."""
    exception_type = type(exc)
    path = f"{exception_type.__module__}.{exception_type.__qualname__}"
    try:
        traceback = "".join(format_exception(exc))
    except Exception as broken:  # noqa: BLE001 - it may have code of its own
        traceback = f"{path}: (its text cannot be had: {type(broken).__name__})\n"
    if len(traceback) > LONGEST_TRACEBACK:
        half = LONGEST_TRACEBACK // 2
        traceback = f"{traceback[:half]}\n[...]\n{traceback[-half:]}"
    return TaskError(exception_class_path=path, traceback=traceback)


def cancelled_error(by: str) -> TaskError:
    """Return the error of a task that somebody has cancelled."""
    return task_error(TaskCancelled(f"Cancelled by {by}."))


def brief_error(error: TaskError) -> TaskError:
    """Return an error with the last line of its traceback alone."""
    return TaskError(
        exception_class_path=error.exception_class_path[:200],
        traceback=error.traceback.strip().rpartition("\n")[2][:200],
    )


def set_fields(result: TaskResult[Any], **fields: Any) -> None:
    """Change a result, which is frozen for its readers, as Django's backends do."""
    for name, value in fields.items():
        object.__setattr__(result, name, value)
