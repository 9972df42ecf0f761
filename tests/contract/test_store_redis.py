"""The contract of stores, on Redis, and what is peculiar to it."""

import logging
import os
import re
import signal
import socket
import time
import traceback
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from redis.crc import key_slot
from redis.exceptions import RedisError

from taskbridge import StoreUnavailable
from taskbridge.compat import InvalidTaskBackend, TaskResultStatus, task_backends
from taskbridge.dispatcher import Dispatcher
from taskbridge.store import lua
from taskbridge.store.redis import RedisStore
from taskbridge.testing.memory import MemoryBackend
from taskbridge.testing.services import Redis
from tests.conftest import started
from tests.unit import sample_tasks
from tests.unit.store_contract import StoreContract
from tests.unit.store_records import (
    PAST,
    added,
    claim,
    claimed,
    new_record,
    one,
)

# Connections that other tests left open are looked at.
pytestmark = pytest.mark.django_db(transaction=True)

LIMIT_S = 5
MEMORY = "taskbridge.testing.memory.MemoryBackend"


@pytest.fixture
def store(redis_service: Redis) -> RedisStore:
    store = RedisStore("default", redis_service.url)
    store._client.flushdb()
    return store


@pytest.mark.django_db(transaction=True)
class TestRedisStore(StoreContract):
    @pytest.fixture
    def neighbour(self, redis_service: Redis) -> RedisStore:
        return RedisStore("neighbour", redis_service.url)


def round_trips(store: RedisStore) -> int:
    """How many requests that are more than questions of this test were sent."""
    stats = store._client.info("commandstats")
    return sum(
        counted["calls"]
        for name, counted in stats.items()
        # What scripts call counts as well.
        if name in {"cmdstat_evalsha", "cmdstat_eval", "cmdstat_exec"}
        or name.startswith("cmdstat_script")
    )


def test_each_method_is_one_round_trip(store: RedisStore) -> None:
    records = [new_record(PAST) for _ in range(1000)]
    ids = [record.id.hex for record in records]
    calls: dict[str, Any] = {
        "insert": lambda: store.insert(records, None),
        "look": lambda: store.look(horizon_s=1, limit=500),
        "take": lambda: store.take(ids, token="d", again_s=9, pushed_to="here"),
        "claim": lambda: claim(store, *ids, "w"),
        "extend": lambda: store.extend(ids, token="w", lease_s=9),
        "succeed": lambda: store.succeed(dict.fromkeys(ids, "1"), token="w"),
        "get": lambda: store.get(ids),
        "counts": store.counts,
        "prune": lambda: store.prune(successful_s=-1, failed_s=-1, limit=999),
    }
    for call in calls.values():  # the server learns the scripts
        call()
    store._client.flushdb()
    for name, call in calls.items():
        before = round_trips(store)
        call()
        assert (name, round_trips(store) - before) == (name, 1)
    assert store.counts() == {"SUCCESSFUL": 1}


def test_scripts_that_the_server_forgot_are_sent_again(store: RedisStore) -> None:
    record_id = added(store)
    store._client.script_flush()
    assert claim(store, record_id, "w") == {record_id}


def test_keys_of_an_alias_share_a_slot_and_nothing_is_left(store: RedisStore) -> None:
    waiting = added(store)
    ids = [claimed(store) for _ in range(3)]
    store.succeed({ids[0]: "1"}, token="worker")
    store.fail(ids[1], token="worker", errors="[]")
    keys = set(store._client.keys())
    records = {f"taskbridge:{{default}}:record:{key}" for key in [waiting, *ids]}
    assert keys == records | {f"taskbridge:{{default}}:{name}" for name in lua.KEYS}
    assert len({key_slot(key.encode()) for key in keys}) == 1
    claim(store, waiting, "worker")
    store.succeed(dict.fromkeys([waiting, ids[2]], "1"), token="worker")
    store.prune(successful_s=-1, failed_s=-1, limit=10)
    assert store._client.keys() == []


def test_clock_of_the_client_does_not_matter(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.utils import timezone

    record_id = claimed(store, lease_s=60)
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(days=400))
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert not store.expire(one(store, record_id), errors="[]", rerun=True)
    assert store.look(horizon_s=30, limit=5) == []


def test_record_that_the_server_dropped_is_forgotten(store: RedisStore) -> None:
    """As one with maxmemory-policy allkeys-lru does; it must not stop the others."""
    dropped, left = claimed(store, lease_s=-50), added(store, PAST)
    store._client.delete(f"taskbridge:{{default}}:record:{dropped}")
    assert [due.id for due in store.look(horizon_s=0, limit=1)] in ([], [left])
    assert [due.id for due in store.look(horizon_s=0, limit=1)] == [left]
    assert store.counts() == {"READY": 1}


def test_many_records_are_redirected(store: RedisStore) -> None:
    store.insert([new_record(pushed_to="0") for _ in range(2500)], None)
    store.insert([new_record(pushed_to="9") for _ in range(2500)], None)
    assert store.redirect("5") == 5000
    assert store.redirect("5") == 0


def test_outside_a_transaction_the_database_is_not_asked(store: RedisStore) -> None:
    """This test has no access to it."""
    assert not connection.in_atomic_block
    calls: list[str] = []
    record = new_record()
    store.insert([record], lambda: calls.append("then"))
    assert (len(store.get([record.id.hex])), calls) == (1, ["then"])


@pytest.mark.django_db(transaction=True)
def test_manual_transaction_is_refused_with_nothing_inserted(store: RedisStore) -> None:
    from django.db import transaction

    transaction.set_autocommit(False)
    try:
        with pytest.raises(transaction.TransactionManagementError):
            store.insert([new_record()], None)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert store.counts() == {}


# Settings.


def backend(**options: Any) -> MemoryBackend:
    return MemoryBackend("shop", {"BACKEND": MEMORY, "OPTIONS": options})


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"STORE_URL": "redis://:secret@one:7/3"}, "one:7/3"),
        (
            {"STORE_URL": "rediss://u:secret@one", "BROKER_URL": "redis://two"},
            "one:6379/0",
        ),
        ({"BROKER_URL": "redis://two:8/1"}, "two:8/1"),
        ({"BROKER_URL": "unix:///run/redis.sock?db=2"}, "/run/redis.sock"),
    ],
)
def test_url_is_that_of_the_store_or_of_the_broker(
    options: dict[str, str], place: str
) -> None:
    assert backend(STORE="redis", **options).store._place == place


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Set OPTIONS['STORE_URL'] to a URL that starts with redis://"),
        ({"BROKER_URL": "amqp://secret@a//"}, "Set OPTIONS['STORE_URL']"),
        ({"BROKER_URL": 5}, "Set OPTIONS['STORE_URL']"),
        ({"STORE_URL": "localhost"}, "Set OPTIONS['STORE_URL']"),
        ({"STORE_URL": "redis://:sec#ret@a:1"}, "OPTIONS['STORE_URL'] is no URL"),
        ({"BROKER_URL": "redis://:a@b:secret"}, "OPTIONS['BROKER_URL'] is no URL"),
    ],
)
def test_settings_that_name_no_redis_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidTaskBackend, match=re.escape(message)) as caught:
        _ = backend(STORE="redis", **options).store
    assert "Backend 'shop' (MemoryBackend)" in str(caught.value)
    assert "sec" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__cause__ is None


# A Redis that is away.


@pytest.fixture(scope="module")
def mortal() -> Iterator[Redis]:
    """A private server, which tests may stop."""
    server = started(Redis())
    if not server.private:
        pytest.skip("An explicit URL is given; that server is not ours to stop.")
    yield server
    server.close()


def test_server_that_refuses_is_told_without_its_password() -> None:
    store = RedisStore("shop", "redis://user:secret@127.0.0.1:1/5")
    with pytest.raises(StoreUnavailable) as caught:
        store.insert([new_record()], None)
    message = str(caught.value)
    assert message.startswith(
        "The Redis at 127.0.0.1:1/5 did not take or answer what was asked about the "
        "tasks of 'shop' ("
    )
    assert message.endswith(
        "Is it up, and the one that STORE_URL (or else BROKER_URL) should name?"
    )
    assert isinstance(caught.value.__cause__, RedisError)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_server_that_wants_another_password_is_told(mortal: Redis) -> None:
    RedisStore("shop", mortal.url)._client.config_set("requirepass", "right")
    try:
        with pytest.raises(
            StoreUnavailable, match="invalid username-password"
        ) as caught:
            url = mortal.url.replace("redis://", "redis://:secret@")
            RedisStore("shop", url).counts()
        assert "secret" not in str(caught.value)
    finally:
        RedisStore("shop", mortal.url)._client.config_set("requirepass", "")


def test_server_without_memory_is_told_and_takes_nothing(mortal: Redis) -> None:
    store = RedisStore("full", mortal.url)
    store._client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            store.insert([new_record(), new_record()], None)
    finally:
        store._client.config_set("maxmemory", 0)
    assert store.counts() == {}


def test_server_that_takes_connections_and_says_nothing_is_told_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        port = listener.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            RedisStore("shop", f"redis://127.0.0.1:{port}/0").counts()
        assert time.monotonic() - began < LIMIT_S


def test_server_that_falls_silent_is_told_in_time(mortal: Redis) -> None:
    store = RedisStore("shop", mortal.url)
    store.counts()
    os.kill(mortal.pids[-1], signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="Timeout"):
            store.counts()
        assert time.monotonic() - began < LIMIT_S
    finally:
        os.kill(mortal.pids[-1], signal.SIGCONT)


def test_server_that_was_started_again_has_the_records(mortal: Redis) -> None:
    store = RedisStore("again", mortal.url)
    record_id = added(store)
    mortal.stop()
    with pytest.raises(StoreUnavailable):
        claim(store, record_id, "w")
    mortal.start()
    assert claim(store, record_id, "w", again=True) == {record_id}
    assert one(store, record_id).attempt == 1


@pytest.mark.django_db(transaction=True)
def test_server_that_is_away_on_commit_is_told_to_the_caller() -> None:
    """What was to be saved with the tasks is saved: nothing else could be said."""
    from django.db import transaction

    from taskbridge.models import TaskRecord

    store = RedisStore("shop", "redis://127.0.0.1:1/0")
    calls: list[str] = []
    record = new_record()
    with pytest.raises(StoreUnavailable), transaction.atomic():
        record.save(force_insert=True)  # some row of the caller
        store.insert([new_record()], lambda: calls.append("then"))
    assert (TaskRecord.objects.count(), calls) == (1, [])


def test_process_that_was_forked_has_a_connection_of_its_own(store: RedisStore) -> None:
    ids = [added(store) for _ in range(40)]
    children = []
    for n in range(3):
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a hang ends it
            won = [key for key in ids if claim(store, key, f"w{n}")]
            mine = {record.token for record in store.get(won)}
            os._exit(0 if mine <= {f"w{n}"} else 1)
        children.append(child)
    won = [key for key in ids if claim(store, key, "parent")]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert {record.attempt for record in store.get(ids)} == {1}
    assert {r.id.hex for r in store.get(ids) if r.token == "parent"} == set(won)


# The way of a task.


@pytest.fixture
def queue(store: RedisStore, redis_service: Redis, settings: Any) -> MemoryBackend:
    options = {"STORE": "redis", "STORE_URL": redis_service.url, "LEASE": 2}
    settings.TASKS = {"default": {"BACKEND": MEMORY, "OPTIONS": options}}
    found = task_backends["default"]
    assert isinstance(found, MemoryBackend)
    found.envelopes.clear()
    sample_tasks.calls.clear()
    return found


def test_task_runs_and_its_result_is_kept(
    queue: MemoryBackend, store: RedisStore
) -> None:
    result = sample_tasks.add.enqueue(1, b=2)
    assert queue.run_due() == 1
    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
    assert (result.attempts, store.counts()) == (1, {"SUCCESSFUL": 1})


def test_message_that_was_lost_is_delivered_again(
    queue: MemoryBackend, store: RedisStore
) -> None:
    result = sample_tasks.add.enqueue(1, b=2)
    queue.envelopes.clear()
    store.put_back([result.id], token="", after_s=0)
    assert Dispatcher(queue).deliver_due() == 1
    queue.run_due()
    result.refresh()
    assert result.return_value == 3


def test_lost_attempt_is_recovered(
    queue: MemoryBackend, store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    result = sample_tasks.add.enqueue(1, b=2)
    queue.envelopes.clear()
    claim(store, result.id, "killed", lease_s=-1)
    with caplog.at_level(logging.ERROR):
        Dispatcher(queue).deliver_due()
    assert "It runs again." in caplog.text
    queue.run_due()
    result.refresh()
    assert (result.return_value, result.attempts) == (3, 2)
    [error] = result.errors
    assert error.exception_class_path == "taskbridge.exceptions.WorkerLost"
