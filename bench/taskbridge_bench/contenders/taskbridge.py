"""The lanes bridge and durable, which differ in DELIVERY alone."""

import os
from typing import Any

from .model import NO_BROKER, RECOVERY_S, SLOTS, Contender, Guarantee, Lane, Profile

LEASE_S = 30
"""Of durable delivery, its default."""
CHUNK = 100
"""OPTIONS["CHUNK"] of the contenders that have it in their name."""
USUAL_CONNECTIONS = {"TASKBRIDGE_BENCH_CONN_MAX_AGE": "0"}
"""Django's default, which its workers have to make the best of."""
_CANNOT: dict[Lane, dict[str, str]] = {
    Lane.BRIDGE: {
        "retries": "not measured: native delivery retries by the library's own "
        "scheduler; the lane durable shows TaskBridge's",
        "periodic": "TaskBridge has no periodic tasks yet",
    },
    Lane.DURABLE: {"periodic": "TaskBridge has no periodic tasks yet"},
}


def lanes(
    library: str,
    profile: Profile,
    *,
    guarantee: Guarantee,
    acknowledges: str,
    schedules: str,
    prefetch: str,
    recovery: str = "",
    returns: str = "",
    **facts: Any,
) -> tuple[Contender, Contender]:
    """Return the lanes bridge and durable of a library; the facts are of both.

    Args:
        library: also the alias in TASKS of bridge; durable's is "durable_<library>".
        profile: both profiles have the same settings; "equal" sets the slots.
        guarantee: of native delivery.
        acknowledges: in native delivery.
        prefetch: as in `Contender`; durable delivery joins what it takes.
        schedules: who keeps what is due later in native delivery.
        recovery: as in `Contender`, in native delivery.
        returns: as in `Contender`, in native delivery.
        facts: of `Contender`.
    """
    return (
        _lane(
            Lane.BRIDGE,
            library,
            library,
            profile,
            guarantee=guarantee,
            acknowledges=acknowledges,
            schedules=schedules,
            recovery=recovery,
            returns=returns,
            results="none",
            prefetch=prefetch,
            **facts,
        ),
        durable(library, f"durable_{library}", profile, prefetch=prefetch, **facts),
    )


def durable(
    library: str, alias: str, profile: Profile, *, prefetch: str, **facts: Any
) -> Contender:
    """Return the lane durable on the backend of an alias in TASKS."""
    return _lane(
        Lane.DURABLE,
        library,
        alias,
        profile,
        guarantee=Guarantee.AT_LEAST_ONCE,
        acknowledges=(
            "the record, after it ran; a lost attempt is followed by another "
            f"after LEASE = {LEASE_S} s"
        ),
        schedules="the record; a dispatcher sleeps until it is due, 0.5 s at most",
        results="a record of each task",
        recovery=f"LEASE and REDELIVER are {RECOVERY_S} s, not {LEASE_S} s",
        prefetch=f"{prefetch}; quick tasks that wait are joined into chunks",
        **facts,
    )


def _lane(
    lane: Lane, library: str, alias: str, profile: Profile, **facts: Any
) -> Contender:
    is_equal = profile is Profile.EQUAL
    worker = f"-m django taskbridge worker --backend {alias}"
    worker += f" --concurrency {SLOTS}" * is_equal
    return Contender(
        library=library,
        lane=lane,
        profile=profile,
        enqueue="task.enqueue(...)",
        workers=((*worker.split(), "--graceful-timeout", "5"),),
        slots=SLOTS if is_equal else os.cpu_count() or 1,
        calls_path=f"taskbridge_bench.bridge.calls:{lane}",
        calls_arguments=(alias,),
        environ=USUAL_CONNECTIONS,
        cannot=_CANNOT[lane] if facts.get("servers") else _CANNOT[lane] | NO_BROKER,
        **facts,
    )
