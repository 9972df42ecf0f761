"""The adapters that are installed, by the entry points of their distributions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

GROUP = "taskbridge.backends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One adapter that some distribution offers."""

    name: str
    backend: str
    """What BACKEND in TASKS has to say."""
    distribution: str
    problem: str | None
    """Why it cannot be used; None: it can."""


def installed_adapters() -> Iterator[Installed]:
    """Yield every adapter under the entry point group ``taskbridge.backends``.

    Those whose queue library is missing are among them, with what to install.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        yield Installed(
            name=entry.name,
            backend=entry.value.replace(":", "."),
            distribution=entry.dist.name if entry.dist else "?",
            problem=_problem_of(entry),
        )


def _problem_of(entry: EntryPoint) -> str | None:
    try:
        entry.load()
    except Exception as exc:  # noqa: BLE001 - this imports somebody else's code
        return f"{type(exc).__name__}: {exc}"
    return None
