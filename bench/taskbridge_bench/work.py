"""What every task does, in every lane: its work, and a line in the ledger.

A ledger is a file for each round, to which a task appends one line of fixed length when
it has done its work: key, start and end, in nanoseconds of the monotonic clock, which
has one origin for all processes of a machine (Linux, macOS). An append is one system
call and cannot be torn or lost by a kill of the process. The task that completes the
ledger rings a bell, a list in Redis, on which the measuring side blocks: nobody polls.

TASKBRIDGE_BENCH_WORK says what the work is: one of KINDS.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

import redis

GATE_DEADLINE_S = 45
"""A gate that nobody opens ends by itself; less than Q_CLUSTER["timeout"]."""
SLEEP_S = 0.010
CPU_S = 0.005
LONG_S = 1.0
LINE = "{key:>10d} {started:>19d} {ended:>19d}\n"
LINE_BYTES = len(LINE.format(key=0, started=0, ended=0))


def ledger_path(round_id: str) -> Path:
    """Return the file that has a LINE for each task that has run."""
    return Path(os.environ["TASKBRIDGE_BENCH_LEDGER"]) / round_id


def bell_key(round_id: str) -> str:
    """Return the list that gets an element when the ledger is full."""
    return f"bell:{round_id}"


def release_key(round_id: str) -> str:
    """Return the list from which each gate takes an element to end."""
    return f"release:{round_id}"


def holder_key(round_id: str) -> str:
    """Return the list of the process ids of gates, an element for each start."""
    return f"holder:{round_id}"


QUERIES_KEY = "queries"
"""A hash: how often each kind of query was asked; see `counting`."""


def record(round_id: str, key: int, total: int) -> None:
    """Do the work; the line that makes the ledger `total` long rings the bell."""
    started = time.monotonic_ns()
    _work()(key)
    sign(round_id, key, total, started)


def hold(round_id: str, key: int, total: int) -> None:
    """Sign the ledger, then keep the worker's slot until released (a gate)."""
    _client().rpush(holder_key(round_id), os.getpid())
    sign(round_id, key, total, time.monotonic_ns())
    _client().blpop([release_key(round_id)], timeout=GATE_DEADLINE_S)


def long(round_id: str, key: int, total: int) -> None:
    """Sleep LONG_S."""
    started = time.monotonic_ns()
    time.sleep(LONG_S)
    sign(round_id, key, total, started)


class AlwaysFails(Exception):  # noqa: N818 - what the task does
    """Raised by `fail`."""


def fail(round_id: str, key: int, total: int) -> None:
    """Sign the ledger, as in `record`, and fail."""
    sign(round_id, key, total, time.monotonic_ns())
    raise AlwaysFails(round_id)


def tick(round_id: str) -> None:
    """Sign the ledger for a firing of a schedule; its key is always 0."""
    sign(round_id, 0, -1, time.monotonic_ns())


def sign(round_id: str, key: int, total: int, started: int) -> None:
    """Append a line; ring the bell if it is the last of `total`."""
    line = LINE.format(key=key, started=started, ended=time.monotonic_ns())
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    descriptor = os.open(ledger_path(round_id), flags, 0o644)
    try:
        os.write(descriptor, line.encode())
        # Two that finish together may both see the last line; never neither.
        is_full = os.fstat(descriptor).st_size == total * LINE_BYTES
    finally:
        os.close(descriptor)
    if is_full:
        _client().lpush(bell_key(round_id), 1)


def count_query(kind: str) -> None:
    """Count a query of this process."""
    _client().hincrby(QUERIES_KEY, kind, 1)


def _burn(key: int) -> None:
    end = time.thread_time() + CPU_S
    while time.thread_time() < end:
        sum(range(200))


def _write(key: int) -> None:
    from .native.models import Written  # noqa: PLC0415 - only where Django is set up

    Written.objects.create(key=key)


def _own(key: int) -> None:
    """Call the user's own function, named in TASKBRIDGE_BENCH_TASK as module:name.

    TASKBRIDGE_BENCH_ARGUMENTS are its arguments: a list or an object of JSON.
    """
    arguments = _own_arguments()
    if isinstance(arguments, dict):
        _own_function()(**arguments)
    else:
        _own_function()(*arguments)


@cache
def _own_arguments() -> list[object] | dict[str, object]:
    found: list[object] | dict[str, object] = json.loads(
        os.environ.get("TASKBRIDGE_BENCH_ARGUMENTS") or "[]"
    )
    return found


@cache
def _own_function() -> Callable[..., object]:
    module, _, name = os.environ["TASKBRIDGE_BENCH_TASK"].partition(":")
    function: Callable[..., object] = getattr(import_module(module), name)
    return function


KINDS: Mapping[str, Callable[[int], object]] = {
    "noop": lambda _key: None,
    "sleep": lambda _key: time.sleep(SLEEP_S),
    "cpu": _burn,
    "orm": _write,
    "own": _own,
}
"""What a task does besides signing: nothing, sleep 10 ms, compute 5 ms, write a row."""


@cache
def _work() -> Callable[[int], object]:
    return KINDS[os.environ.get("TASKBRIDGE_BENCH_WORK", "noop")]


@cache
def _client() -> redis.Redis:
    """Return this process's client; redis-py notices a fork and reconnects."""
    url = os.environ["TASKBRIDGE_BENCH_LEDGER_URL"]
    # redis-py 8 gives up after 5 s by default, also in a BLPOP that may take longer.
    return redis.Redis.from_url(url, socket_timeout=GATE_DEADLINE_S + 5)
