"""Dramatiq 2.2.1 on Redis.

defaults  dramatiq MODULE: as many processes as cores, 8 threads each (cli.py)
equal     --processes 2 --threads 1

A message stays in the set of its process until it ran (brokers/redis/dispatch.lua). If
the process is killed, the message returns to the queue when its last heartbeat is 60 s
old and a command of another broker does "maintenance", one in 1,000 by chance
(brokers/redis.py): two idle processes do one in six minutes on average. The other
processes of the command end too: cli.py ends all when one ends unasked. It is not asked
about recovery, because of what it prefetches; see "recovery" below.

A consumer that finds nothing, or may prefetch no more, sleeps: 5 to 10 ms first, each
time twice as long, 0.5 to 1 s at last (brokers/redis.py, common.py, compute_backoff).
"""

import os

from .model import SLOTS, Contender, Guarantee, Lane, Profile

_THREADS = 8
_HOARDS = "a process holds tasks that wait behind gates; the scenario cannot tell them"
_CANNOT = {
    "recovery": _HOARDS,
    "enqueue-bulk": "group.run() enqueues one message after the other",
    "periodic": "it has no scheduler; its documentation advises APScheduler or others",
}


def _native(profile: Profile) -> Contender:
    equal = profile is Profile.EQUAL
    processes = SLOTS if equal else os.cpu_count() or 1
    threads = 1 if equal else _THREADS
    worker = "-m dramatiq taskbridge_bench.native.dramatiq_worker --skip-logging"
    worker += f" --processes {processes} --threads {threads}" * equal
    return Contender(
        library="dramatiq",
        lane=Lane.NATIVE,
        profile=profile,
        guarantee=Guarantee.AT_LEAST_ONCE,
        broker="Redis",
        enqueue="actor.send(...)",
        workers=(tuple(worker.split()),),
        slots=processes * threads,
        hoarded=processes * threads,
        acknowledges="after it ran; handed out again when the process has been silent "
        "for 60 s, by a maintenance that 1 command in 1,000 does",
        prefetch="2 for each thread of a process, running ones included (the default)",
        poll="1 s at most, from 5 ms on twice as long after each look (the default); "
        "also while a process holds all that it may prefetch",
        poll_s=1,
        schedules="the memory of a worker, which looks at most 1 s apart, and then "
        "enqueues it; at most 7 days ahead",
        results="none: no result backend is set",
        calls_path="taskbridge_bench.native.dramatiq_calls:calls",
        imports=("dramatiq",),
        servers=("redis",),
        cannot=_CANNOT,
    )


CONTENDERS: tuple[Contender, ...] = tuple(_native(profile) for profile in Profile)
