"""What every store promises about queues that are paused."""

import time
from datetime import timedelta

import pytest
from django.db import connection, transaction

from taskbridge.models import PausedQueue, TaskRecord
from taskbridge.store.parked import PARKED_FROM, PARKED_UNTIL, parked_at
from tests.unit.durable.statements import Statements
from tests.unit.store_records import (
    PAST,
    SOON,
    added,
    claim,
    claimed,
    one,
    race,
    while_locked,
)

RACES_FOR_S = 3


def due(store):
    return {each.id for each in store.look(horizon_s=0, limit=1000)}


def parked(store, **fields):
    """Insert a record in the paused queue "mail", and park it; return its id."""
    record_id = added(store, PAST, **fields)
    assert store.park([record_id], "mail") == 1
    return record_id


class PausingContract:
    def test_nothing_of_a_paused_queue_is_claimed(self, store, neighbour):
        held, other = added(store), added(store, queue_name="post")
        elsewhere = added(neighbour, backend="neighbour")
        assert store.pause("mail", by="ann")
        assert claim(store, held, "token") == set()
        assert claim(store, held, other, "token") == {other}
        assert claim(neighbour, elsewhere, "token") == {elsewhere}
        record = one(store, held)
        assert (record.status, record.attempt, record.token) == ("READY", 0, "")
        assert store.resume("mail")
        assert claim(store, held, "token") == {held}

    def test_pause_is_told_once_and_by_whom(self, store, neighbour):
        assert store.paused() == {}
        assert store.pause("mail", by="ann")
        assert not store.pause("mail", by="bob")
        assert store.pause("post", by="")
        assert neighbour.paused() == {}
        assert {name: since.by for name, since in store.paused().items()} == {
            "mail": "ann",
            "post": "",
        }
        assert store.resume("mail")
        assert not store.resume("mail")
        assert list(store.paused()) == ["post"]

    def test_what_runs_goes_on(self, store):
        running = claimed(store)
        store.pause("mail", by="")
        assert store.extend([running], token="worker", lease_s=60) == [running]
        assert store.retry(running, token="worker", errors=[], after_s=-1)
        assert claim(store, running, "again", attempt=1) == set()

    def test_what_is_due_is_parked_and_due_again_when_resumed(self, store, neighbour):
        store.pause("mail", by="")
        neighbour.pause("mail", by="")
        late, early = added(store, PAST, pushes=3), added(store, SOON)
        elsewhere = added(neighbour, PAST, backend="neighbour")
        assert neighbour.park([elsewhere], "mail") == 1
        assert store.park([late, early], "mail") == 1
        assert due(store) == set()
        assert (one(store, late).wake_at, one(store, late).pushes) == (
            parked_at("mail"),
            0,
        )
        assert store.unfinished() == 2
        assert store.waiting(horizon_s=3600) == {"mail": 1}
        store.resume("mail")
        assert due(store) == {late}
        assert one(store, early).wake_at < PARKED_FROM
        assert due(neighbour) == set()

    def test_nothing_is_parked_in_a_queue_that_is_not_paused(self, store):
        late, running = added(store, PAST), claimed(store, lease_s=-1)
        assert store.park([late, running], "mail") == 0
        store.pause("mail", by="")
        assert store.park([late, running], "mail") == 1
        assert due(store) == {running}

    def test_refused_record_is_parked_or_due(self, store):
        store.pause("mail", by="")
        ids = [added(store), added(store)]
        assert store.park_refused(ids[:1], "mail", attempt=0) == 1
        store.resume("mail")
        assert store.park_refused(ids[1:], "mail", attempt=0) == 1
        assert due(store) == set(ids)
        assert {one(store, each).pushes for each in ids} == {0}

    def test_duplicate_of_a_message_parks_nothing(self, store):
        """The record was started, or waits for the attempt that comes next."""
        running, delayed = claimed(store), claimed(store)
        assert store.retry(delayed, token="worker", errors=[], after_s=60)
        before = [one(store, running).wake_at, one(store, delayed).wake_at]
        store.pause("mail", by="")
        assert store.park_refused([running, delayed], "mail", attempt=0) == 0
        after = [one(store, running).wake_at, one(store, delayed).wake_at]
        assert after == before

    def test_what_was_parked_too_late_is_found(self, store, neighbour):
        """Whoever parked it did not know yet that the pause was over."""
        store.pause("mail", by="")
        store.pause("post", by="")
        held, left = parked(store, queue_name="mail"), added(store, PAST)
        other = added(store, PAST, queue_name="post")
        assert store.park([other], "post") == 1
        TaskRecord.objects.filter(pk=left).update(wake_at=parked_at("mail"))
        assert store.unpark_left_over() == 0
        PausedQueue.objects.filter(queue_name="mail").delete()
        assert neighbour.unpark_left_over() == 0
        assert store.unpark_left_over() == 2
        assert due(store) == {held, left}

    def test_message_of_another_queue_parks_nothing(self, store):
        """What has left QUEUES is delivered in another queue; that may be paused."""
        former, other = added(store, PAST, queue_name="former"), added(store, PAST)
        store.pause("former", by="")
        store.pause("mail", by="")
        assert store.park_refused([former, other], "mail", attempt=0) == 1
        assert store.park([former], "mail") == 0
        assert due(store) == {former}
        assert store.park([former], "former") == 1

    def test_name_that_differs_only_in_case_is_another_queue(self, store):
        store.pause("mail", by="ann")
        other = added(store, PAST, queue_name="Mail")
        assert claim(store, other, "token") == {other}
        assert not store.resume("Mail")
        assert list(store.paused()) == ["mail"]

    def test_two_names_that_differ_only_in_case(self, store):
        """They are paused both, or the second is refused by name."""
        store.pause("mail", by="ann")
        if connection.vendor != "mysql":
            assert store.pause("Mail", by="bob")
            return
        with pytest.raises(ValueError, match="'Mail' cannot be paused while 'mail' is"):
            store.pause("Mail", by="bob")

    def test_what_is_cancelled_is_not_parked(self, store):
        """It was given back, and a dispatcher has to see it, which ends it."""
        record_id = added(store)
        claim(store, record_id, "+token")
        store.cancel([record_id], by="ann")
        store.give_back([record_id], token="+token")
        store.pause("mail", by="")
        assert store.park([record_id], "mail") == 0
        assert store.park_refused([record_id], "mail", attempt=0) == 0
        assert due(store) == {record_id}

    def test_nothing_of_a_paused_queue_is_hurried(self, store):
        delayed = added(store, pushes=0)
        store.pause("mail", by="")
        assert store.hurry([delayed, parked(store)]) == 0
        store.resume("mail")
        assert store.hurry([delayed]) == 1

    def test_what_is_left_over_is_found_in_portions(self, store, monkeypatch):
        """A dispatcher has other duties."""
        monkeypatch.setattr("taskbridge.store.pausing.LEFT_OVER_AT_ONCE", 4)
        store.pause("mail", by="")
        ids = {parked(store) for _ in range(9)}
        PausedQueue.objects.all().delete()
        assert [store.unpark_left_over() for _ in range(4)] == [4, 4, 1, 0]
        assert due(store) == ids

    def test_delay_as_long_as_a_pause_is_left_alone(self, store):
        at = parked_at("mail") + timedelta(seconds=1)
        delayed = added(store, wake_at=at, run_after=at)
        assert store.unpark_left_over() == 0
        assert one(store, delayed).wake_at == at

    def test_locked_record_holds_no_other_up(self, store):
        store.pause("mail", by="")
        ids = {parked(store) for _ in range(3)}
        locked = sorted(ids)[1]
        PausedQueue.objects.all().delete()
        moved = while_locked(locked, store.unpark_left_over, for_s=1)
        moved += store.unpark_left_over()
        assert moved == 3
        assert due(store) == ids

    def test_many_are_resumed_in_batches(self, store, monkeypatch):
        monkeypatch.setattr("taskbridge.store.pausing.ROWS_AT_ONCE", 4)
        monkeypatch.setattr("taskbridge.store.pausing.ROWS_PER_UPDATE", 2)
        store.pause("mail", by="")
        ids = {parked(store) for _ in range(9)}
        store.resume("mail")
        assert due(store) == ids

    def test_pause_holds_from_the_commit_on(self, store):
        record_id = added(store)
        with transaction.atomic():
            store.pause("mail", by="")
            transaction.set_rollback(True)
        assert claim(store, record_id, "token") == {record_id}

    def test_looking_for_what_is_left_is_one_query_if_nothing_is_parked(self, store):
        for _ in range(5):
            added(store, PAST)
        counted = Statements()
        with connection.execute_wrapper(counted):
            store.unpark_left_over()
        assert counted.verbs == ["SELECT"]

    def test_instants_of_queues_differ_and_leave_room(self):
        instants = {parked_at(f"queue {n}") for n in range(1000)}
        assert len(instants) == 1000
        assert all(PARKED_FROM <= each < PARKED_UNTIL for each in instants)
        assert PARKED_UNTIL.year < 9999

    def test_pauses_that_come_and_go_lose_nothing(self, store):
        """One pauses and resumes; two dispatch, claim, and park what is refused."""
        ids = {added(store, PAST) for _ in range(60)}
        until = time.monotonic() + RACES_FOR_S

        def pause_and_resume():
            while time.monotonic() < until:
                store.pause("mail", by="")
                time.sleep(0.01)
                store.resume("mail")
                time.sleep(0.005)

        def work():
            started, turn = [], 0
            while time.monotonic() < until:
                turn += 1
                for each in list(due(store))[:5]:
                    if got := claim(store, each, f"{turn}"):
                        started += got
                    elif turn % 2:
                        store.park([each], "mail")
                    else:
                        store.park_refused([each], "mail", attempt=0)
                added_now = added(store, PAST)
                ids.add(added_now)
            return started

        _, first, second = race(pause_and_resume, work, work)
        store.resume("mail")
        store.unpark_left_over()
        last = [each for each in due(store) if claim(store, each, "last")]
        assert sorted(first + second + last) == sorted(ids)
