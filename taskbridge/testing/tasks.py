"""The tasks of the contract; each writes to the ledger at the path it is given."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from taskbridge import TaskContext, task

from .ledger import Ledger


@task
def record(ledger: str, key: str) -> str:
    """Write that it ran."""
    Ledger(Path(ledger)).write(key, "ran")
    return key


@task
async def record_async(ledger: str, key: str) -> str:
    """Write that it ran, after having been suspended once."""
    await asyncio.sleep(0)
    Ledger(Path(ledger)).write(key, "ran")
    return key


@task(takes_context=True)
def record_context(context: TaskContext, ledger: str) -> None:
    """Write the id, the attempt and the queue that the context gives."""
    result = context.task_result
    key = f"{result.id} {context.attempt} {result.task.queue_name} {result.status}"
    Ledger(Path(ledger)).write(key, "ran")


@task
def use_memory(ledger: str, key: str, mib: int, keeps: bool) -> None:  # noqa: FBT001 - JSON
    """Use memory, maybe for as long as the process lives, and write that it ran."""
    used = b"x" * (mib << 20)
    if keeps:
        _kept.append(used)
    Ledger(Path(ledger)).write(key, "ran")


_kept: list[bytes] = []


@task
def record_slowly(ledger: str, key: str, seconds: float) -> None:
    """Write when it starts and when it finishes."""
    Ledger(Path(ledger)).write(key, "started")
    time.sleep(seconds)
    Ledger(Path(ledger)).write(key, "finished")


@task
def record_at_gate(ledger: str, key: str, gate: str) -> None:
    """Write when it starts, and that it finishes once there is a file at `gate`."""
    Ledger(Path(ledger)).write(key, "started")
    while not Path(gate).exists():
        time.sleep(0.02)
    Ledger(Path(ledger)).write(key, "finished")


@task
def fail(ledger: str, key: str) -> None:
    """Write that it ran, and raise."""
    Ledger(Path(ledger)).write(key, "ran")
    raise ValueError(f"{key} was asked to fail")


@task
def interrupt(ledger: str, key: str) -> None:
    """Write that it ran, and raise what ends most programs."""
    Ledger(Path(ledger)).write(key, "ran")
    raise KeyboardInterrupt(f"{key} was asked to fail")


@task
def fork(ledger: str, key: str) -> None:
    """Fork a process that tries to leave by sys.exit(), and write that it ran."""
    pid = os.fork()
    if pid == 0:
        sys.exit()
    os.waitpid(pid, 0)
    Ledger(Path(ledger)).write(key, "ran")


@task
def die_leaving_a_child(ledger: str, key: str, seconds: float) -> None:
    """Die by SIGKILL, leaving a forked process that keeps all files open."""
    Ledger(Path(ledger)).write(key, "ran")
    if os.fork() == 0:
        time.sleep(seconds)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def return_object(ledger: str, key: str) -> object:
    """Return something that is not JSON, which fails the task."""
    Ledger(Path(ledger)).write(key, "ran")
    return object()


@task(takes_context=True)
def enqueue_another(context: TaskContext, ledger: str, key: str, times: int) -> None:
    """Write that it ran, and enqueue itself until `times` is 0."""
    Ledger(Path(ledger)).write(f"{key}-{times}", "ran")
    if times:
        again = enqueue_another.using(backend=context.task_result.backend)
        again.enqueue(ledger, key, times - 1)


def not_a_task(ledger: str, key: str) -> None:
    """Write what must never be written: a message may only name a Task."""
    Ledger(Path(ledger)).write(key, "ran")
