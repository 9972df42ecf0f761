"""Who is compared: a library, its broker, and the lane in which it is used."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from importlib import import_module
from typing import Any, cast

SLOTS = 2
"""How many tasks every contender's worker can run at once."""

CELERY_APP = "taskbridge_bench.native.celery_app"
CELERY_RABBITMQ_APP = "taskbridge_bench.native.celery_rabbitmq_app"
LEASE_S = 30
"""Of durable delivery, its default."""

Enqueue = Callable[[str, int, int], object]
"""Enqueues a task with (round id, key, total); see `work`."""
EnqueueAt = Callable[[datetime, str, int, int], object]
"""The same for a task that is due later; the time is aware."""


class Lane(StrEnum):
    """How a library is used."""

    NATIVE = "native"
    """By its own public API and commands, as its documentation says."""
    BRIDGE = "bridge"
    """Through TaskBridge, in native delivery."""
    DURABLE = "durable"
    """Through TaskBridge, in durable delivery, its default: a record of each task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How a contender enqueues and purges, in the measuring process."""

    record: Enqueue
    """Enqueue `work.record`."""
    hold: Enqueue
    """Enqueue `work.hold`."""
    record_at: EnqueueAt
    """Enqueue `work.record` for later, by the library's own scheduler."""
    purge: Callable[[], object]
    """Drop what waits in the queue, and the records of durable delivery."""
    records: Callable[[], Mapping[str, int]] | None = None
    """Count the records of each status; None: this lane keeps none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What is measured, in enough words to do it again by hand."""

    library: str
    lane: Lane
    broker: str
    enqueue: str
    """The statement that is timed."""
    workers: tuple[tuple[str, ...], ...]
    """The arguments of ``python`` for each process that is started."""
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

    @property
    def name(self) -> str:
        """The unique name: library and lane."""
        return f"{self.library}-{self.lane}"

    def calls(self) -> Calls:
        """Import the library, which must be installed, and return its calls."""
        module, _, function = self.calls_path.partition(":")
        load = cast("Callable[..., Calls]", getattr(import_module(module), function))
        return load(*self.calls_arguments)

    def describe(self) -> dict[str, Any]:
        """Return the description, as it is stored with every measurement."""
        return {"name": self.name, "slots": SLOTS, **asdict(self)}


def _taskbridge(
    library: str, *, acknowledges: str, schedules: str, **facts: Any
) -> tuple[Contender, Contender]:
    """Return the two lanes through TaskBridge, which differ in DELIVERY alone."""

    def lane(lane: Lane, alias: str, **facts: Any) -> Contender:
        worker = f"-m django taskbridge worker --backend {alias} --concurrency {SLOTS}"
        return Contender(
            library=library,
            lane=lane,
            enqueue="task.enqueue(...)",
            workers=((*worker.split(), "--graceful-timeout", "5"),),
            calls_path=f"taskbridge_bench.bridge.calls:{lane}",
            calls_arguments=(alias,),
            **facts,
        )

    return (
        lane(
            Lane.BRIDGE,
            library,
            acknowledges=acknowledges,
            schedules=schedules,
            results="none",
            **facts,
        ),
        lane(
            Lane.DURABLE,
            f"durable_{library}",
            acknowledges=(
                "the record, after it ran; a lost attempt is followed by another "
                f"after LEASE = {LEASE_S} s"
            ),
            schedules="the record; a dispatcher sleeps until it is due, 0.5 s at most",
            results="a record of each task",
            **facts,
        ),
    )


def _native(library: str, workers: list[str], **facts: Any) -> Contender:
    return Contender(
        library=library,
        lane=Lane.NATIVE,
        workers=tuple(tuple(worker.split()) for worker in workers),
        calls_path=f"taskbridge_bench.native.calls:{library}",
        **facts,
    )


_ETA = "the worker's memory, woken when it is due (eta)"
_SCHEDULE = "a Schedule row, looked at every 30 s"
_RUN_AT = "a row, seen by the next poll"

CONTENDERS: tuple[Contender, ...] = (
    _native(
        "celery",
        [f"-m celery -A {CELERY_APP} worker --concurrency {SLOTS}"],
        broker="Redis",
        enqueue="task.delay(...)",
        acknowledges="before it runs (Celery's default)",
        prefetch=f"4 for each slot ({4 * SLOTS})",
        poll="none: woken by BRPOP",
        schedules=_ETA,
        poll_s=0,
        results="none: no result backend is set",
    ),
    *_taskbridge(
        "celery",
        broker="Redis",
        acknowledges="before it runs",
        prefetch=f"1 for each slot ({SLOTS})",
        poll="none: woken by BRPOP",
        schedules=_ETA,
        poll_s=0,
    ),
    _native(
        "celery_rabbitmq",
        [f"-m celery -A {CELERY_RABBITMQ_APP} worker --concurrency {SLOTS}"],
        broker="RabbitMQ",
        enqueue="task.delay(...); not confirmed by the broker (Celery's default)",
        acknowledges="before it runs (Celery's default)",
        prefetch=f"4 for each slot ({4 * SLOTS})",
        poll="none: the broker pushes",
        schedules=_ETA,
        poll_s=0,
        results="none: no result backend is set",
    ),
    *_taskbridge(
        "celery_rabbitmq",
        broker="RabbitMQ; it confirms each message",
        acknowledges="before it runs",
        prefetch=f"1 for each slot ({SLOTS})",
        poll="none: the broker pushes",
        schedules=_ETA,
        poll_s=0,
    ),
    _native(
        "django_q",
        ["-m django qcluster"],
        broker="Redis",
        enqueue="async_task(function, ...)",
        acknowledges="taken off the list before it runs",
        prefetch=f"queue_limit {SLOTS**2} (workers squared, the default)",
        poll="none: woken by BLPOP",
        schedules=_SCHEDULE,
        poll_s=0,
        results="none: save_limit -1",
    ),
    *_taskbridge(
        "django_q",
        broker="Redis",
        acknowledges="taken off the list before it runs",
        prefetch=f"queue_limit {SLOTS}",
        poll="none: woken by BLPOP",
        schedules=_SCHEDULE,
        poll_s=0,
    ),
    _native(
        "django_q_orm",
        ["-m django qcluster"],
        broker="the database (ORM)",
        enqueue="async_task(function, ...)",
        acknowledges="after it ran; handed out again after retry = 120 s",
        prefetch=f"queue_limit {SLOTS**2} (workers squared, the default), bulk 1",
        poll="0.2 s (the default)",
        schedules=_SCHEDULE,
        poll_s=0.2,
        results="none: save_limit -1",
        environ={"TASKBRIDGE_BENCH_Q_ORM": "1"},
    ),
    *_taskbridge(
        "django_q_orm",
        broker="the database (ORM)",
        acknowledges="after it ran; handed out again after RETRY = 3600 s",
        prefetch=f"queue_limit {SLOTS}, bulk 1",
        poll="0.2 s",
        schedules="a row that is locked until then",
        poll_s=0.2,
    ),
    _native(
        "background_tasks",
        ["-m django process_tasks"] * SLOTS,
        broker="the database",
        enqueue="background_function(...)",
        acknowledges="after it ran; handed out again after MAX_RUN_TIME = 3600 s",
        prefetch="none",
        poll="5 s (the default); 0-0.1 s, random, between two tasks",
        schedules=_RUN_AT,
        poll_s=5,
        results="a CompletedTask row each; it has no switch",
    ),
    *_taskbridge(
        "background_tasks",
        broker="the database",
        acknowledges="after it ran; handed out again after MAX_RUN_TIME = 3600 s",
        prefetch="none claimed; rows are read 50 ahead for each slot",
        poll="0.2 s",
        schedules=_RUN_AT,
        poll_s=0.2,
    ),
)


def contenders_of(library: str) -> tuple[Contender, ...]:
    """Return the lanes of a library, native first."""
    return tuple(c for c in CONTENDERS if c.library == library)


LIBRARIES: tuple[str, ...] = tuple(dict.fromkeys(c.library for c in CONTENDERS))
