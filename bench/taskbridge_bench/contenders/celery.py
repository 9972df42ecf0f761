"""Celery 5.7 on Redis and on RabbitMQ.

defaults  celery -A APP worker: as many processes as cores, acknowledges before a
          task runs, prefetches 4 messages for each process
equal     the same with 2 processes and --prefetch-multiplier 1
          "celery_late" acknowledges after a task ran, and when its process was lost:
          the settings that Celery offers for at least once

In recovery visibility_timeout is 5 s on Redis. In the native lane a worker looks every
second for what is overdue (unacked_restore_interval and unacked_restore_throttle of
kombu 5.7), not every 100 s; TaskBridge has no option for that.
"""

import os
from dataclasses import replace
from typing import Any

from .model import RECOVERY_S, SLOTS, Contender, Guarantee, Lane, Profile
from .taskbridge import CHUNK, durable, lanes

_APPS = {
    "celery": "taskbridge_bench.native.celery_app",
    "celery_rabbitmq": "taskbridge_bench.native.celery_rabbitmq_app",
}
_BROKERS: dict[str, dict[str, Any]] = {
    "celery": {
        "broker": "Redis",
        "poll": "none: woken by BRPOP",
        "poll_s": 0,
        "imports": ("celery",),
        "servers": ("redis",),
    },
    "celery_rabbitmq": {
        "broker": "RabbitMQ",
        "poll": "none: the broker pushes",
        "poll_s": 0,
        "imports": ("celery",),
        "servers": ("rabbitmq",),
    },
}
_PREFETCHED = {
    "celery": "one that was prefetched and did not start comes again after "
    "visibility_timeout = 3600 s",
    "celery_rabbitmq": "one that was prefetched and did not start comes again at once",
}
_VISIBLE = f"is {RECOVERY_S} s, not 3600 s"
_RECOVERY = {
    "celery": f"visibility_timeout {_VISIBLE}; unacked_restore_interval and "
    "unacked_restore_throttle are 1, so that a worker looks every 1 s, not every 100 s",
    "celery_rabbitmq": "",
}
_BRIDGED: dict[str, dict[str, str]] = {
    "celery": {
        "recovery": f"VISIBILITY_TIMEOUT {_VISIBLE}",
        "returns": "one that was prefetched and did not start comes again, up to 100 s "
        "after VISIBILITY_TIMEOUT: there is no option for how often a worker looks",
    },
    "celery_rabbitmq": {},
}
_ETA = "the worker's memory, woken when it is due (eta)"
_NATIVE: dict[str, Any] = {
    "lane": Lane.NATIVE,
    "enqueue": "task.delay(...); a RabbitMQ would not confirm it (the default)",
    "schedules": _ETA,
    "results": "none: no result backend is set",
}


def _native(library: str, profile: Profile) -> Contender:
    return Contender(
        library=library,
        profile=profile,
        guarantee=Guarantee.AT_MOST_ONCE,
        workers=(_worker(_APPS[library], profile),),
        slots=SLOTS if profile is Profile.EQUAL else os.cpu_count() or 1,
        acknowledges=f"before it runs (Celery's default); {_PREFETCHED[library]}",
        prefetch=_prefetch(profile),
        recovery=_RECOVERY[library],
        calls_path=f"taskbridge_bench.native.celery_calls:{library}",
        beside=(_beat(_APPS[library]),),
        **_NATIVE,
        **_BROKERS[library],
    )


def _late() -> Contender:
    return Contender(
        library="celery_late",
        profile=Profile.EQUAL,
        guarantee=Guarantee.AT_LEAST_ONCE,
        workers=(_worker(_APPS["celery"], Profile.EQUAL),),
        slots=SLOTS,
        acknowledges="after it ran (task_acks_late, task_reject_on_worker_lost); an "
        "unacknowledged message comes again after visibility_timeout = 3600 s",
        prefetch=_prefetch(Profile.EQUAL),
        recovery=_RECOVERY["celery"],
        calls_path="taskbridge_bench.native.celery_calls:celery",
        environ={"TASKBRIDGE_BENCH_CELERY_LATE": "1"},
        beside=(_beat(_APPS["celery"]),),
        **_NATIVE,
        **_BROKERS["celery"],
    )


def _worker(app: str, profile: Profile) -> tuple[str, ...]:
    equal = f" --concurrency {SLOTS} --prefetch-multiplier 1"
    return tuple(
        f"-m celery -A {app} worker{equal * (profile is Profile.EQUAL)}".split()
    )


def _beat(app: str) -> tuple[str, ...]:
    return tuple(f"-m celery -A {app} beat".split())


def _prefetch(profile: Profile) -> str:
    return "1 for each slot" if profile is Profile.EQUAL else "4 for each slot"


def _taskbridge(library: str, profile: Profile) -> tuple[Contender, ...]:
    facts = dict(_BROKERS[library])
    if library == "celery_rabbitmq":
        facts["broker"] = "RabbitMQ; it confirms each message"
    return lanes(
        library,
        profile,
        guarantee=Guarantee.AT_MOST_ONCE,
        acknowledges="before it runs",
        schedules=_ETA,
        prefetch=_prefetch(Profile.EQUAL),
        **_BRIDGED[library],
        **facts,
    )


def _chunk() -> Contender:
    contender = durable(
        "celery_chunk",
        "chunk_celery",
        Profile.EQUAL,
        prefetch=f"1 message of up to CHUNK = {CHUNK} tasks for each slot",
        fills_in_bulk=True,
        **_BROKERS["celery"],
    )
    alone = "as celery-durable: what is enqueued alone travels alone"
    singles = ("pickup", "saturation", "latency", "mixed", "schedule", "retries")
    return replace(
        contender, cannot={**contender.cannot, **dict.fromkeys(singles, alone)}
    )


CONTENDERS: tuple[Contender, ...] = (
    *(
        contender
        for library in _BROKERS
        for profile in Profile
        for contender in (_native(library, profile), *_taskbridge(library, profile))
    ),
    _late(),
    _chunk(),
)
