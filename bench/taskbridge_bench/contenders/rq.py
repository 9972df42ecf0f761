"""RQ 3.0.0 on Redis.

defaults  one `rq worker`, which forks a process for each job (worker_classes.py)
equal     two of them, and no results: --results-ttl 0

Its configuration sets Django up before the first fork, as its documentation advises
("Performance notes"); else each job would import it anew. --with-scheduler, a process
more for each worker, is there for delays and for spaced retries; one of them works.

Times of delays and retries are cut to whole seconds (registry.py, schedule), so a job
may come up to 1 s early.

A job moves by BLMOVE to an intermediate list, and then to the registry of started jobs.
If its process is killed, the worker marks it failed; if the worker is killed as well,
another's maintenance marks it failed, 10 minutes later at most (registry.py,
StartedJobRegistry.cleanup). No job runs again, unless it was enqueued with retries.
"""

from .model import SLOTS, Contender, Guarantee, Lane, Profile


def _native(profile: Profile) -> Contender:
    equal = profile is Profile.EQUAL
    slots = SLOTS if equal else 1
    worker = "-m rq.cli worker --config taskbridge_bench.native.rq_settings"
    worker += " --quiet --with-scheduler" + " --results-ttl 0" * equal
    cron = "-m rq.cli cron --config taskbridge_bench.native.rq_settings"
    cron += " --logging-level WARNING taskbridge_bench.native.rq_cron"
    return Contender(
        library="rq",
        lane=Lane.NATIVE,
        profile=profile,
        guarantee=Guarantee.AT_MOST_ONCE,
        broker="Redis",
        enqueue="queue.enqueue(function, ...)",
        workers=(tuple(worker.split()),) * slots,
        slots=slots,
        acknowledges="when it starts: what was started and not ended becomes a failed "
        "job, which is not run again",
        prefetch="none; a process is forked for each job",
        poll="none: woken by BLMOVE",
        poll_s=0,
        schedules="a sorted set, at which a worker's scheduler looks every 1 s; whole "
        "seconds, so up to 1 s early",
        results="none: --results-ttl 0" if equal else "kept for 500 s (the default)",
        calls_path="taskbridge_bench.native.rq_calls:calls",
        imports=("rq",),
        servers=("redis",),
        beside=(tuple(cron.split()),),
    )


CONTENDERS: tuple[Contender, ...] = tuple(_native(profile) for profile in Profile)
