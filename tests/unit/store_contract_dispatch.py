"""What every store promises to dispatchers, and to those who race for a record."""

import random
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection

from taskbridge.exceptions import StoreUnavailable
from taskbridge.identity import new_id
from taskbridge.patience import insist
from taskbridge.store import Json
from tests.unit.store_records import (
    ERROR,
    FINISHES,
    PAST,
    added,
    claim,
    claimed,
    one,
    race,
    seconds_until,
    values,
    while_kept,
    while_locked,
)

RACERS = 6
ROUNDS = 8


class DispatchContract:
    def test_touch_changes_nothing(self, store):
        record_id = claimed(store)
        before = values(one(store, record_id))
        store.touch(record_id)
        assert values(one(store, record_id)) == before

    def test_look_finds_the_longest_overdue_first(self, store):
        late = added(store, timedelta(seconds=-10))
        later = added(store, timedelta(seconds=-100))
        lost = claimed(store, lease_s=-50)
        soon = added(store, timedelta(seconds=20), pushes=3)
        added(store, timedelta(seconds=200))
        claimed(store, lease_s=200)
        found = store.look(horizon_s=30, limit=10)
        assert [due.id for due in found] == [later, lost, late, soon]
        assert [due.status for due in found] == ["READY", "RUNNING", "READY", "READY"]
        assert [due.pushes for due in found] == [1, 1, 1, 3]
        for due, in_s in zip(found, [-100, -50, -10, 20], strict=True):
            assert in_s - 8 < due.in_s < in_s + 1

    def test_look_keeps_to_its_horizon_and_limit(self, store):
        for n in range(5):
            added(store, timedelta(seconds=-10 - n))
        added(store, timedelta(seconds=10))
        assert len(store.look(horizon_s=0, limit=10)) == 5
        assert len(store.look(horizon_s=15, limit=10)) == 6
        assert len(store.look(horizon_s=15, limit=2)) == 2

    def test_look_does_not_find_what_has_ended(self, store):
        done, failed = claimed(store, lease_s=-1), claimed(store, lease_s=-1)
        store.succeed({done: Json("1")}, token="worker")
        store.fail(failed, token="worker", errors=[])
        assert store.look(horizon_s=1000, limit=10) == []

    def test_neighbours_do_not_see_each_other(self, store, neighbour):
        record_id = added(store, PAST)
        assert neighbour.look(horizon_s=10, limit=10) == []
        assert neighbour.get([record_id]) == []
        assert neighbour.counts() == {}
        assert neighbour.redirect("there") == 0
        done = claimed(store)
        store.succeed({done: Json("1")}, token="worker")
        assert neighbour.prune(successful_s=-1, failed_s=-1, limit=10) == (0, 0, False)
        assert store.counts() == {"READY": 1, "SUCCESSFUL": 1}

    def test_take_gives_what_is_due(self, store):
        due = added(store, PAST, arguments="[[1],{}]", priority=7)
        before = values(one(store, due))
        [taken] = store.take([due], token="d", again_s=30, pushed_to="there")
        assert values(taken) == values(one(store, due))
        changed = {k for k, v in values(taken).items() if v != before[k]}
        assert changed == {"token", "pushes", "pushed_to", "wake_at"}
        assert (taken.token, taken.pushes, taken.pushed_to) == ("d", 2, "there")
        assert 20 < seconds_until(taken.wake_at) <= 30

    def test_take_leaves_what_is_not_due(self, store):
        later, running = added(store), claimed(store, lease_s=-1)
        done = claimed(store, lease_s=-1)
        store.succeed({done: Json("1")}, token="worker")
        ids = [later, running, done, new_id()]
        assert store.take(ids, token="d", again_s=5, pushed_to="there") == []
        assert one(store, later).pushes == 1

    def test_second_dispatcher_takes_what_the_first_left(self, store):
        ids = [added(store, PAST) for _ in range(3)]
        first = store.take(ids[:2], token="a", again_s=5, pushed_to="here")
        second = store.take(ids, token="b", again_s=5, pushed_to="here")
        assert {r.id for r in first} == set(ids[:2])
        assert {r.id for r in second} == {ids[2]}

    def test_take_made_again_gives_the_same(self, store):
        record_id = added(store, PAST)
        for _ in range(2):
            [taken] = store.take([record_id], token="a", again_s=5, pushed_to="here")
            assert taken.pushes == 2

    def test_worker_claims_what_a_dispatcher_took(self, store):
        record_id = added(store, PAST)
        store.take([record_id], token="d", again_s=5, pushed_to="here")
        assert claim(store, record_id, "worker") == {record_id}
        store.put_back([record_id], token="d", after_s=-50)
        assert seconds_until(one(store, record_id).wake_at) > 0

    def test_put_back_lets_them_be_due_again(self, store):
        mine, other = added(store, PAST), added(store, PAST)
        store.take([mine], token="a", again_s=500, pushed_to="here")
        store.take([other], token="b", again_s=500, pushed_to="here")
        store.put_back([mine, other, new_id()], token="a", after_s=10)
        assert 0 < seconds_until(one(store, mine).wake_at) <= 10
        assert seconds_until(one(store, other).wake_at) > 400

    def test_push_that_failed_is_not_counted(self, store):
        record_id = added(store, PAST, pushes=0)
        for _ in range(3):
            store.take([record_id], token="a", again_s=500, pushed_to="here")
            assert one(store, record_id).pushes == 1
            store.put_back([record_id], token="a", after_s=-1)
            assert one(store, record_id).pushes == 0
        store.put_back([record_id], token="a", after_s=-1)
        assert one(store, record_id).pushes == 0

    def test_new_records_are_put_back_without_a_token(self, store):
        new, taken, running = added(store), added(store, PAST), claimed(store)
        store.take([taken], token="d", again_s=500, pushed_to="here")
        store.put_back([new, taken, running], token="", after_s=0)
        assert [due.id for due in store.look(horizon_s=0, limit=5)] == [new]

    def test_postponed_records_are_due_later_and_otherwise_as_they_were(self, store):
        due, other = added(store, PAST), added(store, PAST)
        before = values(one(store, due))
        assert store.postpone([due], after_s=40) == 1
        after = values(one(store, due))
        assert {name for name in after if after[name] != before[name]} == {"wake_at"}
        assert 20 < seconds_until(one(store, due).wake_at) <= 40
        assert [each.id for each in store.look(horizon_s=0, limit=5)] == [other]

    def test_only_what_was_pushed_and_is_due_is_postponed(self, store):
        ids = [
            added(store),
            added(store, PAST, pushes=0),
            claimed(store, lease_s=-1),
            new_id(),
        ]
        assert store.postpone(ids, after_s=40) == 0
        assert store.postpone([], after_s=40) == 0

    def test_pushed_records_are_counted_by_queue(self, store, neighbour):
        for queue_name in ("mail", "mail", "slow"):
            added(store, queue_name=queue_name)
        added(store, PAST)
        added(store, timedelta(hours=2))
        added(store, pushes=0)
        claimed(store)
        store.succeed({claimed(store): Json("1")}, token="worker")
        assert store.waiting(horizon_s=3600) == {"mail": 3, "slow": 1}
        assert neighbour.waiting(horizon_s=3600) == {}

    def test_lost_attempt_is_followed_by_another(self, store):
        record_id = claimed(store, lease_s=-1)
        assert store.expire(one(store, record_id), errors=[ERROR], rerun=True)
        found = one(store, record_id)
        assert (found.status, found.attempt, found.lost) == ("READY", 1, 1)
        assert (found.token, found.pushes, found.task_errors) == ("", 0, [ERROR])
        assert found.finished_at is None
        assert seconds_until(found.wake_at) <= 0
        assert claim(store, record_id, "next", attempt=1)

    def test_lost_attempt_is_the_last(self, store):
        record_id = claimed(store, lease_s=-1)
        assert store.expire(one(store, record_id), errors=[ERROR], rerun=False)
        found = one(store, record_id)
        assert (found.status, found.lost, found.task_errors) == ("FAILED", 1, [ERROR])
        assert (found.token, found.wake_at) == ("", None)
        assert 0 >= seconds_until(found.finished_at) > -10
        assert store.counts() == {"FAILED": 1}

    @pytest.mark.parametrize("rerun", [True, False])
    def test_attempt_that_is_not_lost_is_left(self, store, rerun):
        alive, done, retried = (claimed(store, lease_s=-1) for _ in range(3))
        seen = {key: one(store, key) for key in (alive, done, retried)}
        store.extend([alive], token="worker", lease_s=60)
        store.succeed({done: Json("1")}, token="worker")
        store.retry(retried, token="worker", errors=[], after_s=-1)
        before = {key: values(one(store, key)) for key in seen}
        for record in seen.values():
            assert not store.expire(record, errors=[ERROR], rerun=rerun)
        assert {key: values(one(store, key)) for key in seen} == before

    def test_lost_attempt_of_before_is_not_the_one_of_now(self, store):
        record_id = claimed(store, lease_s=-1)
        seen = one(store, record_id)
        assert store.expire(seen, errors=[], rerun=True)
        assert not store.expire(seen, errors=[], rerun=True)
        claim(store, record_id, "next", attempt=1, lease_s=-1)
        assert not store.expire(seen, errors=[], rerun=True)
        assert one(store, record_id).lost == 1

    def test_what_was_pushed_elsewhere_is_redirected(self, store):
        elsewhere = {added(store, pushed_to=f"{n:016x}") for n in range(3)}
        elsewhere.add(added(store, pushed_to=""))
        own = added(store, pushed_to="5")
        taken = added(store, PAST, pushed_to="6")
        store.take([taken], token="d", again_s=60, pushed_to="5")
        planned = added(store, pushes=0, pushed_to="0")
        running = claimed(store, pushed_to="0")
        due = added(store, PAST, pushed_to="0")
        assert store.redirect("5") == 4
        assert store.redirect("5") == 0
        found = store.look(horizon_s=0, limit=10)
        assert {each.id for each in found} == {*elsewhere, due}
        assert {r.pushes for r in store.get(elsewhere)} == {0}
        for left in (own, planned, running):
            assert seconds_until(one(store, left).wake_at) > 40

    def test_redirected_records_are_taken_and_redirected_back(self, store):
        record_id = added(store)
        for channel in ("there", "here"):
            assert store.redirect(channel) == 1
            [taken] = store.take(
                [record_id], token=channel, again_s=60, pushed_to=channel
            )
            assert taken.pushes == 1
        assert store.redirect("here") == 0

    def test_records_are_counted_up_to_a_number(self, store):
        ids = [claimed(store) for _ in range(3)]
        store.succeed(dict.fromkeys(ids, Json("1")), token="worker")
        added(store)
        assert store.counts(up_to=2) == {"READY": 1, "SUCCESSFUL": 2}
        assert store.counts(up_to=3) == {"READY": 1, "SUCCESSFUL": 3}

    def test_records_are_counted_by_status(self, store):
        assert store.counts() == {}
        added(store)
        keys = [claimed(store) for _ in range(4)]
        store.succeed({keys[0]: Json("1")}, token="worker")
        store.fail(keys[1], token="worker", errors=[])
        expected = {"READY": 1, "RUNNING": 2, "SUCCESSFUL": 1, "FAILED": 1}
        assert store.counts() == expected

    def test_records_that_are_not_there_are_not_got(self, store):
        record_id = added(store)
        found = store.get([new_id(), record_id, new_id()])
        assert [r.id for r in found] == [record_id]
        assert store.get([new_id()]) == []

    def test_nothing_asked_is_nothing_done(self, store):
        assert store.get([]) == []
        assert store.take([], token="d", again_s=1, pushed_to="here") == []
        store.put_back([], token="d", after_s=1)
        store.extend([], token="d", lease_s=1)


class LockContract:
    """Statements that wait for a lock: a migration, an index that is made, a backup."""

    @pytest.fixture
    def locks_rows(self):
        """The project may lock a row, and others can pass over it."""
        if not connection.features.has_select_for_update_skip_locked:
            pytest.skip("this database locks all or nothing")

    def test_dispatcher_passes_over_a_due_record_that_is_locked(
        self, store, locks_rows
    ):
        kept, free = added(store, PAST), added(store, PAST)

        def take():
            return store.take([kept, free], token="d", again_s=60, pushed_to="there")

        assert [record.id for record in while_kept(kept, take)] == [free]
        assert [record.token for record in store.get([kept])] == [""]
        assert {record.id for record in take()} == {kept, free}

    @pytest.mark.parametrize("step", ["put_back", "postpone", "redirect"])
    def test_dispatcher_passes_over_a_pushed_record_that_is_locked(
        self, store, locks_rows, step
    ):
        kept, free = added(store, PAST), added(store, PAST)
        ids = [kept, free]
        steps = {
            "put_back": lambda: store.put_back(ids, token="", after_s=600),
            "postpone": lambda: store.postpone(ids, after_s=600),
            "redirect": lambda: store.redirect("there"),
        }
        if step == "redirect":
            store.postpone(ids, after_s=600)
        before = values(one(store, kept))
        while_kept(kept, steps[step])
        assert values(one(store, kept)) == before
        assert values(one(store, free))["wake_at"] != before["wake_at"]

    def test_lost_attempt_whose_record_is_locked_is_passed_over(
        self, store, locks_rows
    ):
        record = one(store, claimed(store, lease_s=-1))

        def expire():
            return store.expire(record, errors=[ERROR], rerun=True)

        assert not while_kept(record.id, expire)
        assert expire()

    def test_record_to_which_a_reference_is_being_added_is_taken(self, store):
        """On MariaDB that excludes all other writers."""
        if connection.vendor != "postgresql":
            pytest.skip("only PostgreSQL tells keys from other columns")
        key = added(store, PAST)

        def take():
            return store.take([key], token="d", again_s=60, pushed_to="there")

        assert while_kept(key, take, lock="FOR KEY SHARE")

    @pytest.mark.parametrize("step", ["claim", "extend"])
    def test_lease_counts_from_when_it_is_written(self, store, step):
        record_id = added(store) if step == "claim" else claimed(store)
        steps = {
            "claim": lambda: claim(store, record_id, "worker", lease_s=3),
            "extend": lambda: store.extend([record_id], token="worker", lease_s=3),
        }
        assert while_locked(record_id, steps[step], for_s=3.2) == {record_id}
        assert 1 < seconds_until(one(store, record_id).wake_at) <= 3

    def test_lease_is_not_ended_by_who_had_to_wait_as_its_worker_did(self, store):
        record = one(store, claimed(store, lease_s=-1))

        def expire():
            return store.expire(record, errors=[ERROR], rerun=True)

        assert not while_locked(record.id, expire, for_s=1.5)
        assert one(store, record.id).status == "RUNNING"
        assert expire()


class RaceContract:
    """Threads with a connection each; those of several processes are no different."""

    def test_one_worker_wins_a_claim(self, store):
        for _ in range(ROUNDS):
            key = added(store)
            tokens = [f"w{n}" for n in range(RACERS)]
            won = race(*(lambda key=key, t=t: claim(store, key, t) for t in tokens))
            [winner] = [t for t, ids in zip(tokens, won, strict=True) if ids]
            found = one(store, key)
            assert (found.attempt, found.token) == (1, winner)

    def test_chunks_that_overlap_are_claimed_once(self, store):
        """Even where databases end deadlocks by making one of them fail."""
        for _ in range(ROUNDS):
            ids = [added(store) for _ in range(20)]

            def chunk(token, ids=ids):
                mine = random.sample(ids, 15)
                return insist(
                    lambda tries: claim(store, *mine, token, again=tries > 0),
                    StoreUnavailable,
                    for_s=20,
                )

            won = race(*(lambda t=f"w{n}": chunk(t) for n in range(RACERS)))
            assert sum(map(len, won)) == len(set().union(*won))
            for n, mine in enumerate(won):
                assert {r.token for r in store.get(mine)} <= {f"w{n}"}
            assert {r.attempt for r in store.get(ids) if r.attempt} == {1}

    def test_each_record_is_taken_by_one_dispatcher(self, store):
        for _ in range(ROUNDS):
            ids = [added(store, PAST) for _ in range(20)]

            def take(token, ids=ids):
                return insist(
                    lambda _: store.take(
                        ids, token=token, again_s=60, pushed_to="here"
                    ),
                    StoreUnavailable,
                    for_s=20,
                )

            won = race(*(lambda t=f"d{n}": take(t) for n in range(RACERS)))
            taken = Counter(r.id for records in won for r in records)
            assert taken == Counter(ids)

    def test_lost_attempt_is_counted_once(self, store):
        for _ in range(ROUNDS):
            record = one(store, claimed(store, lease_s=-1))
            expire = [lambda r=record: store.expire(r, errors=[], rerun=True)]
            assert sorted(race(*expire * RACERS)) == [False] * (RACERS - 1) + [True]
            assert one(store, record.id).lost == 1

    @pytest.mark.parametrize("finish", ["succeed", "fail", "retry"])
    def test_attempt_is_either_finished_or_lost(self, store, finish):
        for _ in range(ROUNDS):
            record = one(store, claimed(store, lease_s=-1))
            key = record.id
            end = FINISHES[finish]
            expired, finished = race(
                lambda r=record: store.expire(r, errors=[ERROR], rerun=False),
                lambda key=key, end=end: bool(end(store, key, "worker")),
            )
            assert expired != finished
            assert one(store, key).lost == expired

    def test_lease_is_either_extended_or_ended(self, store):
        for _ in range(ROUNDS):
            record = one(store, claimed(store, lease_s=-1))
            key = record.id
            expired, _ = race(
                lambda r=record: store.expire(r, errors=[], rerun=True),
                lambda key=key: store.extend([key], token="worker", lease_s=60),
            )
            found = one(store, key)
            assert (found.status == "READY") == expired
            assert (seconds_until(found.wake_at) > 0) == (not expired)
