"""The contract of stores, on the database of the run."""

import pytest

from taskbridge.store.database import DatabaseStore
from tests.unit.store_contract import StoreContract


@pytest.mark.django_db(transaction=True)
class TestDatabaseStore(StoreContract):
    @pytest.fixture
    def store(self):
        return DatabaseStore("default")

    @pytest.fixture
    def neighbour(self):
        return DatabaseStore("neighbour")
