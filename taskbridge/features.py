"""What a backend can do: one question a field, one of three answers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
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
    cancel: Support = Support.NO
    """Can a task be cancelled, whether it waits or runs?"""
    wait: Support = Support.NO
    """Can code wait until a task has finished?"""
    pause: Support = Support.NO
    """Can a queue be paused, for all workers at once?"""
    recycle: Support = Support.NO
    """Is a process replaced that ran many tasks, or takes much memory?"""


BEYOND_ADAPTERS = (
    *("retries", "timeout", "unique", "at_most_once"),
    *("results", "cancel", "wait", "pause"),
)
"""Fields that an adapter leaves at NO, since an envelope carries nothing of them."""


def within_reach(native: Features) -> Features:
    """Return what an adapter answers, without what no adapter can do."""
    return replace(native, **dict.fromkeys(BEYOND_ADAPTERS, Support.NO))


def claims(native: Features) -> Mapping[str, Support]:
    """Return what an adapter answers beyond its reach, by field."""
    answers = {name: getattr(native, name) for name in BEYOND_ADAPTERS}
    return {name: said for name, said in answers.items() if said is not Support.NO}


def table(answers: Mapping[str, Mapping[str, str]]) -> str:
    """Return a Markdown table with a row for each feature.

    Args:
        answers: for each column its heading, and an answer for each field of
            `Features`; a missing answer leaves its cell empty.
    """
    rows = [
        f"| | {' | '.join(answers)} |",
        "|---" * (len(answers) + 1) + "|",
        *(
            f"| {field.name.replace('_', ' ')} | "
            + " | ".join(column.get(field.name, "") for column in answers.values())
            + " |"
            for field in fields(Features)
        ),
    ]
    return "\n".join(rows)
