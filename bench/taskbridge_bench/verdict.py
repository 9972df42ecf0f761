"""The judge: what was asked for against what ran. Nothing else may say "it worked"."""

from collections import Counter
from collections.abc import Iterable

NAMED = 5
"""How many keys of each kind an accusation names."""


class WrongExecution(Exception):  # noqa: N818 - a noun, as all exceptions here
    """Tasks were lost, ran more than once, or were never asked for."""


def accusation(total: int, ran: Iterable[int], *, is_over: bool = True) -> str:
    """Say what is wrong with a round; empty if each task ran exactly once.

    Args:
        total: how many tasks were enqueued; their keys are 0 to total - 1.
        ran: the key of each start, in any order.
        is_over: what has not run is lost; else it may come yet.
    """
    counts = Counter(ran)
    lost = [key for key in range(total) if is_over and key not in counts]
    repeated = [key for key, n in counts.items() if n > 1]
    unknown = [key for key in counts if not 0 <= key < total]
    charges = (
        ("lost", lost),
        ("ran more than once", repeated),
        ("ran but never enqueued", unknown),
    )
    return "; ".join(
        f"{what}: {len(keys)} of {total} tasks (key {_names(keys)})"
        for what, keys in charges
        if keys
    )


def _names(keys: list[int]) -> str:
    named = ", ".join(map(str, sorted(keys)[:NAMED]))
    return named + (", ..." if len(keys) > NAMED else "")
