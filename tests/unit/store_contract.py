"""What every store promises, both sides of it.

A subclass has two fixtures: `store`, of the alias "default", and `neighbour`, the store
of another alias in the same place. Time passes by leases and delays that end in the
past, since only the clock of the store counts.
"""

import json
import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from django.db import transaction

from taskbridge.compat import TaskError
from taskbridge.identity import new_id
from taskbridge.store import Json
from taskbridge.store.record import NOTHING
from tests.unit.store_contract_by_hand import (
    ByHandContract,
    CancelContract,
    CancelRaceContract,
)
from tests.unit.store_contract_chunks import ChunkContract
from tests.unit.store_contract_dispatch import (
    DispatchContract,
    LockContract,
    RaceContract,
)
from tests.unit.store_contract_pausing import PausingContract
from tests.unit.store_contract_pruning import PruningContract
from tests.unit.store_contract_warden import WardenContract
from tests.unit.store_contract_workers import WorkersContract
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
    seconds_until,
    values,
)

MAX_ATTEMPTS = 3
MAX_LOST = 3


class InsertContract:
    def test_every_field_of_a_new_record_is_kept(self, store):
        run_after = datetime(2999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
        record = new_record(
            task="größe.tasks.日本",
            queue_name="q%s {x} 'quoted' \U0001f40d",
            priority=-100,
            at_most_once=True,
            run_after=run_after,
            wake_at=run_after,
            pushes=0,
            pushed_to="0123456789abcdef",
        )
        store.insert([record], None)
        found = one(store, record.id)
        assert values(found) == values(record)
        assert found.id == record.id
        assert found.run_after.tzinfo is not None

    def test_last_instant_that_python_knows_is_kept(self, store):
        last = datetime.max.replace(tzinfo=UTC)
        record_id = added(store, run_after=last, wake_at=last)
        assert one(store, record_id).wake_at == last

    @pytest.mark.parametrize(
        "text",
        [
            "\0 and \x1f",
            "日本 \U0001f40d ü",
            "%s %(a)s {0} :x ? ''",
            'quotes " \\ \\u0000',
            "\ud800",
            "x" * 3_000_000,
        ],
        ids=["nul", "unicode", "places", "quotes", "surrogate", "big"],
    )
    def test_text_is_kept_as_it_was_given(self, store, text):
        arguments, value = Json.of([[text], {}]), Json.of(text)
        error = TaskError(exception_class_path="path.Error", traceback=text[:60_000])
        record_id = added(store, arguments=arguments)
        claim(store, record_id, "a")
        store.retry(record_id, token="a", errors=[error], after_s=0)
        claim(store, record_id, "b", attempt=1)
        store.succeed({record_id: value}, token="b")
        found = one(store, record_id)
        assert found.arguments == arguments
        assert (found.task_errors, found.return_value) == ([error], value)

    def test_text_that_is_not_escaped_is_kept(self, store):
        arguments = Json(json.dumps(["日本 \U0001f40d \u2028"], ensure_ascii=False))
        assert one(store, added(store, arguments=arguments)).arguments == arguments

    def test_thousand_records_are_inserted(self, store):
        records = [new_record(arguments=Json(f"[[{n}],{{}}]")) for n in range(1000)]
        store.insert(records, None)
        found = {
            record.id: record.arguments for record in store.get([r.id for r in records])
        }
        assert found == {record.id: record.arguments for record in records}

    def test_more_than_one_statement_can_hold_is_inserted(self, store):
        few = [new_record(arguments=Json("x" * 1_500_000)) for _ in range(5)]
        many = [new_record() for _ in range(2100)]
        store.insert([*few, *many], None)
        assert store.counts() == {"READY": 2105}

    def test_then_is_called_when_others_can_see_the_records(self, store):
        record = new_record()
        seen = []

        def then():
            seen.extend(race(lambda: store.get([record.id])))

        store.insert([record], then)
        assert [[r.id for r in found] for found in seen] == [[record.id]]

    def test_what_fails_afterwards_is_not_a_failure_to_insert(self, store, caplog):
        record = new_record()
        store.insert([record], lambda: 1 / 0)
        assert store.get([record.id])
        assert "ZeroDivisionError" in caplog.text

    def test_commit_of_the_caller_commits_records(self, store):
        record, calls = new_record(), []
        with transaction.atomic():
            store.insert([record], lambda: calls.append(store.get([record.id])))
            assert race(lambda: store.get([record.id])) == [[]]
            assert calls == []
        assert [[r.id for r in found] for found in calls] == [[record.id]]

    def test_rollback_of_the_caller_leaves_nothing(self, store):
        record, calls = new_record(), []
        with pytest.raises(LookupError), transaction.atomic():
            store.insert([record], lambda: calls.append(1))
            raise LookupError
        assert (store.get([record.id]), calls) == ([], [])

    def test_rollback_of_a_savepoint_leaves_what_was_outside(self, store):
        calls = []
        outer, inner = new_record(), new_record()
        with transaction.atomic():
            store.insert([outer], lambda: calls.append("outer"))
            with pytest.raises(LookupError), transaction.atomic():
                store.insert([inner], lambda: calls.append("inner"))
                raise LookupError
        found = store.get([outer.id, inner.id])
        assert ([r.id for r in found], calls) == ([outer.id], ["outer"])


class RunContract:
    def test_claim_starts_an_attempt(self, store):
        record_id = added(store)
        before = values(one(store, record_id))
        assert claim(store, record_id, "worker", lease_s=30) == {record_id}
        found = one(store, record_id)
        changed = {k for k, v in values(found).items() if v != before[k]}
        assert changed == {
            *("status", "attempt", "worker_ids", "token", "wake_at"),
            *("started_at", "last_attempted_at"),
        }
        assert (found.status, found.attempt, found.token) == ("RUNNING", 1, "worker")
        assert found.workers == ["w"]
        assert 0 >= seconds_until(found.started_at) > -10
        assert found.started_at == found.last_attempted_at
        assert 20 < seconds_until(found.wake_at) <= 30

    def test_duplicate_is_not_claimed(self, store):
        record_id = claimed(store, "first")
        before = values(one(store, record_id))
        assert claim(store, record_id, "second") == set()
        assert claim(store, record_id, "second", attempt=1) == set()
        assert values(one(store, record_id)) == before

    @pytest.mark.parametrize("attempt", [0, 2])
    def test_message_of_another_attempt_is_not_claimed(self, store, attempt):
        record_id = claimed(store)
        store.retry(record_id, token="worker", errors=[], after_s=0)
        assert claim(store, record_id, "late", attempt=attempt) == set()
        assert claim(store, record_id, "right", attempt=1) == {record_id}

    def test_those_that_can_be_are_claimed_together(self, store):
        mine = {added(store) for _ in range(20)}
        running, finished = claimed(store, "other"), claimed(store, "other")
        store.succeed({finished: Json("1")}, token="other")
        asked = [*mine, running, finished, new_id()]
        assert claim(store, *asked, "worker") == mine
        assert {r.token for r in store.get(mine)} == {"worker"}
        assert one(store, running).token == "other"

    def test_claim_made_again_finds_what_it_had_claimed(self, store):
        first, second = added(store), added(store)
        assert claim(store, first, "a") == {first}
        assert claim(store, second, "b") == {second}
        assert claim(store, first, second, "a") == set()
        assert claim(store, first, second, "a", again=True) == {first}
        third = added(store)
        assert claim(store, first, third, "a", again=True) == {first, third}
        assert one(store, first).attempt == 1

    def test_claim_made_again_does_not_find_what_has_ended(self, store):
        record_id = claimed(store, "a")
        store.fail(record_id, token="a", errors=[])
        assert claim(store, record_id, "a", again=True) == set()

    def test_first_start_is_kept(self, store):
        record_id = claimed(store)
        store.retry(record_id, token="worker", errors=[], after_s=-1)
        first = one(store, record_id)
        claim(store, record_id, "next", attempt=1)
        second = one(store, record_id)
        assert second.started_at == first.started_at
        assert second.last_attempted_at >= first.last_attempted_at
        assert second.attempt == 2

    def test_lease_is_extended_by_its_holder_alone(self, store):
        mine, other = claimed(store, "a", lease_s=5), claimed(store, "b", lease_s=5)
        store.extend([mine, other, new_id()], token="a", lease_s=100)
        assert 90 < seconds_until(one(store, mine).wake_at) <= 100
        assert seconds_until(one(store, other).wake_at) <= 5

    def test_lease_of_a_finished_attempt_is_not_extended(self, store):
        done, again = claimed(store), claimed(store)
        store.succeed({done: Json("1")}, token="worker")
        store.retry(again, token="worker", errors=[], after_s=5)
        store.extend([done, again], token="worker", lease_s=100)
        assert one(store, done).wake_at is None
        assert seconds_until(one(store, again).wake_at) <= 5

    @pytest.mark.parametrize("same", [True, False])
    def test_successes_are_written_together(self, store, same):
        ids = [claimed(store) for _ in range(5)]
        returned = {key: Json.of(1 if same else key) for key in ids}
        assert store.succeed(returned, token="worker") == 5
        for record in store.get(ids):
            assert record.return_value == returned[record.id]
            assert (record.status, record.wake_at) == ("SUCCESSFUL", None)
            assert 0 >= seconds_until(record.finished_at) > -10
        assert store.look(horizon_s=1000, limit=10) == []

    def test_success_of_another_holder_is_refused(self, store):
        mine, other = claimed(store, "a"), claimed(store, "b")
        returned = dict.fromkeys([mine, other, new_id()], Json("1"))
        assert store.succeed(returned, token="a") == 1
        found = one(store, other)
        assert (found.status, found.return_value) == ("RUNNING", NOTHING)

    def test_failure_followed_by_another_attempt(self, store):
        record_id = claimed(store)
        assert store.retry(record_id, token="worker", errors=[ERROR], after_s=50)
        found = one(store, record_id)
        assert (found.status, found.attempt, found.pushes) == ("READY", 1, 0)
        assert (found.task_errors, found.finished_at) == ([ERROR], None)
        assert 40 < seconds_until(found.wake_at) <= 50

    def test_last_failure(self, store):
        record_id = claimed(store)
        assert store.fail(record_id, token="worker", errors=[ERROR])
        found = one(store, record_id)
        assert (found.status, found.task_errors) == ("FAILED", [ERROR])
        assert found.wake_at is None
        assert 0 >= seconds_until(found.finished_at) > -10

    @pytest.mark.parametrize("finish", FINISHES)
    def test_finish_without_the_claim_changes_nothing(self, store, finish):
        record_id = claimed(store)
        before = values(one(store, record_id))
        assert not FINISHES[finish](store, record_id, "other")
        assert not FINISHES[finish](store, record_id, "")
        assert not FINISHES[finish](store, new_id(), "worker")
        assert values(one(store, record_id)) == before

    @pytest.mark.parametrize("second", FINISHES)
    @pytest.mark.parametrize("first", FINISHES)
    def test_finish_can_be_said_again_but_not_changed(self, store, first, second):
        record_id = claimed(store)
        assert FINISHES[first](store, record_id, "worker")
        status = one(store, record_id).status
        answer = FINISHES[second](store, record_id, "worker")
        assert bool(answer) == (first == second)
        assert one(store, record_id).status == status
        assert store.counts() == {status: 1}

    @pytest.mark.parametrize("rerun", [True, False])
    @pytest.mark.parametrize("finish", FINISHES)
    def test_late_finish_is_refused(self, store, finish, rerun):
        record_id = claimed(store, lease_s=-1)
        store.expire(one(store, record_id), errors=[], rerun=rerun)
        before = values(one(store, record_id))
        assert not FINISHES[finish](store, record_id, "worker")
        assert values(one(store, record_id)) == before
        if rerun:
            assert claim(store, record_id, "next", attempt=1)
            assert not FINISHES[finish](store, record_id, "worker")
            assert one(store, record_id).token == "next"

    @pytest.mark.parametrize("finish", FINISHES)
    def test_finish_after_the_lease_is_taken_if_nobody_was_faster(self, store, finish):
        record_id = claimed(store, lease_s=-1)
        assert FINISHES[finish](store, record_id, "worker")

    def test_attempts_are_bounded(self, store):
        """Whatever order crashes, failures and duplicates of messages come in."""
        chance = random.Random(1)
        ended_as = Counter()
        for _ in range(20):
            record_id, started = added(store, PAST), 0
            while (record := one(store, record_id)).status == "READY":
                tokens = [new_id()[-16:] for _ in range(chance.randint(1, 3))]
                won = [
                    token
                    for token in tokens
                    if claim(store, record_id, token, attempt=started, lease_s=-1)
                ]
                assert len(won) == 1
                started += 1
                self._end(store, one(store, record_id), chance)
            assert record.attempt == started <= MAX_ATTEMPTS + MAX_LOST
            ended_as[record.status] += 1
        assert set(ended_as) == {"SUCCESSFUL", "FAILED"}

    def _end(self, store, record, chance):
        """Let an attempt be lost, or end, or both in either order; one counts."""
        key, token = record.id, record.token
        last = record.attempt - record.lost >= MAX_ATTEMPTS
        finish = chance.choice(["retry", "succeed", "fail" if last else "retry"])
        if last and finish == "retry":
            finish = "fail"

        def lose():
            return store.expire(record, errors=[], rerun=record.lost < MAX_LOST)

        def end():
            return FINISHES[finish](store, key, token)

        steps = chance.choice([[lose], [end], [lose, end], [end, lose]])
        assert [bool(step()) for step in steps] == [True, False][: len(steps)]


class StoreContract(
    PausingContract,
    WorkersContract,
    PruningContract,
    InsertContract,
    RunContract,
    ChunkContract,
    WardenContract,
    DispatchContract,
    LockContract,
    RaceContract,
    CancelContract,
    ByHandContract,
    CancelRaceContract,
):
    """All of it."""
