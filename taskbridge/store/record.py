"""`Record`, what is kept about a task, and the only codec between it and a row."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from taskbridge.compat import (
    TaskError,
    TaskResultStatus,
)
from taskbridge.handles import TaskResult
from taskbridge.message import LONGEST_CARRIED, Message
from taskbridge.plain import TOO_DEEP, encode
from taskbridge.policy import policy_of
from taskbridge.registry import find_task
from taskbridge.results import set_fields

LONGEST_JSON = 4_000_000
"""Characters of a value: MariaDB takes 16 MB in a statement, RabbitMQ in a message."""
FIRST_ERRORS = 10
LAST_ERRORS = 40
"""How many errors of a task are kept; it may fail much more often."""


@dataclass(frozen=True, slots=True)
class Json:
    """A value as a record keeps it: as text, encoded once."""

    text: str

    @classmethod
    def of(cls, value: Any) -> Json:
        """Encode a value.

        Raises:
            TypeError, ValueError: see `encode`; or it takes more than `LONGEST_JSON`
                characters.
        """
        text = encode(value)
        if len(text) > LONGEST_JSON:
            raise ValueError(
                f"{len(text):,} characters of JSON, and a record holds "
                f"{LONGEST_JSON:,} at most: keep it elsewhere, and pass a key"
            )
        return cls(text)

    @property
    def value(self) -> Any:
        """The value that was encoded.

        Raises:
            ValueError: somebody else wrote to the row, and this is not JSON.
        """
        try:
            return json.loads(self.text)
        except RecursionError as exc:
            raise ValueError(TOO_DEEP) from exc


NOTHING = Json("null")
NONE_YET = Json("[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known about one task; see `taskbridge.models.TaskRecord` for its columns.

    Fields without a default are inserted; a new row gets the others from the defaults
    of the database.
    """

    id: str
    """32 hex digits."""
    backend: str
    task: str
    queue_name: str
    priority: int
    arguments: Json
    run_after: datetime | None
    enqueued_at: datetime
    at_most_once: bool
    wake_at: datetime | None
    pushes: int
    pushed_to: str

    status: str = TaskResultStatus.READY.value
    attempt: int = 0
    lost: int = 0
    given_back: int = 0
    worker_ids: Json = NONE_YET
    errors: Json = NONE_YET
    return_value: Json = NOTHING
    started_at: datetime | None = None
    last_attempted_at: datetime | None = None
    finished_at: datetime | None = None
    token: str = ""
    cancelled_by: str = ""
    kill: bool = False

    @property
    def workers(self) -> list[str]:
        """The workers that have started it, the last one last."""
        workers: list[str] = self.worker_ids.value
        return workers

    @property
    def task_errors(self) -> list[TaskError]:
        """What ended its attempts so far."""
        return [
            TaskError(exception_class_path=path, traceback=traceback)
            for path, traceback in self.errors.value
        ]


# Between a record and a row.

_JSON = {
    "arguments": NONE_YET,
    "worker_ids": NONE_YET,
    "errors": NONE_YET,
    "return_value": NOTHING,
}
"""The columns that hold JSON, and what NULL means there."""

COLUMNS = tuple(each.name for each in fields(Record))
INSERTED = tuple(each.name for each in fields(Record) if each.default is MISSING)
_inserted = attrgetter(*INSERTED)


def record_of_row(row: Mapping[str, Any]) -> Record:
    """Return the record in a row, given as the columns that Django has read."""
    texts = {
        name: Json(row[name]) if row[name] else null for name, null in _JSON.items()
    }
    return Record(**{**row, **texts, "id": row["id"].hex})


def values_of(
    record: Record, connection: BaseDatabaseWrapper, instead: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Return the values of `INSERTED`, as the database takes them.

    Args:
        record: a new one.
        connection: to the database.
        instead: values of columns that the record does not know.
    """
    key_of = uuid_or_hex(connection)
    instant = connection.ops.adapt_datetimefield_value
    values = list(_inserted(record))
    values[0] = key_of(record.id)
    for index, value in enumerate(values):
        if isinstance(value, Json):
            values[index] = value.text
        elif isinstance(value, datetime):
            values[index] = instant(value)
    for name, value in instead.items():
        values[INSERTED.index(name)] = value
    return tuple(values)


EXPECTED_IN_ARRAY = 10
"""PostgreSQL 17, selfuncs.c, estimate_array_length(): elements of an unknown array."""


def uuid_or_hex(connection: BaseDatabaseWrapper) -> Callable[[str], uuid.UUID | str]:
    """Return the function that turns an id into the primary key of a row."""
    if connection.features.has_native_uuid_field:
        return uuid.UUID
    return str


def among(
    connection: BaseDatabaseWrapper, ids: Collection[str]
) -> tuple[str, list[Any]]:
    """Return the condition on primary keys, with a placeholder, and its parameters.

    PostgreSQL takes them as one, so that one prepared statement does for any number.
    Fewer than its planner expects are filled up with one of them, which it drops again:
    otherwise it would make a better plan each time, at a higher price.
    """
    keys = list(map(uuid_or_hex(connection), ids))
    if connection.vendor == "postgresql":
        return "= ANY(%s)", [keys + keys[-1:] * (EXPECTED_IN_ARRAY - len(keys))]
    return f"IN ({', '.join(['%s'] * len(keys))})", keys


def hex_of(key: uuid.UUID | str) -> str:
    """Return the id in a primary key; MariaDB's own type is read with hyphens."""
    return key.hex if isinstance(key, uuid.UUID) else key.replace("-", "")


def errors_json(errors: Sequence[TaskError]) -> Json:
    """Return errors as a record keeps them.

    Of very many the first and the last are kept, and old ones are cut if they are long.
    """
    if len(errors) > FIRST_ERRORS + LAST_ERRORS:
        errors = [*errors[:FIRST_ERRORS], *errors[-LAST_ERRORS:]]
    pairs = [(e.exception_class_path, e.traceback) for e in errors]
    size = sum(len(traceback) for _, traceback in pairs)
    for index, (path, traceback) in enumerate(pairs):
        if size <= LONGEST_JSON / 2:
            break
        short = traceback.strip().rpartition("\n")[2][:200]
        size -= len(traceback) - len(short)
        pairs[index] = (path, short)
    return Json(encode(pairs))


# Between a record and Django's own view of a task.


def new_record(
    result: TaskResult[Any], *, wake_at: datetime | None, pushes: int, pushed_to: str
) -> Record:
    """Return the record of a task that is about to be enqueued.

    Raises:
        TypeError, ValueError: its arguments cannot be kept; see `Json.of`.
    """
    task = result.task
    assert result.enqueued_at is not None  # noqa: S101 - new_result() set it
    return Record(
        id=result.id,
        backend=result.backend,
        task=task.module_path,
        queue_name=task.queue_name,
        priority=task.priority,
        arguments=Json.of([result.args, result.kwargs]),
        run_after=task.run_after,
        enqueued_at=result.enqueued_at,
        at_most_once=policy_of(task).at_most_once,
        wake_at=wake_at,
        pushes=pushes,
        pushed_to=pushed_to,
    )


def message_of_record(record: Record) -> Message:
    """Return the message for the next attempt of a record.

    Raises:
        ValueError, TypeError: somebody else wrote to the row.
    """
    args = kwargs = None
    if len(record.arguments.text) <= LONGEST_CARRIED:
        args, kwargs = record.arguments.value
    return Message(
        id=record.id,
        task=record.task,
        args=args,
        kwargs=kwargs,
        backend=record.backend,
        queue_name=record.queue_name,
        priority=record.priority,
        run_after=record.run_after.isoformat() if record.run_after else None,
        enqueued_at=record.enqueued_at.isoformat(),
        worker_ids=record.workers,
        durable=True,
    )


def result_of_record(record: Record, *, imports: bool = True) -> TaskResult[Any]:
    """Return what a record says; see `find_task` about its task.

    Raises:
        InvalidMessage: its task no longer exists.
    """
    args, kwargs = record.arguments.value
    result: TaskResult[Any] = TaskResult(
        task=find_task(
            record.id,
            record.task,
            backend=record.backend,
            queue_name=record.queue_name,
            priority=record.priority,
            run_after=record.run_after,
            imports=imports,
        ),
        id=record.id,
        status=TaskResultStatus(record.status),
        enqueued_at=record.enqueued_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        last_attempted_at=record.last_attempted_at,
        args=args,
        kwargs=kwargs,
        backend=record.backend,
        errors=record.task_errors,
        worker_ids=record.workers,
    )
    set_fields(result, _return_value=record.return_value.value)
    return result
