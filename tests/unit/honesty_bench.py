"""Runs the benchmark, as it is, over `tiny_queue`: ``python -m ... DIRECTORY``."""

import sys
import time
from dataclasses import replace
from pathlib import Path

from taskbridge_bench import turn
from taskbridge_bench.commands.run import measure
from taskbridge_bench.contenders import Lane
from taskbridge_bench.head import Head, machine, versions
from taskbridge_bench.interrupts import Interrupts
from taskbridge_bench.plan import Plan, Selection, make_plan
from taskbridge_bench.scenarios import schedule
from taskbridge_bench.servers import open_servers
from taskbridge_bench.stage import open_stage
from taskbridge_bench.storage import Storage

from .tiny_queue import contender

SEED = 1
DRAINING = (
    contender("tiny"),
    contender("tiny", lane=Lane.BRIDGE),
    contender("tiny", "slow", Lane.DURABLE),
    contender("tiny_drop", "drop"),
    contender("tiny_twice", "twice"),
)
SCHEDULING = (
    contender("tiny"),
    contender("tiny_early", "early"),
    contender("tiny_hasty", "hasty"),
)


def make() -> Plan:
    draining = make_plan(
        "full", SEED, Selection(scenarios=["drain-200"]), contenders=DRAINING
    )
    scheduling = make_plan(
        "full", SEED, Selection(scenarios=["schedule"]), contenders=SCHEDULING
    )
    blocks = [replace(block, window_s=4) for block in draining.blocks]
    return replace(draining, blocks=(*blocks, *scheduling.blocks))


def hurry() -> None:
    """Let scenarios that wait most of the time take seconds."""
    turn.GRACE_S = 3
    schedule.LEADS_S.update(late_1s=1.0, late_5s=1.5, late_30s=3.0)
    schedule.BURST, schedule.TASKS = 20, 5
    schedule.BURST_CALLS_S, schedule.BURST_DUE_S = 1.2, 2.5


def main(directory: Path) -> None:
    hurry()
    contenders = list({each.name: each for each in (*DRAINING, *SCHEDULING)}.values())
    with (
        Interrupts() as interrupts,
        open_servers("sqlite", {"redis"}) as servers,
        open_stage(interrupts, servers, contenders) as stage,
    ):
        head = Head(
            run="honesty",
            mode="full",
            seed=SEED,
            database="sqlite",
            options={"json": str(directory / "document.json")},
            left_out={},
            machine=machine(),
            versions=versions(),
        )
        measure(
            head,
            make(),
            stage,
            Storage(directory),
            interrupts,
            started=time.monotonic(),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
