"""What every store promises to those who look at queues and workers."""

from datetime import UTC, datetime, timedelta

from django.db.models import F

from taskbridge.identity import new_id
from taskbridge.models import TaskRecord, WorkerRecord
from taskbridge.store import Json, QueueCounts, Worker
from tests.unit.store_records import PAST, SOON, added, claim, claimed

HOUR = timedelta(hours=1)


def worker(**fields):
    values = {
        "id": new_id(),
        "host": "host",
        "pid": 7,
        "concurrency": 2,
        "queues": ("mail", "größe"),
        "version": "0.1",
    }
    return Worker(**{**values, **fields})


class WorkersContract:
    def test_queues_are_counted_by_what_matters(self, store, neighbour):
        added(neighbour, backend="neighbour")
        added(store, PAST), added(store, SOON)  # one to push again, and one pushed
        added(store, PAST, pushes=0)
        added(store, SOON, pushes=0), added(store, pushes=0, wake_at=_last())
        claimed(store)
        store.fail(claimed(store, queue_name="post"), token="worker", errors=[])
        store.pause("fax", by="")
        assert store.park([added(store, PAST, queue_name="fax")], "fax") == 1
        found = store.queues(up_to=100)
        ages = {name: counts.oldest_s for name, counts in found.items()}
        assert {name: _without_age(counts) for name, counts in found.items()} == {
            "mail": QueueCounts(waiting=3, delayed=2, running=1),
            "post": QueueCounts(failed=1),
            "fax": QueueCounts(parked=1),
        }
        assert ages["post"] is None
        assert 0 <= ages["mail"] < 600
        assert 0 <= ages["fax"] < 600

    def test_age_counts_from_when_a_task_was_to_run(self, store):
        first = added(store, PAST)
        TaskRecord.objects.filter(pk=first).update(enqueued_at=F("enqueued_at") - HOUR)
        assert 3600 <= store.queues(up_to=9)["mail"].oldest_s < 4200
        TaskRecord.objects.filter(pk=first).update(run_after=F("enqueued_at") + HOUR)
        assert 0 <= store.queues(up_to=9)["mail"].oldest_s < 600

    def test_queues_are_counted_up_to_a_number_what_is_due_first(self, store):
        for _ in range(3):
            added(store, PAST), added(store, SOON, pushes=0)
            store.fail(claimed(store), token="worker", errors=[])
        counts = store.queues(up_to=4)["mail"]
        assert (counts.waiting, counts.delayed, counts.failed) == (3, 1, 3)
        assert store.queues(up_to=2)["mail"].failed == 2

    def test_nothing_is_in_no_queue(self, store):
        assert store.queues(up_to=10) == {}
        assert store.running(limit=10) == []
        assert store.workers() == []

    def test_what_runs_is_told_with_its_worker(self, store, neighbour):
        claimed(neighbour, backend="neighbour")
        added(store)
        store.succeed({claimed(store): Json("1")}, token="worker")
        first, second = added(store), added(store, queue_name="post")
        assert claim(store, first, second, "token") == {first, second}
        found = store.running(limit=10)
        assert [(each.id, each.queue_name) for each in found] == [
            (first, "mail"),
            (second, "post"),
        ]
        assert {(each.worker, each.task) for each in found} == {
            ("w", "shop.tasks.send")
        }
        assert all(0 <= each.for_s < 600 for each in found)
        assert len(store.running(limit=1)) == 1

    def test_worker_is_there_until_it_leaves(self, store, neighbour):
        one, other = worker(), worker(host="another", concurrency=0, queues=())
        store.see(one)
        store.see(one)
        store.see(other)
        neighbour.see(worker())
        found = store.workers()
        assert [seen.worker for seen in found] == [other, one]
        assert all(0 <= seen.seen_s <= seen.started_s < 600 for seen in found)
        store.leave(other.id)
        store.leave(other.id)
        assert [seen.worker for seen in store.workers()] == [one]

    def test_worker_that_was_forgotten_is_there_again(self, store):
        one = worker()
        store.see(one)
        store.leave(one.id)
        store.see(one)
        assert [seen.worker for seen in store.workers()] == [one]

    def test_only_who_is_silent_for_an_hour_is_forgotten(self, store, neighbour):
        silent, late, fresh = worker(), worker(), worker()
        for each in (late, fresh):
            store.see(each)
        neighbour.see(silent)
        _let_pass(silent, HOUR + timedelta(minutes=1))
        _let_pass(late, HOUR - timedelta(minutes=1))
        assert store.forget_silent() == 1
        assert {seen.worker.id for seen in store.workers()} == {late.id, fresh.id}
        assert neighbour.workers() == []
        ages = {seen.worker.id: seen.seen_s for seen in store.workers()}
        assert 3500 < ages[late.id] < 3600
        store.see(late)
        assert max(seen.seen_s for seen in store.workers()) < 600


def _let_pass(worker, age):
    row = WorkerRecord.objects.filter(pk=worker.id)
    row.update(seen_at=F("seen_at") - age)


def _without_age(counts):
    fields = ("waiting", "delayed", "parked", "running", "failed")
    return QueueCounts(**{name: getattr(counts, name) for name in fields})


def _last():
    return datetime.max.replace(tzinfo=UTC)
