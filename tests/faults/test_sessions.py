"""The connections on which workers claim, extend and finish: few, silent, read-only."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest
from dj_database_url import parse

from taskbridge.testing.harness import wait_until
from taskbridge.testing.ledger import Ledger
from taskbridge.testing.services import MariaDB, PostgreSQL
from tests.conftest import started

from .judge import LEASE_S, overlaps, runs_of
from .proxy import Proxy
from .scene import FINISH_FOR_S, Scene
from .script import ACCEPTED

LIMIT = 4
"""Two of a dispatcher and one of each process: none is left for leases alone."""
PASSWORD = "of-nobody-else"


class Place:
    """A server of the test's own, and workers on Celery that keep their records there.

    The database of the tests themselves is another one, so scripts enqueue.
    """

    def __init__(self, service: PostgreSQL | MariaDB, folder: Path) -> None:
        self.service = service
        self.scene = Scene("fault_celery_redis", folder, {"DATABASE_URL": service.url})
        self._call("migrate()")
        self.execute("DELETE FROM taskbridge_taskrecord")

    @property
    def ledger(self) -> Ledger:
        return self.scene.ledger

    def execute(self, *statements: str) -> list[Any]:
        """Execute SQL as the administrator; return the rows of the last statement."""
        with contextlib.closing(self._connect()) as database:
            cursor = database.cursor()
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def _connect(self) -> Any:
        if isinstance(self.service, PostgreSQL):
            return psycopg.connect(self.service.url, autocommit=True)
        place = parse(self.service.url)
        return pymysql.connect(
            host=place["HOST"],
            port=place["PORT"],
            user=place["USER"],
            password=place["PASSWORD"],
            database=place["NAME"],
            autocommit=True,
        )

    def enqueue(self, count: int, seconds: float) -> None:
        """Enqueue `work`, from a process of its own."""
        ledger = str(self.ledger.path)
        call = f"enqueue({self.scene.alias!r}, {ledger!r}, {count}, {seconds})"
        assert self._call(call).count(ACCEPTED) == count

    def rows(self) -> list[str]:
        """Return status, attempts and losses of each task."""
        rows = self.execute(
            "SELECT status, attempt, lost FROM taskbridge_taskrecord ORDER BY id"
        )
        return [f"{row[0]} attempt={row[1]} lost={row[2]}" for row in rows]

    def wait_started(self, count: int) -> None:
        """Wait until so many tasks have begun."""
        wait_until(
            lambda: len(self.ledger.entries("started")) >= count,
            f"{count} have started",
            timeout_s=FINISH_FOR_S,
        )

    def wait_rows(self, expected: list[str]) -> None:
        """Wait until the records are what is expected."""
        try:
            wait_until(
                lambda: self.rows() == expected,
                f"rows are {expected}",
                timeout_s=FINISH_FOR_S,
            )
        except AssertionError as exc:
            exc.add_note(f"{self.rows()}\n{self.scene.logs()[-8000:]}")
            raise

    def _call(self, call: str) -> str:
        process = self.scene.run_script(call)
        assert process.wait(timeout_s=FINISH_FOR_S) == 0, process.log_tail()
        return process.log_text()


@pytest.fixture(scope="module", params=[PostgreSQL, MariaDB])
def service(request: pytest.FixtureRequest) -> Iterator[PostgreSQL | MariaDB]:
    service = started(request.param())
    try:
        if not service.private:
            pytest.skip(f"The server at {service.variable} is not ours to change.")
        yield service
    finally:
        service.close()


@pytest.fixture
def place(
    service: PostgreSQL | MariaDB, redis_service: object, tmp_path: Path
) -> Iterator[Place]:
    place = Place(service, tmp_path)
    place.scene.backend.purge(place.scene.backend.queues)
    try:
        yield place
    finally:
        place.scene.close()


def _user(place: Place, name: str, postgresql: str = "", mariadb: str = "") -> str:
    """Return the URL of a new user, who is no administrator."""
    url = place.service.url
    database = parse(url)["NAME"]
    if isinstance(place.service, PostgreSQL):
        place.execute(
            f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {postgresql}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        )
    else:
        place.execute(
            f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}' {mariadb}",
            f"GRANT ALL ON {database}.* TO {name}@'%'",
        )
    return re.sub(r"//[^@/]*@", f"//{name}:{PASSWORD}@", url)


def _read_only(place: Place, *, on: bool) -> None:
    """Have the server refuse all writes, or allow them again."""
    database = parse(place.service.url)["NAME"]
    if isinstance(place.service, PostgreSQL):
        place.execute(
            "SET default_transaction_read_only = off",
            f"ALTER DATABASE {database} SET default_transaction_read_only = "
            f"{'on' if on else 'off'}",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND pid <> pg_backend_pid()",
        )
    else:
        place.execute(f"SET GLOBAL read_only = {int(on)}")


def test_leases_hold_when_there_is_no_connection_to_spare(place: Place) -> None:
    """Each task runs for longer than two leases; none may run twice."""
    limited = _user(
        place,
        "few",
        f"CONNECTION LIMIT {LIMIT}",
        f"WITH MAX_USER_CONNECTIONS {LIMIT}",
    )
    place.scene.start_worker(concurrency=2, DATABASE_URL=limited)
    place.enqueue(4, 5)
    place.wait_rows(["SUCCESSFUL attempt=1 lost=0"] * 4)
    runs = runs_of(place.ledger)
    assert not any(overlaps(of_key) for of_key in runs.values())
    assert {len(of_key) for of_key in runs.values()} == {1}


def test_task_that_ends_on_a_read_only_database_is_finished_afterwards(
    place: Place,
) -> None:
    """It is read-only for longer than a lease, as in a failover; nothing runs again."""
    url = _user(place, "writer")
    place.scene.start_worker(concurrency=2, DATABASE_URL=url)
    place.enqueue(2, 3)
    place.wait_started(2)
    _read_only(place, on=True)
    assert not place.ledger.entries("finished")
    try:
        wait_until(
            lambda: len(place.ledger.entries("finished")) == 2,
            "both have ended",
            timeout_s=FINISH_FOR_S,
        )
        over_at = time.monotonic() + LEASE_S
        wait_until(lambda: time.monotonic() > over_at, "leases are over")
    finally:
        _read_only(place, on=False)
    place.wait_rows(["SUCCESSFUL attempt=1 lost=0"] * 2)
    assert place.ledger.counts("started") == {"0 0": 1, "1 0": 1}


def test_task_on_a_connection_that_goes_silent_is_finished(place: Place) -> None:
    """Neither the lease nor the finish waits for an answer that never comes."""
    server = parse(place.service.url)
    with Proxy(server["HOST"], server["PORT"]) as proxy:
        url = place.service.url.replace(f":{server['PORT']}", f":{proxy.port}")
        place.scene.start_worker(concurrency=2, DATABASE_URL=url)
        place.enqueue(2, 5)
        place.wait_started(2)
        proxy.freeze()
        place.wait_rows(["SUCCESSFUL attempt=1 lost=0"] * 2)
    assert place.ledger.counts("finished") == {"0 0": 1, "1 0": 1}
