"""Procrastinate 3.10 on PostgreSQL, by its own integration with Django.

defaults  one `procrastinate worker`: one job at once, finished jobs are kept
equal     two of them, for a process each; --delete-jobs successful

Enqueuing uses Django's connection; a worker has a pool of its own, of asyncio, and runs
a task that is not async in a thread. It is woken by LISTEN/NOTIFY when a job is new; a
job that becomes due, also that of a retry, waits for its look every 5 s (worker.py).

A job of a killed worker keeps the status `doing`: nothing looks for it, unless the
project has a task of its own that calls get_stalled_jobs (manager.py, documented under
"Retry stalled jobs").
"""

import json

from .model import NO_BROKER, SLOTS, Contender, Guarantee, Lane, Profile

_APPS = ("procrastinate.contrib.django",)


def _native(profile: Profile) -> Contender:
    equal = profile is Profile.EQUAL
    slots = SLOTS if equal else 1
    worker = "-m django procrastinate worker"
    worker += " --concurrency 1 --delete-jobs successful" * equal
    return Contender(
        library="procrastinate",
        lane=Lane.NATIVE,
        profile=profile,
        guarantee=Guarantee.AT_MOST_ONCE,
        broker="the database (PostgreSQL)",
        enqueue="task.defer(...)",
        workers=(tuple(worker.split()),) * slots,
        slots=slots,
        acknowledges="when it starts: what a killed worker ran stays `doing` for ever",
        prefetch="none",
        poll="none: woken by LISTEN/NOTIFY, and a look every 5 s (the default)",
        poll_s=0,
        schedules="its row, seen by the look every 5 s",
        results="none; the jobs are deleted" if equal else "none; the jobs are kept",
        calls_path="taskbridge_bench.native.procrastinate_calls:calls",
        environ={"TASKBRIDGE_BENCH_APPS": json.dumps(_APPS)},
        imports=("procrastinate", "psycopg"),
        servers=("postgresql",),
        cannot=NO_BROKER,
    )


CONTENDERS: tuple[Contender, ...] = tuple(_native(profile) for profile in Profile)
