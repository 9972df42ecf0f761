"""Impatience: the settings by which `recovery` does not wait for an hour.

After how long a task of a killed worker is handed out again is a setting of most
libraries that do so, and by default it is minutes, or an hour. Here each of them is the
same few seconds. `Contender.recovery` says in words which it is.
"""

from collections.abc import Mapping
from typing import Any

VARIABLE = "TASKBRIDGE_BENCH_LEASE_S"
"""Whole seconds; where it is not set, settings are what they are in all scenarios."""

_DURABLE = ("LEASE", "REDELIVER")
_BY_ALIAS = {
    "celery": ("VISIBILITY_TIMEOUT",),
    "django_q_orm": ("RETRY",),
    "django_ox": ("LOCK_TIMEOUT",),
}
"""Names in OPTIONS of what is not durable delivery."""


def impatient(settings: Mapping[str, Any], lease_s: int) -> dict[str, Any]:
    """Return the settings that change, by name.

    Args:
        settings: of the project, by name; TASKS and Q_CLUSTER are read.
        lease_s: how long a task that was taken stays with a worker that says nothing.
    """
    return {
        "TASKS": {
            alias: _shortened(alias, each, lease_s)
            for alias, each in settings["TASKS"].items()
        },
        # django-background-tasks 1.2.8, settings.py.
        "MAX_RUN_TIME": lease_s,
        # kombu 5.7, transport/redis.py: by default it looks for messages that are
        # overdue at its start, and then every 10 times 10 s.
        "CELERY_BROKER_TRANSPORT_OPTIONS": {
            "visibility_timeout": lease_s,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        },
        "Q_CLUSTER": _cluster(settings["Q_CLUSTER"], lease_s),
    }


def _shortened(alias: str, backend: Mapping[str, Any], lease_s: int) -> dict[str, Any]:
    options = backend.get("OPTIONS", {})
    is_durable = options.get("DELIVERY") == "durable"
    names = _DURABLE if is_durable else _BY_ALIAS.get(alias, ())
    return {**backend, "OPTIONS": {**options, **dict.fromkeys(names, lease_s)}}


def _cluster(cluster: Mapping[str, Any], lease_s: int) -> dict[str, Any]:
    """Return Q_CLUSTER; only on the ORM broker is anything handed out again."""
    if "orm" not in cluster:
        return dict(cluster)
    # Its documentation asks for a timeout below `retry`; signal.alarm() takes integers.
    return {**cluster, "retry": lease_s, "timeout": lease_s - 1}
