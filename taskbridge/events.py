"""Everything that is reported about a task: each signal, and each line of the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Sequence
from typing import Any

from django.dispatch import Signal
from django.utils import timezone

from .compat import (
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from .exceptions import (
    BackendUnavailable,
    InvalidMessage,
    StoreUnavailable,
    TaskCancelled,
    WorkerLost,
)
from .handles import TaskResult
from .policy import policy_of
from .results import set_fields, task_error

logger = logging.getLogger("taskbridge")


# Signals. A receiver that raises must not affect the task.


def enqueued(sender: type, results: Sequence[TaskResult[Any]]) -> None:
    """Signal that tasks of one backend are queued."""
    for result in results:
        _send(task_enqueued, sender, result)


def started(result: TaskResult[Any]) -> None:
    """Signal that an attempt begins."""
    sender = type(task_backends[result.backend])
    _send(task_started, sender, result)


def succeeded(sender: type, result: TaskResult[Any]) -> None:
    """Signal that a task has succeeded."""
    _finish(sender, result, TaskResultStatus.SUCCESSFUL)


def failed(sender: type, result: TaskResult[Any], exception: BaseException) -> None:
    """Signal that a task has failed for good.

    Django's receiver logs the exception that is being handled, so this one is raised
    and caught here, with its original traceback.
    """
    traceback = exception.__traceback__
    try:
        raise exception  # noqa: TRY301 - to be the one that is handled
    except BaseException as raised:  # noqa: BLE001 - whatever it is
        raised.with_traceback(traceback)
        _finish(sender, result, TaskResultStatus.FAILED)


def cancelled(sender: type, result: TaskResult[Any], by: str) -> None:
    """Signal that an attempt has ended whose task somebody had cancelled meanwhile."""
    exc = TaskCancelled(f"Cancelled by {by}.")
    result.errors.append(task_error(exc))
    set_fields(result, _return_value=None)
    failed(sender, result, exc)


def failed_elsewhere(sender: type, result: TaskResult[Any]) -> None:
    """Signal that a task has failed with its worker, as its record says."""
    if result.task.func.__module__ not in sys.modules:
        logger.warning(
            "Task id=%s path=%s: receivers of task_finished see a stand-in for it, "
            "since it is not there to import; and a dispatcher does not import tasks.",
            result.id,
            result.task.module_path,
        )
    _send(task_finished, sender, result)


def _finish(sender: type, result: TaskResult[Any], status: TaskResultStatus) -> None:
    set_fields(result, status=status, finished_at=timezone.now())
    _send(task_finished, sender, result)


def _send(signal: Signal, sender: type, result: TaskResult[Any]) -> None:
    try:
        signal.send_robust(sender, task_result=result)
    except KeyboardInterrupt:
        raise
    except BaseException:  # a receiver may even call sys.exit()
        logger.exception("A receiver of a signal about task id=%s ended.", result.id)


# The log.


def refused(exc: InvalidMessage) -> None:
    """Log that a message is not ours, or cannot be run here."""
    logger.error("Refused a message: %s", exc, exc_info=exc.__cause__)


def not_started(ids: Sequence[str], exc: Exception) -> None:
    """Log that the store did not let tasks start; they are delivered again."""
    logger.error("Tasks were not started, %s of them (%s): %s", len(ids), ids[0], exc)


def absent(results: Sequence[TaskResult[Any]], store: object) -> None:
    """Log that messages came whose records are not there; such tasks never run."""
    logger.error(
        "Task id=%s path=%s cannot start (nor can %s others of its message): it has no "
        "record in %s. Either it was enqueued elsewhere: in another schema "
        "(search_path, a tenant's), or with other DATABASES or DATABASE_ROUTERS than "
        "this worker has. Or its record was there: it was deleted, or its transaction "
        "was undone, as a failover may. The message is dropped, and so are others like "
        "it, of which nothing is said for ten minutes.",
        results[0].id,
        results[0].task.module_path,
        len(results) - 1,
        store,
    )


def lost_before_start(result: TaskResult[Any]) -> None:
    """Log that the lease of a claimed task ran out before it could start."""
    logger.warning(
        "Task id=%s path=%s is not started here: its lease was lost while it waited.",
        result.id,
        result.task.module_path,
    )


def retried(result: TaskResult[Any], after_s: float) -> None:
    """Log that an attempt failed and another follows."""
    limit = policy_of(result.task).max_attempts
    reason = result.errors[-1].traceback.strip().rpartition("\n")[2]
    logger.warning(
        "Task id=%s path=%s failed in attempt %s%s (%s) and runs again in %.1f s.",
        result.id,
        result.task.module_path,
        result.attempts,
        "" if limit is None else f" of {limit}",
        reason[:200],
        after_s,
    )


def not_retried(result: TaskResult[Any], exc: BackendUnavailable) -> None:
    """Log that a task has failed since the queue did not take its next attempt."""
    logger.error("Task id=%s cannot be retried: %s", result.id, exc)


def retried_early(
    result: TaskResult[Any], after_s: float, *, asked_s: float, backend: object
) -> None:
    """Log that the library cannot keep an attempt for as long as the backoff says."""
    logger.warning(
        "Task id=%s is retried after %.0f s instead of %.0f: %s cannot keep it "
        "longer in native delivery.",
        result.id,
        after_s,
        asked_s,
        backend,
    )


def interrupted(result: TaskResult[Any], exc: BaseException) -> None:
    """Log that a signal ends the process in the middle of a task."""
    logger.error(
        "Task id=%s path=%s: a signal ends its process in attempt %s (%r), which is "
        "lost.",
        result.id,
        result.task.module_path,
        result.attempts,
        exc,
    )


def killed(record_id: str, pid: int, why: str) -> None:
    """Log that a process was killed in the middle of a task."""
    logger.error("Task id=%s: its process %s was killed (%s).", record_id, pid, why)


def given_back(ids: Collection[str], why: str) -> None:
    """Log that tasks that were claimed together go back before they have begun."""
    logger.info("%s tasks were given back before they began: %s.", len(ids), why)


def unsaved(result: TaskResult[Any], exc: Exception, *, lease_s: float) -> None:
    """Log that the outcome of an attempt could not be saved."""
    logger.error(
        "What became of task id=%s cannot be saved (%s); it counts as lost when its "
        "lease ends, in %s s or less.",
        result.id,
        exc,
        lease_s,
    )


def came_late(result: TaskResult[Any]) -> None:
    """Log that an attempt ended after its lease was lost."""
    logger.warning(
        "Task id=%s path=%s ended here in attempt %s after its lease was lost; what it "
        "returned or raised is dropped.",
        result.id,
        result.task.module_path,
        result.attempts,
    )


def lost(record_id: str, path: str, exc: WorkerLost, *, reruns: bool) -> None:
    """Log that an attempt was lost with its worker."""
    logger.error(
        "Task id=%s path=%s: %s %s",
        record_id,
        path,
        exc,
        "It runs again." if reruns else "It has failed.",
    )


def left_to_dispatcher(exc: BackendUnavailable | StoreUnavailable) -> None:
    """Log that the broker did not take new tasks; their records are saved."""
    logger.warning("Tasks are delivered later, by the dispatcher: %s", exc)


def unreadable(record_id: str, exc: Exception) -> None:
    """Log that a record cannot be read, since somebody else wrote to it."""
    logger.error(
        "Task id=%s has a record that cannot be read.", record_id, exc_info=exc
    )


def not_ended(ids: Sequence[str], exc: Exception) -> None:
    """Log that attempts of lost workers could not be ended; others are."""
    logger.error(
        "Lost attempts cannot be ended, %s of them (%s): %r", len(ids), ids[0], exc
    )


def refused_by_broker(ids: Sequence[str], exc: Exception) -> None:
    """Log that the broker accepts other messages, but not those of these tasks."""
    logger.error("The broker refuses tasks %s: %s", ids, exc)


def not_taken(ids: Sequence[str], exc: Exception) -> None:
    """Log that due tasks could not be taken to push them; others are."""
    logger.error(
        "Tasks cannot be delivered now, %s of them (%s): %r", len(ids), ids[0], exc
    )
