"""A made-up run of the benchmark: all scenarios, two profiles, failures, a control."""

import random
from functools import cache
from typing import Any

from hdrh.histogram import HdrHistogram

AT_LEAST, AT_MOST = "at least once", "at most once"
EVIL = "</script><img src=x onerror=alert(1)>|*evil*"

CONTENDERS = {
    # name: slowness, guarantee, broker
    "celery-native": (1.0, AT_MOST, "Redis"),
    "celery-bridge": (0.8, AT_MOST, "Redis"),
    "celery-durable": (1.9, AT_LEAST, "Redis"),
    "celery_late-native": (1.25, AT_LEAST, "Redis"),
    "django_q-native": (1.5, AT_MOST, "Redis"),
    "django_q-durable": (2.2, AT_LEAST, "Redis"),
    "background_tasks-native": (60.0, AT_LEAST, "the database"),
    "background_tasks-bridge": (4.0, AT_LEAST, "the database"),
    "background_tasks-durable": (4.4, AT_LEAST, "the database"),
    "huey-native": (0.3, AT_MOST, "Redis"),
    "rq-native": (1.28, AT_LEAST, "Redis"),
    "dramatiq-native": (1.26, AT_LEAST, "Redis"),
    "procrastinate-native": (2.8, AT_LEAST, "the database (PostgreSQL)"),
    "django_tasks_db-native": (3.1, AT_LEAST, "the database"),
}
SCENARIOS: dict[str, dict[str, float]] = {
    "enqueue": {"call": 600},
    "enqueue-bulk": {"call": 60},
    "drain-200": {"rate": 2100},
    "drain-2000": {"rate": 2400},
    "drain-20000": {"rate": 2300},
    "saturation": {"rate": 2000},
    "pickup": {"pickup": 3},
    **{
        f"latency-{load}": {"p50": 2 + load / 30, "p95": 9, "p99": 20, "p999": 70}
        for load in (30, 60, 90)
    },
    "retries": {"gap_error": 40},
    "schedule": {"late_1s": 30, "late_5s": 35, "late_30s": 33, "late_burst": 400},
    "periodic": {"drift": 25, "missed": 0, "doubled": 0},
    **{
        f"recovery-{fault}": {"rerun": 4, "lost": 0, "duplicated": 0}
        for fault in ("process", "worker", "flush", "restart")
    },
    "mixed": {"short_wait": 90},
    "cost": {"cpu": 0.8, "memory": 120, "idle_cpu": 0.7},
    "queries": {
        "idle_queries": 0.4,
        "enqueue_queries": 1,
        "worker_queries": 3,
    },
}
TURNS = 5
LIBRARIES = sorted({name.rpartition("-")[0] for name in CONTENDERS})


def described(name: str, profile: str, control_of: str = "") -> dict[str, Any]:
    library, _, lane = name.rpartition("-")
    _, guarantee, broker = CONTENDERS[name]
    return {
        "name": name + "-again" * bool(control_of),
        "library": library,
        "lane": lane,
        "profile": profile,
        "guarantee": guarantee,
        "broker": broker,
        "enqueue": "task.delay(...)",
        "workers": [["-m", "celery", "-A", "app", "worker"]],
        "slots": 2 if profile == "equal" else 8,
        "acknowledges": "before it runs" if guarantee == AT_MOST else "after it ran",
        "prefetch": "1 for each slot",
        "poll": "none: woken by BRPOP",
        "servers": {"Redis": ["redis"], "the database": []}.get(broker, ["postgresql"]),
        "cannot": {"periodic": "It has no cron."} if library == "rq" else {},
        "control_of": control_of,
    }


def turn(
    scenario: str, profile: str, number: int, contender: dict[str, Any], shift: float
) -> dict[str, Any]:
    draw = random.Random(f"{scenario} {profile} {number} {contender['name']}")
    slowness = CONTENDERS[contender["control_of"] or contender["name"]][0] * shift
    loses = scenario.startswith("recovery") and contender["guarantee"] == AT_MOST
    samples = {}
    for metric, base in SCENARIOS[scenario].items():
        centre = base / slowness if metric == "rate" else base * slowness
        samples[metric] = [centre * draw.lognormvariate(0, 0.06) for _ in range(4)]
        if metric in {"lost", "duplicated", "missed", "doubled"}:
            samples[metric] = [float(loses and metric == "lost")] * 4
        if metric == "rerun" and loses:
            samples[metric] = [float("nan")] * 4
    extra: dict[str, Any] = {}
    if scenario.startswith("latency"):
        extra["histogram"] = histogram(draw, 2000 * slowness).decode()
    if scenario == "retries":
        extra["facts"] = {"attempts": "exact", "fixed: asked s": 2, "observed s": 2.03}
    return {
        "extra_info": {
            "scenario": scenario,
            "profile": profile,
            "work": "noop",
            "database": "sqlite",
            "turn": number,
            "contender": contender,
            "samples": samples,
            **extra,
        }
    }


def histogram(draw: random.Random, centre: float) -> bytes:
    found = HdrHistogram(1, 3_600_000_000, 3)
    for _ in range(1500):
        found.record_value(int(centre * draw.lognormvariate(0, 0.7)))
    return found.encode()


@cache
def document(*, noisy: bool = False, scenarios: tuple[str, ...] = ()) -> dict[str, Any]:
    failures = [
        {
            "scenario": "drain-20000",
            "profile": "equal",
            "contender": "background_tasks-native",
            "reason": f"Deadline: 60 s are over. {EVIL}",
        },
    ]
    turns = [
        turn(scenario, profile, number, described(name, profile), 1 + 0.1 * slow)
        for scenario in scenarios or SCENARIOS
        for slow, profile in enumerate(("equal", "defaults"))
        for name, (_, guarantee, _) in CONTENDERS.items()
        for number in range(1, TURNS + 1)
        if not (scenario == "periodic" and name == "rq-native")
        if not (profile == "defaults" and name == "celery_late-native")
    ]
    again = described("celery-native", "equal", "celery-native")
    turns += [
        turn("enqueue", "equal", number, again, 1.4 if noisy else 1.0)
        for number in range(1, TURNS + 1)
    ]
    return {
        "benchmarks": turns,
        "machine_info": {
            "system": "Linux",
            "release": "6.1.0",
            "machine": "x86_64",
            "python_version": "3.11.7",
            "cpu": {"brand_raw": "Some CPU @ 2.10GHz", "count": 2},
        },
        "commit_info": {"id": "4f80ee0", "dirty": True},
        "taskbridge": {
            "mode": "full",
            "seed": 7,
            "load_before": 0.53,
            "total_s": 4123.4,
            "interrupted": False,
            "database": "sqlite",
            "left_out": {"celery_rabbitmq": f"No RabbitMQ here. {EVIL}"},
            "versions": {"celery": "5.7.0", "Django": "5.2.19", "redis": "8.1.0"},
            "failures": failures,
        },
    }
