"""The jobs of `rq cron`, from the variable that says which schedule is wanted."""

import os

from rq import cron

from taskbridge_bench import work

if schedule := os.environ.get("TASKBRIDGE_BENCH_PERIODIC"):
    round_id, seconds = schedule.split()
    cron.register(
        work.tick,
        queue_name="default",
        args=(round_id,),
        interval=int(float(seconds)),  # whole seconds
    )
