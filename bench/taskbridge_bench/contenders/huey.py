"""Huey 3.5.4 on Redis, by its own integration with Django.

defaults  run_huey as its documentation starts: one thread (consumer_options.py,
          config_defaults), results kept, though not those that are None
equal     --worker-type process --workers 2, no results

A worker takes a task off the list by BRPOP (storage.py, RedisStorage.dequeue) before it
runs it: a killed worker loses it. The consumer looks for dead workers every 10 s and
starts others (consumer.py, check_worker_health). --delay, --max-delay and --backoff
matter only where the storage does not block, or after an error of Redis.
"""

import json

from .model import SLOTS, Contender, Guarantee, Lane, Profile

_APPS = ("huey.contrib.djhuey", "taskbridge_bench.native.huey_app")
_CANNOT = {
    "enqueue-bulk": "map() and groups enqueue one task after the other",
    "retries-listed": "retry_delay and retry_backoff say a gap that stays or grows; "
    "RetryTask(delay=) counts no attempts",
    "periodic": "its scheduler looks for periodic tasks every 60 s, and crontab() has "
    "minutes",
}


def _native(profile: Profile) -> Contender:
    equal = profile is Profile.EQUAL
    worker = "-m django run_huey --quiet"
    worker += f" --worker-type process --workers {SLOTS}" * equal
    return Contender(
        library="huey",
        lane=Lane.NATIVE,
        profile=profile,
        guarantee=Guarantee.AT_MOST_ONCE,
        broker="Redis",
        enqueue="task(...)",
        workers=(tuple(worker.split()),),
        slots=SLOTS if equal else 1,
        acknowledges="taken off the list before it runs",
        prefetch="none",
        poll="none: woken by BRPOP",
        poll_s=0,
        schedules="a sorted set, to which a worker moves it; the consumer's scheduler "
        "looks at it every 1 s",
        results="none: results=False" if equal else "kept, except None (the default)",
        calls_path="taskbridge_bench.native.huey_calls:calls",
        calls_arguments=(profile,),
        environ={
            "TASKBRIDGE_BENCH_APPS": json.dumps(_APPS),
            "TASKBRIDGE_BENCH_PROFILE": profile,
        },
        imports=("huey",),
        servers=("redis",),
        cannot=_CANNOT,
    )


CONTENDERS: tuple[Contender, ...] = tuple(_native(profile) for profile in Profile)
