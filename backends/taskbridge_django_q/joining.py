"""Packages of Django-Q2 1.11 that wait together become one, which runs as a chunk."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.signing import b64_decode
from django_q.conf import Conf
from django_q.signing import PickleSerializer

from taskbridge.merging import Merger, joined

from .signatures import renewed, signer

NATIVE_TASK = "taskbridge.execution.run"
# Results are not kept, and a failure is acknowledged: Django-Q2 never runs it again.
OPTIONS: dict[str, Any] = {"save": False, "ack_failure": True}
FIELDS = {"id", "name", "func", "args", "kwargs", "started", *OPTIONS}
"""What is in a package of ours, unless a receiver of ``pre_enqueue`` added to it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A package that a broker has taken, or is about to take."""

    package: str
    task: dict[str, Any] | None
    """What is in it, if it is ours and no more than that."""

    @property
    def body(self) -> str | None:
        """The body of the envelope; None: the package runs alone."""
        return self.task["args"][0] if self.task else None


def opened(package: str | bytes) -> Taken:
    """Look into a package; one that is not ours is not loaded."""
    text = renewed(package)
    task = ours(text)
    is_plain = task is not None and (
        task.keys() == FIELDS
        and not task["kwargs"]
        and OPTIONS.items() <= task.items()
        and len(task["args"]) == 1
        and isinstance(task["args"][0], str)
    )
    return Taken(text, task if is_plain else None)


def ours(package: str) -> dict[str, Any] | None:
    """Return what is in a package that calls `run`; None: it is of somebody else.

    Its pickle is loaded only if it may be ours: that can import anything.
    """
    try:
        content = signer().unsign(package)
        data = b64_decode(content.lstrip(".").encode())
        pickled = zlib.decompress(data) if content.startswith(".") else data
        if NATIVE_TASK.encode() not in pickled:
            return None
        task: dict[str, Any] = PickleSerializer.loads(pickled)
        return task if task["func"] == NATIVE_TASK else None
    except Exception:  # noqa: BLE001 - whatever somebody put there
        return None


def first_chunk(merger: Merger, taken: Sequence[Taken], waiting: int) -> int:
    """Return how many packages, from the first on, are to run as one chunk.

    Args:
        merger: what decides it.
        taken: at least one.
        waiting: how many wait for all processes, with these.
    """
    return len(merger.groups([each.body for each in taken], waiting)[0])


def together(taken: Sequence[Taken]) -> str:
    """Return one package for what is to run as one chunk."""
    first = taken[0]
    if len(taken) == 1 or first.task is None:
        return first.package
    body = joined([each.body for each in taken if each.body])
    task = {**first.task, "args": (body,)}
    return signer().sign_object(task, PickleSerializer, Conf.COMPRESSED)
