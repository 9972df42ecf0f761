"""Cost: the processor time and the memory of a worker, busy and idle.

Counted are all processes of the worker: those with the mark of this run in their
environment, so also what a supervisor or a pool has started. Processor time is user
plus system, with what children used that have ended and were waited for. It is read
just before the gates open, and SETTLE_S after the last task has ended and its record is
written, since some libraries acknowledge, delete and store results behind the tasks.
What is spent on fetching ahead while the queue is filled is not in it. The kernel
counts in ticks of 10 ms for each process, so a difference of a few percent is none.

Memory is the sum of the proportional set sizes (PSS) of all processes: a page that n
processes share counts as 1/n in each, so a pool of forked processes is not charged for
the interpreter once more with each. It is read after each round, and the largest counts
(USS, which leaves out what is shared, where a system has no PSS).

Idle is a worker that has just run everything: its processor time over IDLE_S, or over
two of its polls, read from the scheduler's own count in nanoseconds.

The servers that this run has started are told in the facts, in the same way, and so is
what enqueuing took in the measuring process.
"""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from taskbridge_bench.processes import (
    MEMORY,
    cpu_s,
    idle_cpu_s,
    memory_mb,
    servers_cpu_s,
)
from taskbridge_bench.records import Records
from taskbridge_bench.turn import Turn

from .drain import fill

TASKS = 1_000
WARM_UP = 50
ROUND_S = 3.0
"""A slow worker has as few tasks as it runs in this time, but not below WARM_UP."""
IDLE_S = 5.0
SETTLE_S = 0.5
"""After the last task; then what a library does behind it has been done."""
LIMIT_S = 60.0
WORTH_TELLING_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What it took to empty the queue once; all in seconds."""

    seconds: float
    cpu_s: float
    """Of the worker."""
    enqueue_cpu_s: float
    servers_cpu_s: Mapping[str, float]
    """By the name of their program."""


def cost(turn: Turn) -> None:
    """Drain rounds, and read what the kernel says about the processes."""
    turn.warm_up()
    processes = turn.stage.workers.processes
    tasks = tasks_for(WARM_UP / _drain(turn, WARM_UP).seconds)
    rounds, memory = [], []
    for _ in range(turn.block.rounds):
        rounds.append(_drain(turn, tasks))
        memory.append(memory_mb(processes()))
    idle_s = max(IDLE_S, 2 * turn.contender.poll_s)
    before = idle_cpu_s(processes())
    time.sleep(idle_s)
    idle_percent = 100 * (idle_cpu_s(processes()) - before) / idle_s
    turn.save(
        [each.seconds for each in rounds],
        samples={
            "cpu": [per_thousand(each.cpu_s, tasks) for each in rounds],
            "memory": [max(memory)],
            "idle_cpu": [idle_percent],
        },
        facts={
            "tasks": tasks,
            "processes": len(processes()),
            "memory is": "the sum of " + MEMORY,
            **facts_of(rounds, tasks),
        },
    )


def tasks_for(rate: float) -> int:
    """Return how many tasks a round has if so many are done per second."""
    return max(WARM_UP, min(int(rate * ROUND_S), TASKS))


def per_thousand(seconds: float, tasks: int) -> float:
    """Return what 1,000 tasks take if so many take so long."""
    return seconds * 1_000 / tasks


def facts_of(rounds: Collection[Drained], tasks: int) -> dict[str, str]:
    """Return what 1,000 tasks cost elsewhere: where they are enqueued, in servers."""
    done = tasks * len(rounds)
    elsewhere = Counter({"enqueuing": sum(each.enqueue_cpu_s for each in rounds)})
    for each in rounds:
        elsewhere.update(each.servers_cpu_s)
    return {
        f"{name}, CPU s per 1,000": f"{per_thousand(seconds, done):.2f}"
        for name, seconds in elsewhere.items()
        if per_thousand(seconds, done) >= WORTH_TELLING_S
    }


def _drain(turn: Turn, tasks: int) -> Drained:
    processes, ledger = turn.stage.workers.processes, turn.ledger
    records = Records(turn.calls, turn.stage)
    gates = turn.hold_slots()
    round_ = ledger.new_round(tasks)
    enqueuing = time.process_time()
    fill(turn, round_)
    enqueuing = time.process_time() - enqueuing
    worker, servers = cpu_s(processes()), servers_cpu_s(processes())
    opened = time.monotonic()
    ledger.release(gates)
    ledger.wait(round_, LIMIT_S)
    ledger.judge(round_)
    records.judge(gates.total + tasks)
    time.sleep(SETTLE_S)
    return Drained(
        seconds=ledger.runs(round_)[-1].ended - opened,
        cpu_s=cpu_s(processes()) - worker,
        enqueue_cpu_s=enqueuing,
        servers_cpu_s=servers_cpu_s(processes()) - servers,
    )
