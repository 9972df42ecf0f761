"""What a task is doing, in words, for whoever waits for it in vain."""

from __future__ import annotations

from datetime import UTC, datetime

from taskbridge.compat import TaskResultStatus
from taskbridge.moments import as_utc
from taskbridge.store import Record
from taskbridge.store.parked import parked_at


def progress(record: Record) -> str:
    """Say what a task is doing, to follow "it"."""
    match record.status:
        case TaskResultStatus.RUNNING:
            return _running(record)
        case TaskResultStatus.READY if _is_parked(record):
            return f"waits in queue {record.queue_name!r}, which is paused"
        case TaskResultStatus.READY if record.attempt:
            return _retried(record)
        case TaskResultStatus.READY if not record.pushes and _is_later(record.wake_at):
            return f"is delayed until {_instant(record.wake_at)}"
        case TaskResultStatus.READY:
            return (
                f"waits in queue {record.queue_name!r} since "
                f"{_instant(record.enqueued_at)}; does a worker take from that queue?"
            )
    return f"is {record.status}"


def _running(record: Record) -> str:
    worker = record.workers[-1] if record.workers else "a worker"
    said = (
        f"runs since {_instant(record.last_attempted_at)} on {worker}, in attempt "
        f"{record.attempt}"
    )
    if record.cancelled_by:
        said += f", and was cancelled by {record.cancelled_by}"
    return said


def _retried(record: Record) -> str:
    errors = record.task_errors
    reason = errors[-1].traceback.strip().rpartition("\n")[2][:200] if errors else "?"
    return (
        f"waits until {_instant(record.wake_at)} for its next attempt, after attempt "
        f"{record.attempt} ended with {reason}"
    )


def _is_parked(record: Record) -> bool:
    instant = record.wake_at
    return instant is not None and as_utc(instant) == parked_at(record.queue_name)


def _is_later(instant: datetime | None) -> bool:
    return instant is not None and as_utc(instant) > datetime.now(UTC)


def _instant(instant: datetime | None) -> str:
    return as_utc(instant).isoformat(" ", "seconds") if instant else "?"
