"""What a contender is: a library, its broker, the lane and the profile it runs in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from importlib import import_module
from typing import Any, cast

SLOTS = 2
"""How many tasks every contender of the profile "equal" can run at once."""

RECOVERY_S = 5
"""What the scenarios `recovery` shorten such settings to; see `impatience`."""

_IN_DATABASE = "its queue is in the project's database, which no fault here destroys"
NO_BROKER = {"recovery-flush": _IN_DATABASE, "recovery-restart": _IN_DATABASE}
"""What `Contender.cannot` says of a library without a broker of its own."""

Enqueue = Callable[[str, int, int], object]
"""Enqueues a task with (round id, key, total); see `work`."""
EnqueueAt = Callable[[datetime, str, int, int], object]
"""The same for a task that is due later; the time is aware."""
EnqueueMany = Callable[[Sequence[tuple[str, int, int]]], object]
"""Enqueues several at once, by the library's own means."""


class Lane(StrEnum):
    """How a library is used."""

    NATIVE = "native"
    """By its own public API and commands, as its documentation says."""
    BRIDGE = "bridge"
    """Through TaskBridge, in native delivery."""
    DURABLE = "durable"
    """Through TaskBridge, in durable delivery, its default: a record of each task."""


class Profile(StrEnum):
    """By which settings; two profiles never meet in one ranking."""

    EQUAL = "equal"
    """The same slots for all; what is comparable is made equal, the rest is stated."""
    DEFAULTS = "defaults"
    """What the library's documentation starts with."""


class Guarantee(StrEnum):
    """What becomes of a task whose worker is killed; never ranked together."""

    AT_MOST_ONCE = "at most once"
    AT_LEAST_ONCE = "at least once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How a contender enqueues and purges, in the measuring process."""

    record: Enqueue
    """Enqueue `work.record`."""
    hold: Enqueue
    """Enqueue `work.hold`."""
    long: Enqueue
    """Enqueue `work.long`."""
    purge: Callable[[], object]
    """Drop what waits in the queue, and the records of durable delivery."""
    record_at: EnqueueAt | None = None
    """Enqueue `work.record` for later, by the library's own scheduler."""
    record_many: EnqueueMany | None = None
    """Enqueue several of `work.record` in one call."""
    fail: Mapping[str, Enqueue] = field(default_factory=dict)
    """Enqueue `work.fail` with a retry policy, by its name in `policies.POLICIES`.

    What the library cannot express is missing here, and `Contender.cannot` says why,
    under "retries-" and the policy's name.
    """
    start_periodic: Callable[[str, float], object] | None = None
    """Let `work.tick` run with (round id) every so many seconds, from now on.

    None: the worker, or what runs beside it, finds the schedule in the variable
    TASKBRIDGE_BENCH_PERIODIC, "ROUND SECONDS", that it is started with.
    """
    records: Callable[[], Mapping[str, int]] | None = None
    """Count the records of each status; None: this lane keeps none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What is measured, in enough words to do it again by hand."""

    library: str
    lane: Lane
    profile: Profile
    guarantee: Guarantee
    broker: str
    enqueue: str
    """The statement that is timed."""
    workers: tuple[tuple[str, ...], ...]
    """The arguments of ``python`` for each process that is started."""
    slots: int
    """How many tasks they run at once."""
    acknowledges: str
    """When a message counts as done, so what a killed worker loses."""
    prefetch: str
    poll: str
    schedules: str
    """Who keeps a task that is due later, and how it finds out that it is."""
    results: str
    poll_s: float
    """The longest pause between two looks of an idle worker; 0 if it is woken."""
    calls_path: str
    """``module:function`` that returns its `Calls`."""
    calls_arguments: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables that its workers need besides those of `settings`."""
    imports: tuple[str, ...] = ()
    """Modules that must be there; see `availability`."""
    servers: tuple[str, ...] = ()
    """Of "redis", "rabbitmq", "postgresql": what it needs beside the ledger's Redis."""
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Scenarios that the library has nothing for, and why."""
    beside: tuple[tuple[str, ...], ...] = ()
    """Processes that its schedules need beside the workers, like `workers`.

    They run in the scenario "periodic" alone.
    """
    recovery: str = ""
    """The settings that the scenarios `recovery` shorten, and what they are else."""
    returns: str = ""
    """What of a killed worker's tasks comes back too late for `recovery`, and when.

    With at most once these are tasks that had not started, with at least once all.
    """
    fills_in_bulk: bool = False
    """A queue that is drained is filled by `Calls.record_many`."""
    hoarded: int = 0
    """How many tasks workers may have taken that wait behind others, with slots free
    elsewhere; so many more gates it takes to be sure that each slot has one."""
    control_of: str = ""
    """The name of the contender that this is once more, for the A/A control."""

    @property
    def name(self) -> str:
        """The name, unique within a profile: library and lane."""
        return f"{self.library}-{self.lane}" + "-again" * bool(self.control_of)

    def calls(self) -> Calls:
        """Import the library, which must be installed, and return its calls."""
        module, _, function = self.calls_path.partition(":")
        load = cast("Callable[..., Calls]", getattr(import_module(module), function))
        return load(*self.calls_arguments)

    def describe(self) -> dict[str, Any]:
        """Return the description, as it is stored with every measurement."""
        return {"name": self.name, **asdict(self)}
