"""Private servers of the tests, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from taskbridge.testing.services import MariaDB, Redis
from tests.services.servers import SERVICES, started


@pytest.fixture(autouse=True)
def _no_explicit_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in SERVICES:
        monkeypatch.delenv(kind.variable, raising=False)


@pytest.fixture
def redis() -> Iterator[Redis]:
    with contextlib.closing(Redis()) as redis:
        yield started(redis)


@pytest.fixture
def mariadb() -> Iterator[MariaDB]:
    with contextlib.closing(MariaDB()) as mariadb:
        yield started(mariadb)
