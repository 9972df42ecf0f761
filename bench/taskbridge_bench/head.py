"""What identifies a run: its options, its machine, and the versions of all in it."""

import contextlib
import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

PACKAGES = (
    "django-taskbridge",
    "Django",
    "celery",
    "kombu",
    "django-q2",
    "django-background-tasks",
    "redis",
    "huey",
    "dramatiq",
    "rq",
    "procrastinate",
    "django-tasks-db",
    "django-ox",
    "psycopg",
    "pytest-benchmark",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is known of a run before its first block, and must be the same to go on."""

    run: str
    """Its name, random; a run that was resumed keeps it."""
    mode: str
    seed: int
    database: str
    options: Mapping[str, Any]
    """That chose its plan, and where it is stored; see `options`."""
    left_out: Mapping[str, str]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Return the head that is part of a JSON object.

        Raises:
            KeyError: it has none.
        """
        return cls(**{each.name: document[each.name] for each in fields(cls)})

    def as_dict(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return asdict(self)

    def differences(self, other: "Head") -> Iterator[str]:
        """Say what keeps measurements of two runs apart: machine and versions.

        Servers count where both runs have them.
        """
        yield from _differences("machine", self.machine, other.machine)
        yield from _differences("version", self.versions, other.versions)


def machine() -> dict[str, Any]:
    """Return what the machine is; nothing that changes while it runs."""
    return {
        "node": platform.node(),
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
    }


def versions() -> dict[str, str]:
    """Return the versions of all that takes part, servers aside."""
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _differences(
    what: str, one: Mapping[str, Any], two: Mapping[str, Any]
) -> Iterator[str]:
    for name in sorted(one.keys() & two.keys()):
        if one[name] != two[name]:
            yield f"{what} {name}: {one[name]}, and {two[name]}"
