"""`attempt` calls the function of a task; an `Outcome` says how that ended."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from taskbridge import events
from taskbridge.compat import TaskResultStatus
from taskbridge.handles import Cancellation, TaskContext, TaskResult
from taskbridge.plain import normal_value
from taskbridge.policy import policy_of
from taskbridge.pulse import note_call, note_return
from taskbridge.recycling import count_task
from taskbridge.results import set_fields, unusable_value, with_this_worker
from taskbridge.signature import check_call

from .connections import (
    close_stale_connections,
    restored_connections,
    savepoints,
)
from .handlers import is_interrupted, note_handlers
from .limit import call_within
from .output import flush_output


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    """What may end an attempt from outside, while its function runs."""

    token: str = ""
    """Of its claim, for the warden to see; empty: nobody watches."""
    grace_s: float = math.inf
    """How long it may go on after its timeout, before its process is killed."""
    cancellation: Cancellation | None = None
    """Answers the task when it asks whether it is to end."""


UNSUPERVISED = Supervision()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended."""

    context: Context
    """The context it ran in: receivers of its end see the variables that it set."""
    value: Any = None
    """What it returned, normalised to JSON."""
    exception: BaseException | None = None
    """What it raised; None: it succeeded."""
    is_final: bool = False
    """Whether no other attempt may follow: its work is done, whatever went wrong after
    it, or it can never be done."""

    def follow(self, function: Callable[..., None], *args: Any) -> None:
        """Call what follows the attempt, in its context.

        What receivers of signals leave open is ended, as after the task.
        """
        with restored_connections():
            self.context.run(function, *args)


def attempt(
    result: TaskResult[Any], supervision: Supervision = UNSUPERVISED
) -> Outcome:
    """Make the next attempt at a task, and note it in its result.

    An exception of the task, even SystemExit, is in the outcome. What a handler of the
    process raises for a signal is not the task's: the attempt is lost with the process.

    Args:
        result: of the task.
        supervision: what may end it from outside.

    Raises:
        BaseException: what the handler raised.
    """
    note_handlers()
    count_task()
    close_stale_connections()
    # A task must not leave its language or any other context variable to the next one.
    context = copy_context()
    try:
        with restored_connections() as in_transaction, savepoints(in_transaction):
            return context.run(_run, result, context, supervision)
    finally:
        flush_output()


def exit_status(exc: BaseException | None) -> int:
    """Return the status of a process that an exception ends, as of any program."""
    if not isinstance(exc, SystemExit):
        return 1
    return exc.code if isinstance(exc.code, int) else int(bool(exc.code))


def _run(
    result: TaskResult[Any], context: Context, supervision: Supervision
) -> Outcome:
    now = timezone.now()
    set_fields(
        result,
        status=TaskResultStatus.RUNNING,
        started_at=result.started_at or now,
        last_attempted_at=now,
    )
    result.worker_ids[:] = with_this_worker(result.worker_ids)
    events.started(result)
    try:
        value = _call(result, supervision)
    except BaseException as exc:  # noqa: BLE001 - SystemExit must not end the worker
        _let_interruptions_pass(exc, result)
        return Outcome(
            context=context, exception=exc, is_final=_is_hopeless(exc, result)
        )
    try:
        return Outcome(context=context, value=normal_value(value), is_final=True)
    except BaseException as exc:  # noqa: BLE001 - as above
        _let_interruptions_pass(exc, result)
        cause = exc if isinstance(exc, Exception) else RuntimeError(repr(exc))
        error = unusable_value(result.task, cause)
        return Outcome(context=context, exception=error, is_final=True)


def _let_interruptions_pass(exc: BaseException, result: TaskResult[Any]) -> None:
    if is_interrupted(exc):
        events.interrupted(result, exc)
        raise exc


def _call(result: TaskResult[Any], supervision: Supervision) -> Any:
    task = result.task
    timeout_s = policy_of(task).timeout
    context: tuple[TaskContext, ...] = ()
    if task.takes_context:
        cancellation = supervision.cancellation
        context = (TaskContext(task_result=result, cancellation=cancellation),)
    pid = os.getpid()
    if token := supervision.token:
        end_s = None if timeout_s is None else timeout_s + supervision.grace_s
        note_call(result.id, token, end_s)
    try:
        if timeout_s is None:
            return task.call(*context, *result.args, **result.kwargs)
        return call_within(task, timeout_s, *context, *result.args, **result.kwargs)
    finally:
        if os.getpid() != pid:
            # A fork that the task did not end must not become a worker.
            flush_output()
            os._exit(exit_status(sys.exception()))
        if token:
            note_return()


def _is_hopeless(exc: BaseException, result: TaskResult[Any]) -> bool:
    """Whether the function can never take the arguments, and would be tried for ever.

    It was changed, maybe. A few attempts may find a worker with the right release.
    """
    if not isinstance(exc, TypeError) or _takes_arguments(result):
        return False
    exc.add_note(
        f"Task {result.task.module_path!r} does not take the arguments with which it "
        f"was enqueued, maybe by another release of the project."
    )
    return policy_of(result.task).max_attempts is None


def _takes_arguments(result: TaskResult[Any]) -> bool:
    try:
        check_call(result.task, result.args, result.kwargs)
    except TypeError:
        return False
    return True
