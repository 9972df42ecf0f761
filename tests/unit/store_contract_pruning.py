"""What every store promises about the deletion of old records."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from taskbridge.models import TaskRecord
from taskbridge.store import Json, pruning
from tests.unit.durable.statements import Statements
from tests.unit.store_records import PAST, added, claimed, referring_table, while_kept

DAY_S = 86_400


def succeeded(store, count):
    """Insert records that have succeeded at one instant; return their ids."""
    ids = [claimed(store) for _ in range(count)]
    store.succeed(dict.fromkeys(ids, Json("1")), token="worker")
    return ids


def pruned(store, *, age_s=-1, limit=10):
    return store.prune(successful_s=age_s, failed_s=age_s, limit=limit)


class PruningContract:
    def test_old_records_are_pruned_by_status(self, store):
        done, failed = claimed(store), claimed(store)
        store.succeed({done: Json("1")}, token="worker")
        store.fail(failed, token="worker", errors=[])
        left = {claimed(store, lease_s=-1), added(store, PAST)}
        prune = store.prune
        nothing, one_of_them = (0, 0, False), (1, 0, False)
        assert prune(successful_s=None, failed_s=None, limit=10) == nothing
        assert prune(successful_s=60, failed_s=60, limit=10) == nothing
        assert prune(successful_s=None, failed_s=-1, limit=10) == one_of_them
        assert (store.get([failed]), len(store.get([done]))) == ([], 1)
        assert prune(successful_s=-1, failed_s=60, limit=10) == one_of_them
        assert prune(successful_s=-1, failed_s=-1, limit=10) == nothing
        assert {r.id for r in store.get([*left, done])} == left
        assert store.counts() == {"READY": 1, "RUNNING": 1}

    def test_nothing_is_as_old_as_the_longest_age(self, store):
        succeeded(store, 1)
        assert pruned(store, age_s=1e12) == (0, 0, False)

    def test_pruning_keeps_to_its_limit(self, store):
        succeeded(store, 3)
        for key in [claimed(store) for _ in range(3)]:
            store.fail(key, token="worker", errors=[])
        found = [pruned(store, limit=4) for _ in range(3)]
        assert found == [(4, 0, True), (2, 0, False), (0, 0, False)]

    def test_pruning_says_whether_its_limit_has_left_some(self, store):
        succeeded(store, 5)
        found = [pruned(store, limit=2) for _ in range(3)]
        assert found == [(2, 0, True), (2, 0, True), (1, 0, False)]

    def test_a_batch_is_one_statement_that_names_no_record(self, store):
        succeeded(store, 20)
        seen = []

        def see(run, sql, parameters, many, context):
            if "DELETE" in sql:
                seen.append(parameters)
            return run(sql, parameters, many, context)

        with connection.execute_wrapper(see):
            assert pruned(store, limit=20).deleted == 20
        [parameters] = seen
        assert len(parameters) == 4  # alias, status, age, limit

    def test_a_batch_begins_where_the_last_one_has_ended(self, store):
        ids = succeeded(store, 4)
        assert pruned(store, limit=2).deleted == 2
        [row] = TaskRecord.objects.filter(pk__in=ids).order_by("pk")[:1]
        row.finished_at -= timedelta(days=1)  # by a clock that was set back
        row.save()
        assert pruned(store, limit=2).deleted == 1

    def test_what_was_gone_through_is_not_looked_at_for_an_hour(self, store):
        first, second = succeeded(store, 2)
        rows = TaskRecord.objects.filter(pk=second)
        days = [timezone.now() - timedelta(days=n) for n in (2, 3)]
        TaskRecord.objects.filter(pk=first).update(finished_at=days[0])
        assert pruned(store, age_s=DAY_S).deleted == 1
        rows.update(finished_at=days[1])
        assert pruned(store, age_s=DAY_S).deleted == 0
        store._old.look_again()  # an hour later
        assert pruned(store, age_s=DAY_S).deleted == 1

    def test_records_that_finish_meanwhile_are_not_passed_over(self, store):
        """With RETENTION = 0 one may commit after another that is younger."""
        _, second = succeeded(store, 2)
        TaskRecord.objects.filter(pk=second).update(status="RUNNING")
        assert pruned(store).deleted == 1
        ended = TaskRecord.objects.get(pk=second).finished_at - timedelta(seconds=1)
        TaskRecord.objects.filter(pk=second).update(
            status="SUCCESSFUL", finished_at=ended
        )
        assert pruned(store).deleted == 1

    def test_records_that_others_refer_to_are_kept_and_hold_up_no_others(self, store):
        ids = sorted(succeeded(store, 6))  # as pruning walks
        with referring_table(ids[0], ids[3]):
            found = [pruned(store, limit=4) for _ in range(3)]
            assert found == [(2, 2, True), (2, 0, False), (0, 0, False)]
            assert {record.id for record in store.get(ids)} == {ids[0], ids[3]}
            store._old.look_again()  # an hour later
            assert pruned(store, limit=4) == (0, 2, False)
        assert pruned(store, limit=4) == (0, 0, False)
        store._old.look_again()
        assert pruned(store, limit=4) == (2, 0, False)

    def test_records_that_are_all_referred_to_cost_few_statements(self, store):
        ids = succeeded(store, 600)
        counted = Statements()
        with referring_table(*ids), connection.execute_wrapper(counted):
            assert pruned(store, limit=600) == (0, 600, True)
        assert 10 < counted.verbs.count("DELETE") < 17

    def test_one_that_is_referred_to_among_many_is_found(self, store):
        ids = succeeded(store, 600)
        with referring_table(max(ids)):
            assert pruned(store, limit=600) == (599, 1, True)
        assert store.counts() == {"SUCCESSFUL": 1}

    def test_some_that_are_referred_to_do_not_stand_for_many(self, store):
        ids = sorted(succeeded(store, 600))
        with referring_table(*ids[:3]):
            assert pruned(store, limit=600) == (597, 3, True)

    def test_records_that_a_neighbour_deleted_first_are_not_called_kept(
        self, store, monkeypatch
    ):
        ids = sorted(succeeded(store, 3))
        read = pruning._Step.read

        def read_late(*args):
            found = read(*args)
            TaskRecord.objects.filter(pk=ids[1]).delete()
            return found

        monkeypatch.setattr(pruning._Step, "read", read_late)
        with referring_table(ids[0]):
            assert pruned(store) == (1, 1, False)

    def test_old_record_that_is_locked_holds_up_no_other(self, store):
        if not connection.features.has_select_for_update_skip_locked:
            pytest.skip("this database locks all or nothing")
        ids = succeeded(store, 3)
        assert while_kept(ids[1], lambda: pruned(store)).deleted == 2
        store._old.look_again()
        assert pruned(store).deleted == 1
