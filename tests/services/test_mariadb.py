"""What a private MariaDB keeps, and where it listens."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

import pymysql
import pytest

from taskbridge.testing.services import MariaDB
from tests.services.servers import started


def query(url: str, sql: str) -> tuple[tuple[object, ...], ...]:
    split = urlsplit(url)
    with (
        pymysql.connect(
            host=split.hostname,
            port=split.port or 0,
            user=split.username,
            password=split.password or "",
            database=split.path[1:],
            autocommit=True,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_mariadb_keeps_what_is_committed(verb: str, mariadb: MariaDB) -> None:
    query(mariadb.url, "CREATE TABLE kept (word VARCHAR(9))")
    query(mariadb.url, "INSERT INTO kept VALUES ('1'), ('\U0001f511')")
    getattr(mariadb, verb)()
    mariadb.start()
    assert query(mariadb.url, "SELECT * FROM kept") == (("1",), ("\U0001f511",))


def test_mariadb_listens_nowhere_else(mariadb: MariaDB) -> None:
    places = query(mariadb.url, "SELECT @@bind_address, @@socket")
    assert places == (("127.0.0.1", ""),)


def test_durable_mariadb_waits_for_the_disk() -> None:
    with contextlib.closing(MariaDB(durable=True)) as mariadb:
        flush = query(started(mariadb).url, "SELECT @@innodb_flush_log_at_trx_commit")
        assert flush == ((1,),)
