"""What a backend can do: one question a field, one of three answers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum


class Support(StrEnum):
    """Who does it."""

    NATIVE = "native"
    """The queue library itself."""
    BRIDGED = "bridged"
    """TaskBridge, on top of the library."""
    NO = "no"
    """Nobody: asking for it is refused by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The answers of one backend, as it is configured."""

    run_after: Support
    """Can a task be kept until a given time?"""
    priority: Support
    """Does a task of higher priority run before one of lower priority?"""
    async_tasks: Support = Support.BRIDGED
    """Can the function be a coroutine function?"""
    enqueue_in_transaction: Support = Support.NO
    """Does a task that is enqueued in a transaction vanish with its rollback?"""
    retries: Support = Support.NO
    """Is a task that failed started again, as its policy says?"""
    timeout: Support = Support.NO
    """Is an attempt that takes too long stopped?"""
    unique: Support = Support.NO
    """Can a second task under the same key be refused?"""
    at_most_once: Support = Support.NO
    """Can a task be kept from ever starting twice?"""
    results: Support = Support.NO
    """Can status and return value be read back by id?"""
    recovery: Support = Support.NO
    """Does a task whose worker was killed run again?"""


def table(backends: Mapping[str, Features]) -> str:
    """Return a Markdown table of these backends, a row for each feature."""
    rows = [
        f"| | {' | '.join(backends)} |",
        "|---" * (len(backends) + 1) + "|",
        *(
            f"| {field.name.replace('_', ' ')} | "
            + " | ".join(getattr(f, field.name) for f in backends.values())
            + " |"
            for field in fields(Features)
        ),
    ]
    return "\n".join(rows)
