"""A user's own Django project under the settings of the benchmark.

The project's settings stay as they are, but for what would make a run destroy data or
measure something else: all its databases are the run's own one, and what is set of
queue libraries is ours.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

QUEUES = (
    "BACKGROUND_TASK",
    "CELERY",
    "DRAMATIQ",
    "HUEY",
    "MAX_ATTEMPTS",
    "MAX_RUN_TIME",
    "PROCRASTINATE",
    "Q_CLUSTER",
    "RABBITMQ",
    "RQ",
    "TASKS",
)
"""How settings of queue libraries begin: the project's are left out."""
REPLACED_APPS = frozenset({"background_task"})
"""Apps that the benchmark has under another name."""
_CONNECTION = (
    "ENGINE",
    "OPTIONS",
    "CONN_MAX_AGE",
    "CONN_HEALTH_CHECKS",
    "ATOMIC_REQUESTS",
    "TIME_ZONE",
)
_TARGET = frozenset(
    {
        "service",
        "passfile",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
    }
)
"""Options that say where a server is, and how to get in: not those of our server."""


def under_project(module: str, ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a project, with those of the benchmark added.

    Args:
        module: of the project's settings.
        ours: the settings of the benchmark.
    """
    theirs = {
        name: value
        for name, value in vars(import_module(module)).items()
        if name.isupper() and not name.startswith(QUEUES)
    }
    settings = {**ours, **theirs}
    for name in ("DEBUG", "LOGGING"):
        settings[name] = ours[name]
    settings["INSTALLED_APPS"] = _apps(
        theirs.get("INSTALLED_APPS", ()), ours["INSTALLED_APPS"]
    )
    settings["DATABASES"] = _databases(theirs.get("DATABASES", {}), ours["DATABASES"])
    # All aliases are one database, in which every table is.
    settings["DATABASE_ROUTERS"] = []
    return settings


def _apps(theirs: Sequence[str], ours: Sequence[str]) -> list[str]:
    packages = REPLACED_APPS | {app.partition(".apps.")[0] for app in ours}
    kept = [app for app in theirs if app.partition(".apps.")[0] not in packages]
    return [*kept, *ours]


def _databases(
    theirs: Mapping[str, Mapping[str, Any]], ours: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    own = ours["default"]
    found = _connection(theirs.get("default", {}), own)
    copies = {alias: dict(found) for alias in (*theirs, *ours)}
    return {**copies, "default": found}


def _connection(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return our database, with the project's engine and options if they are alike."""
    kind = str(own["ENGINE"]).rpartition(".")[2]
    if not str(theirs.get("ENGINE", "")).endswith(kind):
        return dict(own)
    kept = {name: theirs[name] for name in _CONNECTION if name in theirs}
    options = {
        name: value
        for name, value in kept.pop("OPTIONS", {}).items()
        if name not in _TARGET
    }
    return {**own, **kept, "OPTIONS": {**options, **own.get("OPTIONS", {})}}
