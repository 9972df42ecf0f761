"""The part of the contract of stores that is about what the warden asks."""

from taskbridge.models import TaskRecord
from taskbridge.store.record import NOTHING
from tests.unit.store_contract_chunks import chunk
from tests.unit.store_records import added, claim

NO_RECORD = "0" * 32


class WardenContract:
    def test_what_a_claim_holds_is_found_while_its_leases_hold(self, store):
        ids = chunk(store, lease_s=60)
        late = added(store)
        claim(store, late, "late", lease_s=-1)
        claim(store, added(store), "other", lease_s=60)
        store.succeed({ids[0]: NOTHING}, token="worker")
        assert set(store.held("worker", lease_s=60)) == set(ids[1:])
        assert not store.held("late", lease_s=60)
        assert not store.held("nobody", lease_s=60)

    def test_how_records_stand_is_told(self, store):
        ready, running = added(store), added(store)
        claim(store, running, "worker")
        cancel(running, kill=True)
        ids = [ready, running, NO_RECORD]
        found = {each.id: each[1:] for each in store.standing(ids)}
        assert found == {
            ready: ("", "READY", "", False, store._alias),
            running: ("worker", "RUNNING", "somebody", True, store._alias),
        }
        assert store.standing([]) == []


def cancel(key, *, kill=False):
    TaskRecord.objects.filter(pk=key).update(cancelled_by="somebody", kill=kill)
