"""The tasks of the fault tests; each writes to the ledger at the path it is given."""

import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

from django.db import connection, transaction

from taskbridge import TaskContext, task
from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger

# A decorator asks the backend that it names, and the default one does not retry.
DURABLE = "fault_background_tasks"


@task(backend=DURABLE)
def work(ledger: str, key: str, seconds: float) -> int:
    """Write when it starts and when it finishes; return the process that ran it."""
    Ledger(Path(ledger)).write(key, "started")
    time.sleep(seconds)
    Ledger(Path(ledger)).write(key, "finished")
    return os.getpid()


@task(backend=DURABLE, max_attempts=3, backoff=1, takes_context=True)
def fail_first(context: TaskContext, ledger: str, key: str, failures: int) -> int:
    """Raise in the first `failures` attempts."""
    Ledger(Path(ledger)).write(key, "started")
    if context.attempt <= failures:
        Ledger(Path(ledger)).write(key, "failed")
        raise ConnectionError(f"{key} was asked to fail in attempt {context.attempt}")
    Ledger(Path(ledger)).write(key, "finished")
    return os.getpid()


@task(backend=DURABLE, max_attempts=2, backoff=3, takes_context=True)
def fail_once_and_wait(context: TaskContext, ledger: str, key: str) -> None:
    """Raise in the first attempt, to be run again after 3 seconds."""
    Ledger(Path(ledger)).write(key, "started")
    if context.attempt == 1:
        raise ConnectionError(f"{key} was asked to fail")
    Ledger(Path(ledger)).write(key, "finished")


@task(backend=DURABLE)
def crash(ledger: str, key: str) -> None:
    """Kill the process that runs it."""
    Ledger(Path(ledger)).write(key, "started")
    os.kill(os.getpid(), signal.SIGKILL)


@task(backend=DURABLE, max_attempts=2, backoff=0)
def crash_or_retry(ledger: str, key: str) -> None:
    """Kill the process that runs it; it could be retried, had it raised."""
    Ledger(Path(ledger)).write(key, "started")
    os.kill(os.getpid(), signal.SIGKILL)


@task(backend=DURABLE, at_most_once=True)
def crash_at_most_once(ledger: str, key: str) -> None:
    """Kill the process that runs it, and must not be run again."""
    Ledger(Path(ledger)).write(key, "started")
    os.kill(os.getpid(), signal.SIGKILL)


@task(backend=DURABLE)
def tell_time(ledger: str, key: str) -> float:
    """Return the time, which the ledger may know better."""
    Ledger(Path(ledger)).write(key, "started")
    return time.time()


def _server_process() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _look(parents: int) -> None:
    assert _server_process() != parents


@task(backend=DURABLE)
def use_processes(ledger: str, key: str) -> None:
    """Start and end processes in the ways that a program may, on PostgreSQL."""
    Ledger(Path(ledger)).write(key, "started")
    context = multiprocessing.get_context("fork")
    sleeper = context.Process(target=time.sleep, args=(600,))
    sleeper.start()
    sleeper.terminate()
    sleeper.join(20)
    assert sleeper.exitcode == -signal.SIGTERM
    program = subprocess.Popen(["sleep", "600"])
    program.send_signal(signal.SIGINT)
    assert program.wait(20) == -signal.SIGINT
    with context.Pool(2) as pool:
        assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]
    with transaction.atomic():
        mine = _server_process()
        child = context.Process(target=_look, args=(mine,))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert _server_process() == mine
    context.Process(target=time.sleep, args=(600,)).start()  # and leaves it behind
    Ledger(Path(ledger)).write(key, "finished")


@task(backend=DURABLE)
def speak(ledger: str, key: str, seconds: float) -> None:
    """Print a line when it starts, and when it finishes one that does not end."""
    print(f"{key} starts")  # noqa: T201
    Ledger(Path(ledger)).write(key, "started")
    time.sleep(seconds)
    print(f"{key} ends", end="")  # noqa: T201
    Ledger(Path(ledger)).write(key, "finished")


@task(backend=DURABLE, takes_context=True)
def crash_once(context: TaskContext, ledger: str, key: str, *, crashes: bool) -> None:
    """Write when it starts and finishes, or kill the process in the first attempt."""
    Ledger(Path(ledger)).write(key, "started")
    if crashes and context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    Ledger(Path(ledger)).write(key, "finished")


@task(backend=DURABLE)
def meet(ledger: str, key: str, count: int) -> None:
    """Wait until so many have started: they have to run at the same time."""
    Ledger(Path(ledger)).write(key, "started")
    wait_until(
        lambda: len(Ledger(Path(ledger)).counts("started")) >= count, "the others run"
    )
    Ledger(Path(ledger)).write(key, "finished")
