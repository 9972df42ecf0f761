"""What every store promises to people: cancel, retry, run now, forget, and find."""

import random
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

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
    new_record,
    one,
    race,
    referring_table,
    seconds_until,
    values,
    while_kept,
)

CANCELLED = "taskbridge.exceptions.TaskCancelled"
RACES = 1000


def failed(store, errors=(ERROR,), **fields):
    record_id = claimed(store, **fields)
    assert store.fail(record_id, token="worker", errors=list(errors))
    return record_id


def succeeded(store):
    record_id = claimed(store)
    assert store.succeed({record_id: Json("1")}, token="worker")
    return record_id


def paths(record):
    return [error.exception_class_path for error in record.task_errors]


class CancelContract:
    @pytest.mark.parametrize(
        "fields", [{}, {"pushes": 0}, {"pushes": 0, "wake_in": timedelta(days=3)}]
    )
    def test_cancel_ends_what_waits(self, store, fields):
        record_id = added(store, **fields)
        assert store.cancel([record_id], by="ann") == ({record_id}, set(), set())
        found = one(store, record_id)
        assert (found.status, found.cancelled_by) == ("FAILED", "ann")
        assert (found.wake_at, paths(found)) == (None, [CANCELLED])
        assert "Cancelled by ann." in found.task_errors[0].traceback
        assert 0 >= seconds_until(found.finished_at) > -10
        assert claim(store, record_id, "worker") == set()

    @pytest.mark.parametrize("errors", [[], [ERROR], [ERROR, ERROR]])
    def test_cancel_of_what_waits_for_a_retry_keeps_its_errors(self, store, errors):
        record_id = claimed(store)
        store.retry(record_id, token="worker", errors=errors, after_s=60)
        assert store.cancel([record_id], by="Ünal \"x\" 'y' %s \\").ended
        found = one(store, record_id)
        assert found.task_errors[:-1] == errors
        assert "Cancelled by Ünal \"x\" 'y' %s \\." in found.task_errors[-1].traceback
        assert claim(store, record_id, "next", attempt=1) == set()
        assert not store.retry(record_id, token="worker", errors=errors, after_s=60)

    @pytest.mark.parametrize("finish", FINISHES)
    def test_cancel_of_what_runs_refuses_its_finish(self, store, finish):
        record_id = claimed(store)
        assert store.cancel([record_id], by="ann") == (set(), {record_id}, set())
        found = one(store, record_id)
        assert (found.status, found.cancelled_by, found.kill) == (
            *("RUNNING", "ann"),
            False,
        )
        assert not FINISHES[finish](store, record_id, "worker")
        assert store.extend([record_id], token="worker", lease_s=60)
        ended = store.end_cancelled(record_id, token="worker", errors=[ERROR])
        assert ended == "ann"
        found = one(store, record_id)
        assert (found.status, found.wake_at) == ("FAILED", None)
        assert paths(found) == [ERROR.exception_class_path, CANCELLED]
        assert 0 >= seconds_until(found.finished_at) > -10

    def test_errors_of_the_record_are_kept_if_none_are_given(self, store):
        record_id = claimed(store)
        store.retry(record_id, token="worker", errors=[ERROR], after_s=0)
        claim(store, record_id, "next", attempt=1)
        store.cancel([record_id], by="ann")
        assert store.end_cancelled(record_id, token="next", errors=None) == "ann"
        found = one(store, record_id)
        assert paths(found) == [ERROR.exception_class_path, CANCELLED]

    def test_end_is_not_taken_from_another_holder(self, store):
        record_id = claimed(store)
        assert store.end_cancelled(record_id, token="worker", errors=[]) is None
        store.cancel([record_id], by="ann")
        assert store.end_cancelled(record_id, token="other", errors=[]) is None
        assert store.end_cancelled(new_id(), token="worker", errors=[]) is None
        assert one(store, record_id).status == "RUNNING"

    def test_end_said_again_is_the_same_end(self, store):
        record_id = claimed(store)
        store.cancel([record_id], by="ann")
        assert store.end_cancelled(record_id, token="worker", errors=[]) == "ann"
        before = values(one(store, record_id))
        end = {"token": "worker", "errors": [ERROR]}
        assert store.end_cancelled(record_id, **end) is None
        assert store.end_cancelled(record_id, **end, again=True) == "ann"
        assert values(one(store, record_id)) == before

    def test_kill_can_be_added_but_not_taken_back(self, store):
        record_id = claimed(store)
        for by, kill, expected in [
            ("ann", False, False),
            ("bob", True, True),
            ("eve", False, True),
        ]:
            assert store.cancel([record_id], by=by, kill=kill).asked == {record_id}
            [standing] = store.standing([record_id])
            assert (standing.cancelled_by, standing.kill) == ("ann", expected)

    def test_cancel_says_nothing_of_what_has_finished(self, store):
        ids = [failed(store), succeeded(store), added(store), new_id()]
        store.cancel([ids[2]], by="ann")
        before = [values(each) for each in store.get(ids)]
        assert store.cancel(ids, by="bob", kill=True) == (set(), set(), set())
        assert [values(each) for each in store.get(ids)] == before

    def test_many_are_cancelled_together(self, store):
        waiting = {added(store) for _ in range(30)}
        running = {claimed(store) for _ in range(20)}
        found = store.cancel([*waiting, *running, succeeded(store)], by="x" * 300)
        assert found == (waiting, running, set())
        assert {r.cancelled_by for r in store.get([*waiting, *running])} == {"x" * 255}
        assert store.cancel([], by="ann") == (set(), set(), set())

    def test_neighbours_cannot_touch_each_other(self, store, neighbour):
        ids = [added(store, pushes=0), claimed(store), failed(store), succeeded(store)]
        before = [values(each) for each in store.get(ids)]
        assert neighbour.cancel(ids, by="ann") == (set(), set(), set())
        assert neighbour.rerun(ids) == neighbour.hurry(ids) == 0
        assert neighbour.forget(ids) == (0, 0)
        assert neighbour.standing(ids) == []
        everywhere = sorted(neighbour.standing(ids, of_any=True))
        assert everywhere == sorted(store.standing(ids))
        assert len(everywhere) == 4
        assert neighbour.page(None, age_s=0, after=None, limit=10) == []
        assert [values(each) for each in store.get(ids)] == before

    def test_cancelled_one_that_is_given_back_is_not_claimed(self, store):
        first, second = added(store), added(store)
        claim(store, first, second, "+token")
        store.cancel([second], by="ann")
        store.give_back([second], token="+token")
        assert claim(store, second, "other") == set()
        assert store.cancel([second], by="ann").ended == {second}
        assert one(store, second).status == "FAILED"

    def test_lost_one_that_was_cancelled_meanwhile_is_left(self, store):
        record_id = claimed(store, lease_s=-1)
        seen = one(store, record_id)
        store.cancel([record_id], by="ann")
        assert not store.expire(seen, errors=[ERROR], rerun=True)
        assert store.expire(one(store, record_id), errors=[ERROR], rerun=False)
        assert one(store, record_id).status == "FAILED"

    def test_cancel_is_undone_with_the_transaction_of_its_caller(self, store):
        record_id = added(store)
        with pytest.raises(LookupError), transaction.atomic():
            assert store.cancel([record_id], by="ann").ended
            raise LookupError
        assert claim(store, record_id, "worker") == {record_id}

    def test_cancel_goes_by_what_is_newer_than_its_snapshot(self, store):
        if connection.vendor != "mysql":
            pytest.skip("whoever sees the past here cannot change what is newer")
        runs, ended, waits = added(store), claimed(store), added(store)
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with transaction.atomic():
            assert one(store, runs).status == "READY"
            race(
                lambda: claim(store, runs, "worker"),
                lambda: store.succeed({ended: Json("1")}, token="worker"),
            )
            found = store.cancel([runs, ended, waits], by="ann")
        assert found == ({waits}, {runs}, set())
        assert one(store, runs).cancelled_by == "ann"
        assert one(store, ended).status == "SUCCESSFUL"

    def test_database_that_is_away_is_said_to_be(self, store, monkeypatch):
        if connection.vendor == "sqlite":
            pytest.skip("this database is a file")
        nowhere = connection.copy()
        nowhere.settings_dict |= {"HOST": "127.0.0.1", "PORT": "1"}
        monkeypatch.setattr(connections._connections, connection.alias, nowhere)
        for call in (store.rerun, store.hurry, store.forget, store.standing):
            with pytest.raises(StoreUnavailable):
                call([new_id()])
        with pytest.raises(StoreUnavailable):
            store.cancel([new_id()], by="ann")

    def test_locked_records_hold_up_nothing(self, store, monkeypatch):
        if not connection.features.has_select_for_update_skip_locked:
            pytest.skip("this database locks all or nothing")
        monkeypatch.setattr("taskbridge.store.handwork.LOCKED_S", 0.3)
        kept, free = added(store, pushes=0), added(store, pushes=0)
        found = while_kept(kept, lambda: store.cancel([kept, free], by="ann"))
        assert found == ({free}, set(), {kept}), (found, kept, free)
        ended = failed(store)
        assert while_kept(ended, lambda: store.rerun([ended, free])) == 1
        assert while_kept(kept, lambda: store.hurry([kept])) == 0
        assert while_kept(ended, lambda: store.forget([ended])) == (0, 0)


class ByHandContract:
    def test_rerun_makes_a_failed_one_due(self, store):
        record_id = failed(store)
        assert store.rerun([record_id, succeeded(store), claimed(store)]) == 1
        found = one(store, record_id)
        assert (found.status, found.attempt, found.pushes) == ("READY", 1, 0)
        assert (found.finished_at, found.task_errors) == (None, [ERROR])
        assert seconds_until(found.wake_at) <= 0
        assert claim(store, record_id, "next", attempt=1) == {record_id}

    def test_rerun_of_a_cancelled_one_forgets_that(self, store):
        waited, ran = added(store), claimed(store)
        store.cancel([waited, ran], by="ann", kill=True)
        store.end_cancelled(ran, token="worker", errors=[])
        assert store.rerun([waited, ran]) == 2
        for each in store.standing([waited, ran]):
            assert each[1:] == ("", "READY", "", False, store._alias)
        assert claim(store, waited, "a") == {waited}
        assert claim(store, ran, "b", attempt=1) == {ran}
        assert store.succeed(dict.fromkeys([ran], Json("1")), token="b") == 1

    def test_hurry_makes_a_delayed_one_due(self, store):
        delayed = added(store, timedelta(days=1), pushes=0)
        retried = claimed(store)
        store.retry(retried, token="worker", errors=[ERROR], after_s=500)
        others = [added(store), claimed(store), failed(store), added(store, PAST)]
        before = [values(each) for each in store.get(others)]
        assert store.hurry([delayed, retried, *others]) == 2
        due = {each.id for each in store.look(horizon_s=0, limit=10)}
        assert due == {delayed, retried, others[-1]}
        assert [values(each) for each in store.get(others)] == before

    def test_forget_deletes_what_has_finished(self, store):
        ended = [failed(store), succeeded(store)]
        others = [added(store), claimed(store)]
        assert store.forget([*ended, *others, new_id()]) == (2, 0)
        assert {each.id for each in store.get([*ended, *others])} == set(others)

    def test_forget_keeps_what_other_rows_refer_to(self, store):
        ended = [failed(store) for _ in range(5)]
        with referring_table(ended[2]):
            assert store.forget(ended) == (4, 1)
            assert [each.id for each in store.get(ended)] == [ended[2]]

    def test_forget_in_a_transaction_does_not_break_its_commit(self, store):
        ended = [failed(store) for _ in range(5)]
        with referring_table(ended[2]):
            with transaction.atomic():
                assert store.forget(ended) == (4, 1)
            assert [each.id for each in store.get(ended)] == [ended[2]]

    def test_pages_go_through_what_is_open(self, store):
        ids = {added(store, timedelta(seconds=n)) for n in range(25)}
        ids |= {claimed(store) for _ in range(3)}
        failed(store)
        succeeded(store)
        assert all_of(store, None) == ids

    def test_pages_go_through_what_is_due_at_the_same_instant(self, store):
        due = timezone.now()
        ids = {new_id() for _ in range(23)}
        store.insert([new_record(id=each, wake_at=due) for each in ids], None)
        assert all_of(store, None) == ids

    def test_pages_go_through_what_has_finished(self, store):
        bad = {failed(store) for _ in range(12)}
        good = {succeeded(store) for _ in range(12)}
        added(store)
        assert all_of(store, "FAILED") == bad
        assert all_of(store, "SUCCESSFUL") == good
        assert all_of(store, "FAILED", age_s=60) == set()

    def test_page_tells_what_filters_ask_for(self, store):
        waiting = added(store, queue_name="slow", task="shop.tasks.ship", pushes=0)
        [found] = store.page(None, age_s=-5, after=None, limit=5)
        assert (found.id, found.status, found.pushes) == (waiting, "READY", 0)
        assert (found.queue_name, found.task) == ("slow", "shop.tasks.ship")
        assert (found.cancelled_by, found.kill, found.is_old) == ("", False, True)
        [found] = store.page(None, age_s=60, after=None, limit=5)
        assert not found.is_old
        store.cancel([claimed(store)], by="ann", kill=True)
        found = store.page(None, age_s=0, after=None, limit=5)
        assert {(each.cancelled_by, each.kill) for each in found} == {
            ("", False),
            ("ann", True),
        }

    def test_page_tells_the_last_error_if_it_is_asked(self, store):
        failed(store)
        [found] = store.page("FAILED", age_s=-5, after=None, limit=5)
        assert found.error == ""
        [found] = store.page("FAILED", age_s=-5, after=None, limit=5, errors=True)
        assert found.error == "builtins.ValueError"


def all_of(store, status, age_s=-5, limit=10):
    ids, after = [], None
    while page := store.page(status, age_s=age_s, after=after, limit=limit):
        assert len(page) <= limit
        ids += [found.id for found in page]
        after = page[-1]
    assert len(ids) == len(set(ids))
    return set(ids)


class CancelRaceContract:
    """Whoever cancels a task is told the truth, whatever happens to it meanwhile."""

    def test_no_race_loses_a_cancellation(self, store, monkeypatch):
        """A thousand tasks that are claimed, finished, retried and given back."""
        monkeypatch.setattr("taskbridge.store.handwork.LOCKED_S", 60)
        told = []

        def cancel_some(seed):
            chance = random.Random(seed)
            while len(told) < RACES:
                told.extend(_race(store, chance))

        race(*(lambda n=n: cancel_some(n) for n in range(2)))
        assert {said for said, _ in told} == {"ended", "asked", "too late"}
        assert {made for said, made in told if said != "too late"} == {"FAILED"}
        assert "SUCCESSFUL" in {made for said, made in told if said == "too late"}


def _race(store, chance):
    """Let a worker and somebody who cancels race for some tasks.

    Returns:
        What was said of each, and what has become of it.
    """
    lives = [Life(store, added(store, pushes=0), chance.random()) for _ in range(25)]
    said = {}

    def run_all():
        for life in lives:
            life.run()

    def cancel_all():
        for life in lives:
            found = insisted(store.cancel, [life.key], by="ann")
            assert not found.locked, (found, store.standing([life.key]))
            if found.ended or found.asked:
                life.is_told = True
            said[life.key] = (
                "ended" if found.ended else "asked" if found.asked else "too late"
            )

    race(run_all, cancel_all)
    found = {record.id: record for record in store.get([life.key for life in lives])}
    for life in lives:
        record, answer = found[life.key], said[life.key]
        assert not life.was_started_when_told, answer
        assert record.status in {"FAILED", "SUCCESSFUL"}, (answer, record)
        is_cancelled = paths(record)[-1:] == [CANCELLED]
        assert is_cancelled == (answer != "too late"), (answer, record)
        assert record.attempt == life.attempt, (answer, record, life.attempt)
    return [(said[key], found[key].status) for key in said]


class Life:
    """What a worker and a dispatcher do with a task until it has finished."""

    def __init__(self, store, key, seed):
        self.store, self.key = store, key
        self.chance = random.Random(seed)
        self.attempt = 0
        self.is_told = False
        """Whether somebody was told that it is cancelled."""
        self.was_started_when_told = False

    def run(self):
        for number in range(50):
            token = f"{number:x}-{self.key[-10:]}"
            was_told = self.is_told
            if not insisted(self._claim, token):
                self._end_as_dispatcher()
                return
            self.was_started_when_told |= was_told
            if self._end_attempt(token):
                return

    def _claim(self, token):
        return claim(self.store, self.key, token, attempt=self.attempt, again=True)

    def _end_as_dispatcher(self):
        """End what was cancelled before it was given back, as a dispatcher does."""
        [standing] = self.store.standing([self.key])
        if standing.status == "READY":
            assert standing.cancelled_by, standing
            insisted(self.store.cancel, [self.key], by=standing.cancelled_by)

    def _end_attempt(self, token):
        how = self.chance.choice(["succeed", "fail", "retry", "retry", "give_back"])
        if how == "give_back":
            if not self.attempt:
                insisted(self.store.give_back, [self.key], token=token)
                return False
            how = "retry"
        self.attempt += 1
        if insisted(FINISHES[how], self.store, self.key, token):
            return how != "retry"
        end = {"token": token, "errors": [ERROR], "again": True}
        found = insisted(self.store.end_cancelled, self.key, **end)
        assert found == "ann", (how, token, self.store.get([self.key]))
        return True


def insisted(call, *args, **options):
    return insist(lambda _: call(*args, **options), StoreUnavailable, for_s=30)
