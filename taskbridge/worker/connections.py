"""The project's connections in the processes of a worker, which outlive a task.

With CONN_MAX_AGE = 0, Django's default, a connection ends with the request that opened
it. For a worker that would be each task, and opening one takes longer than most tasks.
A web server may have far more threads than there are connections; a worker's processes
are few, and each runs one task at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connections

from taskbridge.options import conn_max_age

KEEP_FOR_S = 600
"""How long a connection lives where the project has Django's default."""


def keep_connections(options: Mapping[str, Any]) -> None:
    """Let the connections of this process live as long as OPTIONS say, or 600 s.

    They are checked before the next task uses them, since a server or a firewall may
    have ended them. A project's own CONN_MAX_AGE stays, unless it is 0 and OPTIONS do
    not say so. Pools have no such age: Django refuses it beside them.

    Args:
        options: of the backend that this process works for.
    """
    for database in connections.settings.values():
        usual = database["CONN_MAX_AGE"]
        age_s = conn_max_age(options, KEEP_FOR_S if usual == 0 else usual)
        if age_s != usual and not database["OPTIONS"].get("pool"):
            database["CONN_MAX_AGE"] = age_s
            database["CONN_HEALTH_CHECKS"] = True
