"""The one decision about a failed attempt: whether, and when, there is another."""

from __future__ import annotations

from typing import Any

from taskbridge.handles import TaskResult
from taskbridge.retry import Retry

from .backoff import delay_of
from .policy import Policy

LONGEST_DELAY_S = 10 * 365 * 86_400
"""Ten years, which every database's dates can express."""


def decide(
    policy: Policy, exception: BaseException, result: TaskResult[Any]
) -> float | None:
    """Return the seconds until the next attempt, or None if the task has failed.

    More than ten years count as ten years.

    Args:
        policy: the task's; see `policy_of`.
        exception: what ended the attempt.
        result: `attempts` counts this attempt too; given to a callable `backoff`.

    Raises:
        ValueError: a callable `backoff` returned something other than seconds.
        Exception: a callable `backoff` raised it.
    """
    delay = _asked_delay(policy, exception, result)
    return None if delay is None else min(delay, LONGEST_DELAY_S)


def _asked_delay(
    policy: Policy, exception: BaseException, result: TaskResult[Any]
) -> float | None:
    limit = policy.max_attempts
    if limit is not None and result.attempts >= limit:
        return None
    if isinstance(exception, policy.discard_on):
        return None
    if isinstance(exception, Retry):
        if exception.after is not None:
            return exception.after
    elif not isinstance(exception, policy.retry_on):
        return None
    return delay_of(policy.backoff, exception, result)
