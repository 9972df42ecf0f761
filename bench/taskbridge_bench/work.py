"""What every task does, in every lane: it signs the ledger, and nothing else.

A ledger is a Redis list. The task that completes it rings a bell, another list, on
which the measuring side blocks: completion is counted in the worker, nobody polls.
"""

import os
import time
from functools import cache

import redis

GATE_DEADLINE_S = 45
"""A gate that nobody opens ends by itself; less than Q_CLUSTER["timeout"]."""


def ledger_key(round_id: str) -> str:
    """Return the list of "<key> <monotonic seconds>", one entry for each start."""
    return f"ledger:{round_id}"


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
    """Sign the ledger; the signature that makes it `total` long rings the bell."""
    _sign(_client(), round_id, key, total)


def hold(round_id: str, key: int, total: int) -> None:
    """Sign the ledger, then keep the worker's slot until released (a gate)."""
    client = _client()
    client.rpush(holder_key(round_id), os.getpid())
    _sign(client, round_id, key, total)
    client.blpop([release_key(round_id)], timeout=GATE_DEADLINE_S)


def count_query(kind: str) -> None:
    """Count a query of this process."""
    _client().hincrby(QUERIES_KEY, kind, 1)


def _sign(client: redis.Redis, round_id: str, key: int, total: int) -> None:
    # Monotonic time has one origin for all processes of a machine (Linux, macOS).
    entry = f"{key} {time.monotonic():.9f}"
    if client.rpush(ledger_key(round_id), entry) == total:
        client.lpush(bell_key(round_id), 1)


@cache
def _client() -> redis.Redis:
    """Return this process's client; redis-py notices a fork and reconnects."""
    url = os.environ["TASKBRIDGE_BENCH_LEDGER_URL"]
    # redis-py 8 gives up after 5 s by default, also in a BLPOP that may take longer.
    return redis.Redis.from_url(url, socket_timeout=GATE_DEADLINE_S + 5)
