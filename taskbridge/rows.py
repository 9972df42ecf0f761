"""Many rows in few statements, in any database that Django knows."""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

ROWS_PER_INSERT = 1000
CHARACTERS_PER_INSERT = 4_000_000  # MariaDB takes 16 MB in one packet by default

Row = tuple[Any, ...]


def insert_rows(
    database: str, table: str, columns: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Insert rows, all or none; in the caller's transaction, if there is one.

    ``executemany`` sends a statement for each row, which PostgreSQL and MariaDB plan
    one by one; ``bulk_create`` takes longer to make the statement than they to run it.

    Args:
        database: an alias of DATABASES.
        table: its name, which needs no quotes.
        columns: their names; words of a database's own are quoted here.
        rows: values in the order of the columns, as the database takes them.

    Raises:
        django.db.Error: what the database says; then no row was inserted.
    """
    connection = connections[database]
    quoted = tuple(map(connection.ops.quote_name, columns))
    batches = list(_batches(rows, _rows_per_insert(connection, len(columns))))
    if len(batches) == 1:
        # BEGIN and COMMIT would be two round trips.
        _insert(connection, table, quoted, batches[0])
        return
    with transaction.atomic(using=database):
        for batch in batches:
            _insert(connection, table, quoted, batch)


def _insert(
    connection: BaseDatabaseWrapper,
    table: str,
    columns: tuple[str, ...],
    rows: Sequence[Row],
) -> None:
    parameters = [value for row in rows for value in row]
    with connection.cursor() as cursor:
        cursor.execute(_statement(table, columns, len(rows)), parameters)


@lru_cache(maxsize=64)
def _statement(table: str, columns: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join(['%s'] * len(columns))})"
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) VALUES {', '.join([row] * rows)}"  # noqa: S608 - no name comes from outside


def _rows_per_insert(connection: BaseDatabaseWrapper, columns: int) -> int:
    if connection.vendor != "sqlite":
        return ROWS_PER_INSERT
    connection.ensure_connection()
    sqlite: sqlite3.Connection = connection.connection
    limit = sqlite.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    return min(ROWS_PER_INSERT, limit // columns)


def _batches(rows: Sequence[Row], number: int) -> Iterator[Sequence[Row]]:
    """Split rows so that each statement stays below the limits of databases."""
    rest = iter(rows)
    while batch := list(islice(rest, number)):
        characters = 0
        start = 0
        for index, row in enumerate(batch):
            size = sum(len(value) for value in row if isinstance(value, str))
            characters += size
            if characters > CHARACTERS_PER_INSERT and index > start:
                yield batch[start:index]
                start, characters = index, size
        yield batch[start:]
