"""Counts the queries of a worker's processes, by statement and table, in the ledger.

It is a Django app, since that is what every process of every lane sets up. It counts
only where TASKBRIDGE_BENCH_COUNT_QUERIES is "1": what is timed never pays for it.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.apps import AppConfig
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from taskbridge_bench.work import count_query

VARIABLE = "TASKBRIDGE_BENCH_COUNT_QUERIES"

_TABLE = re.compile(r"(?:FROM|INTO|UPDATE)\s+[\"`]?(\w+)", re.IGNORECASE)
_EXTRACT = re.compile(r"EXTRACT\s*\(\s*'?\w+'?\s+FROM\s+", re.IGNORECASE)
"""PostgreSQL's, whose FROM names no table."""


class Counting(AppConfig):
    """Puts a counter on every connection."""

    name = "taskbridge_bench.counting"
    label = "taskbridge_bench_counting"

    def ready(self) -> None:
        """See the class."""
        if os.environ.get(VARIABLE) == "1":
            connection_created.connect(_count_in_ledger)


class QueryCounter:
    """An execute wrapper that counts in this process."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        """Count a query, and run it."""
        self.counts[kind_of(sql)] += 1
        return execute(sql, *rest)


def kind_of(sql: str) -> str:
    """Return the verb of a statement and its first table: "UPDATE django_q_ormq"."""
    verb = sql.split(maxsplit=1)[0].upper()
    table = _TABLE.search(_EXTRACT.sub("", sql))
    return f"{verb} {table[1]}" if table else verb


def _count_in_ledger(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    if _count not in connection.execute_wrappers:  # a reconnect is told of as well
        connection.execute_wrappers.append(_count)


def _count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
    count_query(kind_of(sql))
    return execute(sql, *rest)
