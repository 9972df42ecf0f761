"""Settings of a dispatcher that is slow to take the tasks that it has seen."""

import time

from django.db.backends.signals import connection_created

from tests.settings import *  # noqa: F403

SLOW_S = 0.7


def _slow(execute, sql, params, many, context):
    if "pushes = pushes + 1" in sql:
        time.sleep(SLOW_S)
    return execute(sql, params, many, context)


def _make_slow(connection, **kwargs):
    if _slow not in connection.execute_wrappers:
        connection.execute_wrappers.append(_slow)


connection_created.connect(_make_slow)
