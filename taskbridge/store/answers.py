"""What a `Store` answers, and what it is told of workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A record that a dispatcher has to look after, now or soon."""

    id: str
    status: str
    """READY or RUNNING."""
    queue_name: str
    pushes: int
    """How often its attempt was handed to the queue library."""
    priority: int
    in_s: float
    """Seconds until it is due, by the store's clock; 0 or less: now."""


class Standing(NamedTuple):
    """Who has hold of a record, and whether that is to end."""

    id: str
    token: str
    status: str
    cancelled_by: str
    """Who has asked to cancel it; empty: nobody."""
    kill: bool
    """Whether its process is to be killed for that."""
    alias: str
    """That in TASKS whose record it is."""


class Pruned(NamedTuple):
    """How many old records were deleted, and how many were not."""

    deleted: int
    kept: int
    """Those that rows of other tables refer to."""
    more: bool
    """Whether others may be old enough, too."""


class PausedSince(NamedTuple):
    """When a queue was paused, and by whom."""

    at: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """How many records of a queue there are of each kind that matters to people."""

    waiting: int = 0
    """READY, and due or in the queue library."""
    delayed: int = 0
    """READY, for later: they were enqueued for then, or are retried."""
    parked: int = 0
    """READY and due, in a queue that is paused."""
    running: int = 0
    failed: int = 0
    oldest_s: float | None = None
    """Seconds since the first of those that wait, or are parked, was enqueued, was to
    run, or was last attempted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An attempt that goes on."""

    id: str
    task: str
    queue_name: str
    worker: str
    """See `worker_id`."""
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker, or a dispatcher alone, as it describes itself."""

    id: str
    """32 hex digits."""
    host: str
    pid: int
    """Of its supervisor."""
    concurrency: int
    """0: it is a dispatcher alone."""
    queues: Sequence[str]
    version: str


class Seen(NamedTuple):
    """A worker that has said that it is there."""

    worker: Worker
    started_s: float
    """Seconds since the first time that it said so."""
    seen_s: float
    """Seconds since the last time."""
