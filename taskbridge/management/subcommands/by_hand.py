"""``taskbridge cancel``, ``retry``, ``run-now`` and ``forget``."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from taskbridge import control
from taskbridge.control import STATUSES, Action, Done, Filter
from taskbridge.exceptions import BackendUnavailable
from taskbridge.management.arguments import add_json, age

CHANGED = "left alone: not {}, unknown, changed meanwhile, or locked by somebody."


class ByHand:
    """A subcommand that does something to tasks, by their ids or by a filter.

    Args:
        action: which of them.
        help_: one sentence, for ``--help``.
        past: what was done to those it was done to.
    """

    def __init__(self, action: Action, help_: str, *, past: str) -> None:
        self.HELP = help_
        self._action = action
        self._past = past

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Say which tasks are meant."""
        possible = STATUSES[self._action]
        parser.add_argument("ids", nargs="*", metavar="ID", help="ids of tasks")
        parser.add_argument("--backend", metavar="ALIAS", help="alias in TASKS")
        parser.add_argument(
            "--queue", metavar="NAME", help="queue, or a pattern such as 'mail-*'"
        )
        parser.add_argument(
            "--task", metavar="PATH", help="task, or a pattern such as 'shop.tasks.*'"
        )
        if len(possible) > 1:
            parser.add_argument("--status", choices=possible, help="only these")
        if "FAILED" in possible:
            parser.add_argument(
                "--error",
                metavar="PATH",
                help="class of the last error, or a pattern such as 'requests.*'",
            )
        since = "finished" if "FAILED" in possible else "were enqueued"
        parser.add_argument(
            "--older-than",
            type=age,
            metavar="AGE",
            help=f"how long ago they {since}, such as 90s, 12h or 7d",
        )
        if self._action == "cancel":
            parser.add_argument(
                "--kill", action="store_true", help="kill the processes that run them"
            )
            parser.add_argument(
                "--by", metavar="NAME", help="who cancels them (default: user@host)"
            )
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--dry-run", action="store_true", help="count them, and do nothing"
        )
        add_json(parser)

    def handle(self, command: BaseCommand, **options: Any) -> None:
        """Count them, ask, and do it."""
        try:
            self._handle(command, options)
        except (ValueError, NotImplementedError, BackendUnavailable) as exc:
            raise CommandError(str(exc)) from exc

    def _handle(self, command: BaseCommand, options: dict[str, Any]) -> None:
        ids, which = options["ids"], _filter(options)
        as_json, asks = options["json"], not (options["yes"] or options["dry_run"])
        if as_json and asks:
            raise CommandError("--json asks no questions: add --yes, or --dry-run.")
        kill = options.get("kill", False)
        matched = control.count(self._action, *ids, kill=kill, **which)
        report: dict[str, Any] = {"action": self._action, "matched": matched}
        if not as_json:
            command.stdout.write(f"{_tasks(matched)} to {self._action}.")
        if not options["dry_run"]:
            if asks and not (matched and self._is_confirmed(matched)):
                command.stdout.write("Nothing was done.")
                return
            done = self._call(options)(*ids, **which)
            report |= done._asdict()
            if not as_json:
                self._tell(command, done)
        if as_json:
            command.stdout.write(json.dumps(report, indent=2))

    def _call(self, options: dict[str, Any]) -> Callable[..., Done]:
        if self._action == "cancel":
            by, kill = options["by"], options["kill"]
            return lambda *ids, **which: control.cancel(*ids, by=by, kill=kill, **which)
        calls = {
            "retry": control.retry,
            "run-now": control.run_now,
            "forget": control.forget,
        }
        return calls[self._action]

    def _is_confirmed(self, matched: int) -> bool:
        try:
            return input(f"{self._action} {_tasks(matched)}? [y/N] ").lower() == "y"
        except (EOFError, RuntimeError):  # its standard input is empty, or closed
            raise CommandError("There is nobody to ask: add --yes.") from None

    def _tell(self, command: BaseCommand, done: Done) -> None:
        write = command.stdout.write
        write(f"{done.done} {self._past}.")
        if done.asked:
            write(f"{done.asked} run, and fail as soon as they end.")
        if done.kept:
            write(f"{done.kept} kept: rows of other tables refer to them.")
        if done.left:
            write(f"{done.left} {CHANGED.format(' or '.join(self._possible))}")
            if self._action == "forget":
                write("What waits or runs has to be cancelled first.")

    @property
    def _possible(self) -> tuple[str, ...]:
        return STATUSES[self._action]


def _filter(options: dict[str, Any]) -> Filter:
    older_than_s = options["older_than"]
    return {
        "backend": options["backend"],
        "queue": options["queue"],
        "task": options["task"],
        "status": options.get("status"),
        "error": options.get("error"),
        "older_than": None if older_than_s is None else timedelta(seconds=older_than_s),
    }


def _tasks(number: int) -> str:
    return f"{number} task{'s' * (number != 1)}"


cancel = ByHand("cancel", "Have tasks not run any more.", past="will not run any more")
retry = ByHand("retry", "Run failed tasks again.", past="are due now")
run_now = ByHand(
    "run-now", "Run delayed tasks, and next attempts, now.", past="are due now"
)
forget = ByHand("forget", "Delete records of finished tasks.", past="records deleted")
