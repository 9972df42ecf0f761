"""Joins messages that wait, so that few statements start and end many tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .exceptions import InvalidMessage
from .message import LONGEST_BODY, pack, unpack
from .pulse import duration_of

BUDGET_S = 0.05
"""How long the tasks of a chunk may take together, by what they took before."""

ROUNDING_S = 1e-9

# As `message.sign` writes it: the path comes first, and the rest last, so no argument
# can be taken for either.
_PATH = re.compile(r'\{"v":\d+,"id":"[^"]*","task":"([^"\\]*)"')
_MAY_SHARE = re.compile(r'"worker_ids":\[\],"durable":true\}:[^:]*\Z')


class Merger:
    """Says which of the envelopes that a worker has taken run as one chunk.

    It goes by what tasks of the same path took lately in any process of this worker: a
    task that is slow, or that has not run yet, is alone.

    Args:
        most: how many tasks a chunk may hold; 1: nothing is joined.
        processes: how many tasks the worker runs at once.
    """

    def __init__(self, most: int, processes: int) -> None:
        self.most = most
        self.processes = max(1, processes)

    def reach(self, waiting: int) -> int:
        """Return how many envelopes one process may take, if so many wait for all."""
        return max(1, min(self.most, waiting // self.processes))

    def like(self, body: object, waiting: int) -> int:
        """Return how many envelopes like this one a process may take, with this one.

        Args:
            body: of the first that it takes.
            waiting: how many wait for all processes, with this one.
        """
        messages, duration_s = _of(body)
        if not messages:
            return 1
        in_time = int((BUDGET_S + ROUNDING_S) / duration_s)
        return max(1, min(self.reach(waiting) // messages, in_time))

    def groups(self, bodies: Sequence[object], waiting: int) -> list[list[int]]:
        """Split envelopes into groups, each to run in one process as one chunk.

        Args:
            bodies: in the order in which they were taken.
            waiting: how many wait for all processes, with these.

        Returns:
            Indexes of `bodies`, in their order.
        """
        groups: list[list[int]] = []
        most = self.reach(waiting)
        left_s, left, size = 0.0, 0, 0
        for index, body in enumerate(bodies):
            messages, duration_s = _of(body)
            length = len(body) if isinstance(body, str) else 0
            if (
                messages
                and groups
                and messages <= left
                and duration_s <= left_s + ROUNDING_S
                and size + length <= LONGEST_BODY
            ):
                groups[-1].append(index)
            else:
                groups.append([index])
                left_s, left, size = BUDGET_S, most if messages else 0, 0
            left_s -= duration_s
            left -= messages
            size += length
        return groups


def joined(bodies: Sequence[str]) -> str:
    """Return the body that carries the messages of all of these."""
    if len(bodies) == 1:
        return bodies[0]
    return pack([signed for body in bodies for signed in unpack(body)])


def _of(body: object) -> tuple[int, float]:
    """Return how many messages a body holds, and how long they may take.

    0: it runs alone. Native messages do, for they have no record that knows more than
    the envelope; and so do later attempts, of which one may have crashed.
    """
    try:
        messages = unpack(body)
    except InvalidMessage:
        return 0, 0.0
    total_s = 0.0
    for signed in messages:
        path = _PATH.match(signed)
        if not path or not _MAY_SHARE.search(signed):
            return 0, 0.0
        total_s += duration_of(path[1]) or BUDGET_S
    return len(messages), total_s
