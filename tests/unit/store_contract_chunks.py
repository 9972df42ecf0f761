"""The part of the contract of stores that is about claims of several tasks."""

import contextlib

import pytest
from django.db import IntegrityError, connection

from tests.unit.store_records import added, claim, one, race, values

ERRORS = []


def chunk(store, count=4, *, lease_s=60, **fields):
    """Insert records and claim them together; return their ids, the first first."""
    ids = [added(store, **fields) for _ in range(count)]
    assert claim(store, *ids, "worker", lease_s=lease_s) == set(ids)
    return ids


def is_as_before(record, given_back):
    """Whether a record is as if it had not been claimed, but for that count."""
    found = (record.status, record.attempt, record.workers, record.started_at)
    return found == ("READY", 0, [], None) and (
        (record.last_attempted_at, record.token, record.pushes, record.given_back)
        == (None, "", 0, given_back)
    )


class ChunkContract:
    def test_what_has_not_begun_goes_back_and_is_due(self, store):
        runs, *rest = chunk(store)
        store.give_back(rest, token="worker")
        assert all(is_as_before(one(store, each), 1) for each in rest)
        assert one(store, runs).status == "RUNNING"
        assert {due.id for due in store.look(horizon_s=0, limit=9)} == set(rest)
        store.give_back(rest, token="worker")  # the answer was lost
        assert all(is_as_before(one(store, each), 1) for each in rest)

    def test_what_is_not_ours_does_not_go_back(self, store):
        ids = chunk(store)
        store.give_back([], token="worker")
        store.give_back(ids, token="other")
        assert {one(store, each).status for each in ids} == {"RUNNING"}

    def test_what_was_given_back_is_claimed_alone(self, store):
        runs, *rest = chunk(store)
        store.give_back(rest, token="worker")
        fresh = added(store)
        assert claim(store, *rest, fresh, "next") == {fresh}
        assert set(store.given_back([*rest, fresh, runs])) == set(rest)
        for each in rest:
            assert claim(store, each, f"alone {each[:3]}") == {each}
        assert not store.given_back(rest)
        assert not store.given_back([])

    def test_all_of_a_lost_claim_but_the_first_goes_back(self, store):
        ids = chunk(store, lease_s=-1)
        others = chunk(store, lease_s=60)
        first, reclaimed = store.reclaim("worker")
        assert (first, set(reclaimed)) == (ids[0], set(ids[1:]))
        assert all(is_as_before(one(store, each), 1) for each in ids[1:])
        assert {one(store, each).status for each in others} == {"RUNNING"}
        assert store.reclaim("worker") == (ids[0], set())
        assert store.expire(one(store, first), errors=ERRORS, rerun=True)
        assert store.reclaim("worker") == (None, set())

    def test_first_of_a_lost_claim_is_that_of_highest_priority(self, store):
        low, high = (added(store, priority=priority) for priority in (-5, 5))
        claim(store, low, high, "worker", lease_s=-1)
        first, reclaimed = store.reclaim("worker")
        assert (first, set(reclaimed)) == (high, {low})

    def test_claim_that_is_not_lost_is_left(self, store, neighbour):
        ids = chunk(store)
        before = [values(one(store, each)) for each in ids]
        assert store.reclaim("worker") == (None, set())
        store.extend(ids, token="worker", lease_s=-1)
        assert neighbour.reclaim("worker") == (None, set())
        store.extend(ids, token="worker", lease_s=60)
        assert store.reclaim("worker") == (None, set())
        after = [values(one(store, each)) for each in ids]
        assert [{**v, "wake_at": 0} for v in after] == [
            {**v, "wake_at": 0} for v in before
        ]

    @pytest.mark.parametrize("dispatchers", [2, 4])
    def test_dispatchers_count_one_lost_attempt_of_a_claim(self, store, dispatchers):
        ids = chunk(store, 12, lease_s=-1)

        def recover():
            first, _ = store.reclaim("worker")
            if first is None:
                return False
            record = one(store, first)
            is_lost = record.status == "RUNNING"
            return is_lost and store.expire(record, errors=ERRORS, rerun=True)

        assert race(*[recover] * dispatchers).count(True) == 1
        assert [one(store, each).lost for each in ids] == [1, *[0] * 11]
        assert all(is_as_before(one(store, each), 1) for each in ids[1:])

    def test_claim_whose_leases_have_ended_in_part_is_left(self, store):
        """Some databases write a time of its own for each row of a statement."""
        ids = chunk(store, 3, lease_s=-1)
        store.extend(ids[:1], token="worker", lease_s=0.6)
        assert store.reclaim("worker") == (None, set())
        assert {one(store, each).status for each in ids} == {"RUNNING"}

    def test_task_that_is_to_run_at_most_once_is_claimed_alone(self, store):
        """Whoever asks for several may have older code than who enqueued them."""
        once = [added(store, at_most_once=True) for _ in range(2)]
        other = added(store)
        assert claim(store, *once, other, "worker") == {other}
        assert set(store.given_back([*once, other])) == set(once)
        assert claim(store, once[0], "alone") == {once[0]}

    def test_row_that_cannot_be_written_holds_up_no_other(self, store):
        ids = chunk(store, 3, lease_s=-1)
        with refused(ids[1]):
            first, reclaimed = store.reclaim("worker")
        assert (first, set(reclaimed)) == (ids[0], {ids[2]})
        assert one(store, ids[1]).status == "RUNNING"


@contextlib.contextmanager
def refused(record_id):
    """Have the database refuse to change a record."""

    def refuse(execute, sql, params, many, context):
        keys = {str(p).replace("-", "") for p in _flat(params or ())}
        if sql.lstrip().startswith("UPDATE") and record_id in keys:
            raise IntegrityError("a trigger")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


def _flat(values):
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
