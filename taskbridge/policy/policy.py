"""`Policy`, the options that say how a task's failures are treated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, TypedDict

from taskbridge.compat import DjangoTask, InvalidTask

from . import rules
from .backoff import Backoff, exponential
from .rules import PLACE, Rule

ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


def _said(rule: Rule, *, asks_for: str | None = None) -> dict[str, Any]:
    """Return the metadata of an option.

    Args:
        rule: what it may be.
        asks_for: the field of `Features` that a backend must have for any value but
            the default.
    """
    return {"rule": rule, "asks_for": asks_for}


# No slots: Task has some, and Python lets only one of its bases have them.
@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a task wants its failures to be treated: a field for each option of `@task`.

    An option that is added here is added to `PolicyOptions`, too, for type checkers.
    """

    max_attempts: int | None = field(
        default=1, metadata=_said(rules.AT_LEAST_1, asks_for="retries")
    )
    """How often it may be started; 1 means that it is not retried, None: no limit."""

    backoff: Backoff = field(default=exponential(), metadata=_said(rules.BACKOFF))
    """Time before the next attempt, in seconds or as a timedelta: one, a sequence (the
    last one repeats), or a callable ``(exception, task_result) -> time | None``, where
    None means stop."""

    retry_on: ExceptionTypes = field(
        default=(Exception,), metadata=_said(rules.EXCEPTION_TYPES)
    )
    """Exceptions after which it is retried."""

    discard_on: ExceptionTypes = field(
        default=(), metadata=_said(rules.EXCEPTION_TYPES)
    )
    """Exceptions after which it fails at once; wins over `retry_on`."""

    timeout: float | None = field(
        default=None, metadata=_said(rules.TIME_LIMIT, asks_for="timeout")
    )
    """Seconds that one attempt may take; None means no limit."""

    unique: str | None = field(
        default=None, metadata=_said(rules.KEY, asks_for="unique")
    )
    """Key, with ``{argument}`` placeholders, under which only one may wait or run."""

    at_most_once: bool = field(
        default=False, metadata=_said(rules.FLAG, asks_for="at_most_once")
    )
    """True: never started again after its worker was lost."""


class PolicyOptions(TypedDict, total=False):
    """The fields of `Policy` as arguments of `@task`, in every form that it takes."""

    max_attempts: int | None
    backoff: Backoff | timedelta | Sequence[float | timedelta]
    retry_on: ExceptionTypes
    discard_on: ExceptionTypes
    timeout: float | timedelta | None
    unique: str | None
    at_most_once: bool


_NONE = Policy()


def policy_of(task: DjangoTask[Any, Any]) -> Policy:
    """Return the policy of a task; a plain Django task has the default one."""
    return task if isinstance(task, Policy) else _NONE


def asked_policy(task: DjangoTask[Any, Any]) -> dict[str, str]:
    """Return, for each feature that the policy asks for, the option that does so."""
    policy = policy_of(task)
    return {
        each.metadata["asks_for"]: f"{each.name}={value!r}"
        for each in fields(Policy)
        if each.metadata["asks_for"]
        and (value := getattr(policy, each.name)) != each.default
    }


def check_task(task: DjangoTask[Any, Any]) -> None:
    """Normalise each option of a task, in place, and check it.

    Raises:
        InvalidTask: naming the task and the option.
    """
    for option, rule in _rules():
        given = getattr(task, option)
        value = rule.normal(given)
        if value is not given:
            object.__setattr__(task, option, value)
        if not rule.is_valid(value):
            raise InvalidTask(
                f"Task {task.module_path!r}: {option} must be {rule.expected}. "
                f"Got {value!r}."
            )


def _rules() -> Iterator[tuple[str, Rule]]:
    yield from PLACE.items()
    for each in fields(Policy):
        yield each.name, each.metadata["rule"]
