"""Tasks and queues by hand: what people do to them, also by `manage.py taskbridge`.

`cancel`, `retry`, `run_now` and `forget` are about tasks, by their ids or by a filter;
`pause`, `resume` and `paused` about queues.

Each of the first four takes ids, or a filter whose parts all have to match, and never
both; `count` says in advance how many it is about. Whatever changes meanwhile is left
alone. Records are gone through in the order of an index, and changed some hundred in a
statement, so that a million of them need no memory and hold up nobody.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple, TypedDict, Unpack

from .backend import Backend
from .compat import task_backends
from .exceptions import NotDurable
from .handles import who
from .pausing import pause, paused, resume
from .store import Found, Store

__all__ = [
    "Done",
    "Filter",
    "cancel",
    "count",
    "forget",
    "pause",
    "paused",
    "resume",
    "retry",
    "run_now",
]

PAGE = 500
"""How many records are looked at, and changed, at once."""
GRACE_S = 1.0
"""Without `older_than`, what is this much younger than the call belongs to it."""

Action = Literal["cancel", "retry", "run-now", "forget"]

STATUSES: Mapping[Action, tuple[str, ...]] = {
    "cancel": ("READY", "RUNNING"),
    "retry": ("FAILED",),
    "run-now": ("READY",),
    "forget": ("SUCCESSFUL", "FAILED"),
}
"""Which tasks each of them is for."""


class Filter(TypedDict, total=False):
    """Which tasks are meant; None is the same as nothing.

    In a pattern, `*` stands for any text, and `?` for one character.
    """

    backend: str | None
    """An alias in TASKS; by default all that keep records."""
    queue: str | None
    """The name of a queue, or a pattern such as `mail-*`."""
    task: str | None
    """The import path of a task, or a pattern such as `shop.tasks.*`."""
    status: str | None
    """READY, RUNNING, SUCCESSFUL or FAILED."""
    older_than: timedelta | None
    """How long ago they were enqueued or, if they have finished, when they did."""
    error: str | None
    """The import path of the last error of a failed one, or a pattern."""


class Done(NamedTuple):
    """How many tasks something was done to."""

    done: int = 0
    asked: int = 0
    """Cancelled as they run: they fail as soon as they end."""
    left: int = 0
    """Not as they have to be, or not any more; unknown; or locked by somebody."""
    kept: int = 0
    """Not deleted, since rows of other tables refer to them."""


def cancel(
    *ids: str, by: str | None = None, kill: bool = False, **which: Unpack[Filter]
) -> Done:
    """Have tasks not run any more; see `TaskResult.cancel`.

    Args:
        *ids: of the tasks, or none.
        by: who cancels them, for people to read; by default user@host.
        kill: also kill the processes that run them.
        **which: see `Filter`.

    Raises:
        ValueError: neither ids nor a filter, or both; or no task can be like that.
        NotImplementedError: the backend is native, and keeps no records.
        StoreUnavailable: the records cannot be reached.
    """
    by = by or who()

    def act(backend: Backend, chosen: Sequence[str]) -> Done:
        found = backend.cancel(chosen, by=by, kill=kill)
        return Done(done=len(found.ended), asked=len(found.asked))

    return _Selection.of("cancel", ids, which, _wants("cancel", kill=kill)).apply(act)


def retry(*ids: str, **which: Unpack[Filter]) -> Done:
    """Make failed tasks due now, for one more attempt at least; see `cancel`.

    Attempts go on being counted and errors are kept, so an attempt beyond the task's
    `max_attempts` is its last one. Tasks that run at most once run once more.
    """
    began = time.monotonic()

    def act(backend: Backend, chosen: Sequence[str]) -> Done:
        since_s = time.monotonic() - began
        return Done(done=backend.store.rerun(chosen, since_s=since_s))

    return _Selection.of("retry", ids, which, _wants("retry")).apply(act)


def run_now(*ids: str, **which: Unpack[Filter]) -> Done:
    """Make due now what is delayed, or waits for its next attempt; see `cancel`.

    What is in a paused queue is left alone, and what fails meanwhile waits as usual.
    """
    began = time.monotonic()

    def act(backend: Backend, chosen: Sequence[str]) -> Done:
        since_s = time.monotonic() - began
        return Done(done=backend.store.hurry(chosen, since_s=since_s))

    return _Selection.of("run-now", ids, which, _wants("run-now")).apply(act)


def forget(*ids: str, **which: Unpack[Filter]) -> Done:
    """Delete the records of tasks that have finished; see `cancel`."""

    def act(backend: Backend, chosen: Sequence[str]) -> Done:
        deleted, kept = backend.store.forget(chosen)
        return Done(done=deleted, kept=kept)

    return _Selection.of("forget", ids, which, _wants("forget")).apply(act)


def count(
    action: Action, *ids: str, kill: bool = False, **which: Unpack[Filter]
) -> int:
    """Return how many tasks match now: no more than these are changed; see `cancel`.

    Of ids, it counts those whose status the action is for.
    """
    return _Selection.of(action, ids, which, _wants(action, kill=kill)).count()


def _wants(action: Action, *, kill: bool = False) -> Callable[[Found], bool]:
    """Return what tells whether an action can do something to a record."""
    match action:
        case "cancel":
            return lambda found: not found.cancelled_by or (kill and not found.kill)
        case "run-now":
            return lambda found: not found.pushes and not found.is_due
        case _:
            return _is_any


def _is_any(found: Found) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """Which tasks an action is about."""

    action: Action
    ids: tuple[str, ...]
    which: Filter
    statuses: tuple[str, ...]
    wants: Callable[[Found], bool]
    """Whether the action can do something to a record."""
    backends: tuple[Backend, ...]
    since: float = field(default_factory=time.monotonic)
    """time.monotonic() of the call."""

    @classmethod
    def of(
        cls,
        action: Action,
        ids: Sequence[str],
        which: Filter,
        wants: Callable[[Found], bool],
    ) -> _Selection:
        """Check what a caller asks for; raises what `cancel` says."""
        given = [name for name, value in which.items() if value is not None]
        if unknown := [name for name in given if name not in Filter.__annotations__]:
            raise TypeError(f"{action} knows no filter {unknown[0]!r}.")
        if not ids and not given:
            raise ValueError(
                f"Say which tasks to {action}: ids, or a filter. For all of a backend, "
                f"name the backend."
            )
        if ids and set(given) - {"backend"}:
            raise ValueError(f"{action} takes ids or a filter, not both.")
        return cls(
            action=action,
            ids=tuple(dict.fromkeys(map(_key, ids))),
            which=which,
            statuses=_statuses(action, which),
            wants=wants,
            backends=tuple(_backends(which.get("backend"))),
        )

    def apply(self, act: Callable[[Backend, Sequence[str]], Done]) -> Done:
        """Do something to all of them."""
        if self.ids:
            totals = [
                act(backend, batch)
                for backend in self.backends
                for batch in _batched(self.ids)
            ]
            total = _sum(totals)
            known = total.done + total.asked + total.kept
            return total._replace(left=len(self.ids) - known)
        return _sum([self._apply_to(backend, act) for backend in self.backends])

    def _apply_to(
        self, backend: Backend, act: Callable[[Backend, Sequence[str]], Done]
    ) -> Done:
        """Go through them once; to cancel, until nothing is left to do.

        Open ones change their place meanwhile, and may have been passed over.
        """
        total = Done()
        while True:
            seen, steps = 0, []
            for batch in self._pages(backend.store):
                seen += len(batch)
                steps.append(act(backend, batch))
            now = _sum(steps)
            moved = now.done + now.asked
            total = _sum([total._replace(left=0, kept=0), now])
            if not moved or self.action != "cancel":
                return total._replace(left=seen - moved - now.kept)

    def count(self) -> int:
        """Return how many there are."""
        if not self.ids:
            return sum(
                len(batch)
                for backend in self.backends
                for batch in self._pages(backend.store)
            )
        return sum(
            each.status in self.statuses
            for backend in self.backends
            for batch in _batched(self.ids)
            for each in backend.store.standing(batch)
        )

    @property
    def _are_ended(self) -> bool:
        return not {"READY", "RUNNING"} & set(self.statuses)

    def _pages(self, store: Store) -> Iterator[list[str]]:
        """Yield the ids of those that match, of a page of records each time."""
        walks: list[str | None] = list(self.statuses) if self._are_ended else [None]
        for status in walks:
            after: Found | None = None
            while True:
                page = store.page(
                    status,
                    age_s=self._age_s,
                    after=after,
                    limit=PAGE,
                    errors=self.which.get("error") is not None,
                )
                if ids := [found.id for found in page if self._matches(found)]:
                    yield ids
                if len(page) < PAGE:
                    break
                after = page[-1]

    @property
    def _age_s(self) -> float:
        """How old they have to be now; what came after the call is not meant."""
        elapsed_s = time.monotonic() - self.since
        older_than = self.which.get("older_than")
        asked_s = older_than.total_seconds() if older_than is not None else -GRACE_S
        return asked_s + elapsed_s

    def _matches(self, found: Found) -> bool:
        return (
            found.is_old
            and found.status in self.statuses
            and self.wants(found)
            and _is_like(found.queue_name, self.which.get("queue"))
            and _is_like(found.task, self.which.get("task"))
            and _is_like(found.error, self.which.get("error"))
        )


def _is_like(name: str, pattern: str | None) -> bool:
    # Names of queues may have brackets; those in a pattern stand for themselves.
    return pattern is None or fnmatchcase(name, pattern.replace("[", "[[]"))


def _statuses(action: Action, which: Filter) -> tuple[str, ...]:
    possible = STATUSES[action]
    status, error = which.get("status"), which.get("error")
    if error is not None and "FAILED" not in possible:
        raise ValueError(f"{action} is not for failed tasks, so error= fits none.")
    if status is None:
        return ("FAILED",) if error is not None else possible
    if status not in possible:
        raise ValueError(
            f"{action} is for tasks that are {' or '.join(possible)}, not {status!r}."
        )
    return (status,)


def _backends(alias: str | None) -> Iterator[Backend]:
    """Yield the backends that keep records.

    Raises:
        ValueError, NotDurable: this one does not, or there are none.
    """
    if alias is not None:
        if alias not in task_backends.settings:
            known = ", ".join(task_backends.settings)
            raise ValueError(f"TASKS has no backend {alias!r}; it has {known}.")
        backend = task_backends[alias]
        if not isinstance(backend, Backend):
            raise ValueError(
                f"Backend {alias!r} is a {type(backend).__name__}, not TaskBridge's."
            )
        if not backend.keeps_records:
            raise NotDurable(f"{backend} keeps no records: its DELIVERY is 'native'.")
        yield backend
        return
    found = [task_backends[each] for each in task_backends.settings]
    durable = [each for each in found if isinstance(each, Backend)]
    durable = [each for each in durable if each.keeps_records]
    if not durable:
        raise NotDurable(
            "No backend in TASKS keeps records: DELIVERY is 'native' everywhere."
        )
    yield from durable


def _key(record_id: str) -> str:
    try:
        return uuid.UUID(record_id).hex
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{record_id!r} is not the id of a task.") from None


def _batched(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), PAGE):
        yield ids[start : start + PAGE]


def _sum(parts: Sequence[Done]) -> Done:
    return Done(*map(sum, zip(*parts, strict=True))) if parts else Done()
