"""Django-Q2 1.11 on Redis and on its ORM broker.

defaults  qcluster as its documentation starts: as many workers as cores, a worker
          replaced after 500 tasks, results of success kept (save_limit 250)
equal     2 workers, none replaced, no results of success (save_limit -1)

In recovery the ORM broker's retry is 5 s, and the cluster's timeout 4 s: it ends tasks
that take longer, and its documentation asks that it be below retry. Tasks are younger
when the fault comes. RETRY of the bridge is 5 s as well; TaskBridge has no timeout.
"""

import os
from typing import Any

from .model import NO_BROKER, RECOVERY_S, SLOTS, Contender, Guarantee, Lane, Profile
from .taskbridge import lanes

_SCHEDULE = "a Schedule row, looked at every 30 s"
_BROKERS: dict[str, dict[str, Any]] = {
    "django_q": {
        "broker": "Redis",
        "guarantee": Guarantee.AT_MOST_ONCE,
        "poll": "none: woken by BLPOP",
        "poll_s": 0,
        "imports": ("django_q",),
        "servers": ("redis",),
    },
    "django_q_orm": {
        "broker": "the database (ORM)",
        "guarantee": Guarantee.AT_LEAST_ONCE,
        "poll": "0.2 s (the default)",
        "poll_s": 0.2,
        "imports": ("django_q",),
    },
}
_ACKNOWLEDGES = {
    "django_q": "taken off the list before it runs",
    "django_q_orm": "after it ran; handed out again after retry = 120 s",
}
_CANNOT = {
    "retries": "it has no delay or number of attempts of its own for a task; a failed "
    "task on the ORM broker comes again after `retry` s",
    "periodic": "the shortest schedule is one minute",
}


def _native(library: str, profile: Profile) -> Contender:
    equal = profile is Profile.EQUAL
    slots = SLOTS if equal else os.cpu_count() or 1
    return Contender(
        library=library,
        lane=Lane.NATIVE,
        profile=profile,
        enqueue="async_task(function, ...)",
        workers=(("-m", "django", "qcluster"),),
        slots=slots,
        acknowledges=_ACKNOWLEDGES[library],
        prefetch=f"queue_limit {slots**2} (workers squared, the default)",
        schedules=_SCHEDULE,
        recovery=f"retry is {RECOVERY_S} s, not 120 s, and timeout {RECOVERY_S - 1} s, "
        "not 60 s"
        if library == "django_q_orm"
        else "",
        results="none: save_limit -1" if equal else "the last 250 (save_limit)",
        calls_path=f"taskbridge_bench.native.django_q_calls:{library}",
        environ={
            "TASKBRIDGE_BENCH_PROFILE": profile,
            "TASKBRIDGE_BENCH_Q_ORM": str(int(library == "django_q_orm")),
        },
        cannot=_CANNOT | (NO_BROKER if library == "django_q_orm" else {}),
        **_BROKERS[library],
    )


def _taskbridge(library: str, profile: Profile) -> tuple[Contender, ...]:
    orm = library == "django_q_orm"
    return lanes(
        library,
        profile,
        acknowledges=(
            "after it ran; handed out again after RETRY = 3600 s"
            if orm
            else _ACKNOWLEDGES[library]
        ),
        prefetch=f"queue_limit {SLOTS}" + "; rows are read ahead" * orm,
        schedules="a row that is locked until then" if orm else _SCHEDULE,
        recovery=f"RETRY is {RECOVERY_S} s, not 3600 s" * orm,
        **_BROKERS[library],
    )


CONTENDERS: tuple[Contender, ...] = tuple(
    contender
    for library in _BROKERS
    for profile in Profile
    for contender in (_native(library, profile), *_taskbridge(library, profile))
)
