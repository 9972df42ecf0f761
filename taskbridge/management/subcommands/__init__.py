"""The subcommands of ``manage.py taskbridge``, each a module of its own.

A new one is a module here with `HELP`, `add_arguments` and `handle`, or an object of
one, and its name in `SUBCOMMANDS`, in the order in which ``--help`` lists them.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from typing import Protocol

from . import by_hand, dispatcher, features, pause, prune, resume, status, worker


class Subcommand(Protocol):
    """What each of the modules has."""

    HELP: str
    """One sentence, for ``--help``."""

    @property
    def add_arguments(self) -> Callable[[ArgumentParser], None]:
        """Adds its arguments to a parser of its own."""

    @property
    def handle(self) -> Callable[..., None]:
        """Runs it: takes the command, for its output, and the options by name."""


SUBCOMMANDS: Mapping[str, Subcommand] = {
    "worker": worker,
    "dispatcher": dispatcher,
    "prune": prune,
    "status": status,
    "pause": pause,
    "resume": resume,
    "features": features,
    "cancel": by_hand.cancel,
    "retry": by_hand.retry,
    "run-now": by_hand.run_now,
    "forget": by_hand.forget,
}
