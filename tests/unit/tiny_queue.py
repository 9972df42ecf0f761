"""A queue library of a few lines, honest or not, for tests of the benchmark.

A list in Redis, and a set of what is due later. The worker runs this file:
``python tiny_queue.py NAME FAULT``.
"""

import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path

import redis

from taskbridge_bench import work
from taskbridge_bench.contenders.model import Calls, Contender, Guarantee, Lane, Profile
from taskbridge_bench.databases import RedisDatabase, redis_url

VICTIMS = range(99, 1_000_000, 100)
"""1 % of keys; those of the warm-up are not among them."""
EARLY_S = {"early": 1.4, "hasty": 0.3}
SLOWER_S = 0.002


def contender(name: str, fault: str = "honest", lane: Lane = Lane.NATIVE) -> Contender:
    return Contender(
        library=name,
        lane=lane,
        profile=Profile.EQUAL,
        guarantee=Guarantee.AT_MOST_ONCE,
        broker="Redis",
        enqueue="RPUSH",
        workers=((str(Path(__file__)), f"{name}-{lane}", fault),),
        slots=1,
        acknowledges="before it runs",
        prefetch="none",
        poll="none",
        poll_s=0,
        schedules="a sorted set",
        results="none",
        calls_path=f"{__name__}:calls",
        calls_arguments=(f"{name}-{lane}",),
        servers=("redis",),
    )


def calls(name: str) -> Calls:
    client = _client()

    def enqueue(function: str):
        def call(round_id: str, key: int, total: int) -> None:
            client.rpush(name, json.dumps([function, round_id, key, total]))

        return call

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        message = json.dumps(["record", round_id, key, total])
        client.zadd(f"{name}:later", {message: due.timestamp()})

    return Calls(
        record=enqueue("record"),
        hold=enqueue("hold"),
        long=enqueue("long"),
        record_at=record_at,
        purge=lambda: client.delete(name, f"{name}:later"),
    )


def run_worker(name: str, fault: str) -> None:
    client = _client()
    ahead_s = EARLY_S.get(fault, 0)
    while True:
        for message in client.zrangebyscore(f"{name}:later", 0, time.time() + ahead_s):
            client.zrem(f"{name}:later", message)
            run(json.loads(message), fault)
        if found := client.blpop([name], timeout=0.01):
            run(json.loads(found[1]), fault)


def run(message: list, fault: str) -> None:
    function, round_id, key, total = message
    times = 1
    if function == "record":
        if fault == "slow":
            time.sleep(SLOWER_S)
        if key in VICTIMS:
            times = {"drop": 0, "twice": 2}.get(fault, 1)
    for _ in range(times):
        getattr(work, function)(round_id, key, total)


def _client() -> redis.Redis:
    url = redis_url(os.environ["TASKBRIDGE_BENCH_REDIS_URL"], RedisDatabase.BACKEND)
    return redis.Redis.from_url(url)


if __name__ == "__main__":
    run_worker(*sys.argv[1:])
