"""What contenders add to the Django project of `settings`: apps, and aliases in TASKS.

Both travel in environment variables. A worker has those of its own contender, and the
measuring process has those of all that can be measured. Strings in OPTIONS may contain
"{redis}": the URL of a Redis database that is emptied by each purge.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from .contenders import Contender

APPS = "TASKBRIDGE_BENCH_APPS"
"""A JSON list of entries of INSTALLED_APPS."""
BACKENDS = "TASKBRIDGE_BENCH_BACKENDS"
"""A JSON object: settings in TASKS by alias."""
VARIABLES = (APPS, BACKENDS)


def merged(contenders: Iterable[Contender]) -> dict[str, str]:
    """Return the variables with what all the contenders add."""
    apps: dict[str, None] = {}
    backends: dict[str, Any] = {}
    for contender in contenders:
        apps |= dict.fromkeys(_apps(contender.environ))
        backends |= _backends(contender.environ)
    return {APPS: json.dumps(list(apps)), BACKENDS: json.dumps(backends)}


def added_apps() -> Sequence[str]:
    """Return what this process adds to INSTALLED_APPS."""
    return _apps(os.environ)


def added_backends(redis_url: str) -> dict[str, dict[str, Any]]:
    """Return what this process adds to TASKS.

    Args:
        redis_url: what "{redis}" stands for.
    """
    return {
        alias: cast("dict[str, Any]", _filled(settings, redis_url))
        for alias, settings in _backends(os.environ).items()
    }


def _apps(environ: Mapping[str, str]) -> list[str]:
    return cast("list[str]", json.loads(environ.get(APPS, "[]")))


def _backends(environ: Mapping[str, str]) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(environ.get(BACKENDS, "{}")))


def _filled(value: object, redis_url: str) -> object:
    match value:
        case str():
            return value.replace("{redis}", redis_url)
        case dict():
            return {key: _filled(each, redis_url) for key, each in value.items()}
        case list():
            return [_filled(each, redis_url) for each in value]
    return value
