"""`TaskResult`, the message that travels for it, and its record: one from another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.module_loading import import_string

from .compat import (
    DjangoTask,
    InvalidTask,
    TaskError,
    TaskResult,
    TaskResultStatus,
    task_backends,
)
from .exceptions import InvalidMessage
from .identity import new_id
from .message import Message

if TYPE_CHECKING:
    from .models import TaskRecord

# json.dumps() would make an encoder for every call with other than its defaults.
encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

# What a record holds at most, in characters: MariaDB takes 16 MB in one statement, and
# RabbitMQ 16 MB in one message.
LONGEST_JSON = 4_000_000
LONGEST_TRACEBACK = 60_000


def new_result(
    task: DjangoTask[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> TaskResult[Any]:
    """Return the result of a task that is about to be enqueued.

    Raises:
        TypeError: an argument is not JSON; names the task.
    """
    try:
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
        run_after=run_after.isoformat() if run_after else None,
        enqueued_at=enqueued_at.isoformat() if enqueued_at else "",
        worker_ids=result.worker_ids,
        durable=durable,
    )


def message_of_record(record: TaskRecord) -> Message:
    """Return the message for the next attempt of a record."""
    args, kwargs = json.loads(record.arguments)
    return Message(
        id=record.id.hex,
        task=record.task,
        args=args,
        kwargs=kwargs,
        backend=record.backend,
        queue_name=record.queue_name,
        priority=record.priority,
        run_after=record.run_after.isoformat() if record.run_after else None,
        enqueued_at=record.enqueued_at.isoformat(),
        worker_ids=json.loads(record.worker_ids or "[]"),
        durable=True,
    )


def result_of_message(message: Message) -> TaskResult[Any]:
    """Return the result that a message is about, with the Task it names.

    Raises:
        InvalidMessage: the path is no Task here, or the backend is not in TASKS.
    """
    run_after = message.run_after and datetime.fromisoformat(message.run_after)
    return TaskResult(
        task=find_task(
            message.id,
            message.task,
            backend=message.backend,
            queue_name=message.queue_name,
            priority=message.priority,
            run_after=run_after or None,
        ),
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
        worker_ids=message.worker_ids,
    )


# Records.


def arguments_of(result: TaskResult[Any]) -> str:
    """Return the arguments as a record keeps them.

    Raises:
        ValueError: they hold a float that JSON has no word for (NaN, Infinity), or
            take more than `LONGEST_JSON` characters.
    """
    return _bounded(encode([result.args, result.kwargs]))


def encode_value(return_value: Any) -> str:
    """Return what a task returned as a record keeps it.

    Raises:
        ValueError: see `arguments_of`.
    """
    return _bounded(encode(return_value))


def _bounded(text: str) -> str:
    if len(text) > LONGEST_JSON:
        raise ValueError(
            f"{len(text):,} characters of JSON, and a record holds {LONGEST_JSON:,} at "
            f"most: keep it elsewhere, and pass a key"
        )
    return text


def result_of_record(record: TaskRecord) -> TaskResult[Any]:
    """Return what a record says.

    Raises:
        InvalidMessage: its task is not there any more.
    """
    args, kwargs = json.loads(record.arguments)
    result: TaskResult[Any] = TaskResult(
        task=find_task(
            record.id.hex,
            record.task,
            backend=record.backend,
            queue_name=record.queue_name,
            priority=record.priority,
            run_after=record.run_after,
        ),
        id=record.id.hex,
        status=TaskResultStatus(record.status),
        enqueued_at=record.enqueued_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        last_attempted_at=record.last_attempted_at,
        args=args,
        kwargs=kwargs,
        backend=record.backend,
        errors=decode_errors(record.errors),
        worker_ids=json.loads(record.worker_ids or "[]"),
    )
    set_fields(result, _return_value=json.loads(record.return_value or "null"))
    return result


def decode_errors(text: str | None) -> list[TaskError]:
    """Return the errors that a record keeps."""
    return [
        TaskError(exception_class_path=path, traceback=traceback)
        for path, traceback in json.loads(text or "[]")
    ]


def encode_errors(errors: Sequence[TaskError]) -> str:
    """Return errors as a record keeps them; of very many, old ones are cut short."""
    pairs = [(e.exception_class_path, e.traceback) for e in errors]
    size = sum(len(traceback) for _, traceback in pairs)
    for index, (path, traceback) in enumerate(pairs):
        if size <= LONGEST_JSON / 2:
            break
        short = traceback.strip().rpartition("\n")[2][:200]
        size -= len(traceback) - len(short)
        pairs[index] = (path, short)
    return encode(pairs)


def task_error(exc: BaseException) -> TaskError:
    """Return an exception as `TaskResult.errors` has it; one too long is cut."""
    exception_type = type(exc)
    traceback = "".join(format_exception(exc))
    if len(traceback) > LONGEST_TRACEBACK:
        half = LONGEST_TRACEBACK // 2
        traceback = f"{traceback[:half]}\n[...]\n{traceback[-half:]}"
    return TaskError(
        exception_class_path=f"{exception_type.__module__}.{exception_type.__qualname__}",
        traceback=traceback,
    )


def set_fields(result: TaskResult[Any], **fields: Any) -> None:
    """Change a result, which is frozen for those who read it, as Django's own do."""
    for name, value in fields.items():
        object.__setattr__(result, name, value)


# Tasks.


def find_task(
    result_id: str, path: str, *, run_after: datetime | None, backend: str, **place: Any
) -> DjangoTask[Any, Any]:
    """Return the Task at a path, with what `using()` had changed.

    Raises:
        InvalidMessage: there is none, or it cannot be placed there.
    """
    if backend not in task_backends.settings:
        raise InvalidMessage(
            f"Message {result_id} is for backend {backend!r}, not in TASKS."
        )
    try:
        task = _task_in_place(path, backend=backend, **place)
        return task if run_after is None else task.using(run_after=run_after)
    except (InvalidTask, ValueError) as exc:
        raise InvalidMessage(
            f"Message {result_id} asks for what is not possible here: {exc}"
        ) from exc


@lru_cache(maxsize=1024)  # using() checks the whole task anew
def _task_in_place(path: str, **place: Any) -> DjangoTask[Any, Any]:
    try:
        task = import_string(path)
    except BaseException as exc:  # a module may even call sys.exit()
        raise InvalidMessage(f"A message names {path!r}; it does not import.") from exc
    if not isinstance(task, DjangoTask):
        raise InvalidMessage(f"A message names {path!r}, which is not a Task.")
    if all(getattr(task, name) == value for name, value in place.items()):
        return task
    return task.using(**place)
