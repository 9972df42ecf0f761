"""``manage.py taskbridge``: worker, dispatcher, status and prune."""

import importlib
import importlib.util
import json
import logging
import os
from argparse import ArgumentTypeError
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from taskbridge.backend import Backend
from taskbridge.compat import DEFAULT_TASK_BACKEND_ALIAS, task_backends
from taskbridge.dispatcher import PRUNE_BATCH
from taskbridge.exceptions import BackendUnavailable
from taskbridge.worker import Supervisor, WorkerOptions


class Command(BaseCommand):
    """Run workers and look at queues, with the same words for every backend."""

    help = "Run TaskBridge workers and look at their queues."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the subcommands."""
        commands = parser.add_subparsers(dest="command", required=True)
        worker = commands.add_parser(
            "worker", help="Run the worker of a backend, and a dispatcher."
        )
        dispatcher = commands.add_parser(
            "dispatcher",
            help="Run a dispatcher alone, beside workers that you start yourself.",
        )
        prune = commands.add_parser("prune", help="Delete records of finished tasks.")
        for command in (worker, dispatcher, prune):
            command.add_argument(
                "--backend",
                default=DEFAULT_TASK_BACKEND_ALIAS,
                metavar="ALIAS",
                help="alias in TASKS (default: %(default)s)",
            )
        prune.add_argument(
            "--older-than",
            type=_age,
            required=True,
            metavar="AGE",
            help="how long ago they finished, such as 90s, 12h or 7d",
        )
        prune.add_argument(
            "--failed", action="store_true", help="those that failed, too"
        )
        worker.add_argument(
            "--concurrency",
            type=_positive_int,
            default=os.cpu_count() or 1,
            metavar="N",
            help="tasks at once, over all queues (default: one a core, %(default)s)",
        )
        worker.add_argument(
            "--queues",
            type=lambda text: tuple(filter(None, map(str.strip, text.split(",")))),
            metavar="A,B",
            help="queues to take from (default: the backend's QUEUES)",
        )
        worker.add_argument(
            "--burst", action="store_true", help="end as soon as nothing is due"
        )
        worker.add_argument(
            "--graceful-timeout",
            type=_seconds,
            default=60.0,
            metavar="SECONDS",
            help="how long running tasks may take to finish after SIGTERM or Ctrl-C, "
            "before they are killed (default: %(default)s)",
        )
        status = commands.add_parser("status", help="Show what waits in the queues.")
        status.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, command: str, **options: Any) -> None:
        """Run the subcommand."""
        match command:
            case "worker":
                self._worker(**options)
            case "dispatcher":
                self._dispatcher(options["backend"])
            case "prune":
                self._prune(**options)
            case _:
                self._status(as_json=options["json"])

    def _dispatcher(self, alias: str) -> None:
        backend = _durable_backend(alias)
        _show_errors()
        self.stdout.write(f"TaskBridge dispatcher of {backend}.")
        status = Supervisor(backend, None, graceful_timeout_s=60).run()
        if status:
            raise SystemExit(status)

    def _prune(
        self, *, backend: str, older_than: float, failed: bool, **options: Any
    ) -> None:
        store = _durable_backend(backend).store
        deleted = 0
        while count := store.prune(
            successful_s=older_than,
            failed_s=older_than if failed else None,
            limit=PRUNE_BATCH,
        ):
            deleted += count
        self.stdout.write(f"{deleted} records deleted.")

    def _worker(
        self,
        *,
        backend: str,
        concurrency: int,
        queues: tuple[str, ...] | None,
        burst: bool,
        graceful_timeout: float,
        **options: Any,
    ) -> None:
        chosen = _bridge_backend(backend)
        queue_names = _queue_names(chosen, queues)
        _import_task_modules()
        _show_errors()
        if burst:
            # A broker that is not there would keep a burst waiting for ever.
            try:
                chosen.queue_depths()
            except BackendUnavailable as exc:
                raise CommandError(str(exc)) from exc

        def ready() -> None:
            self.stdout.write(
                f"TaskBridge worker ready: {chosen}, queues {','.join(queue_names)}, "
                f"concurrency {concurrency}."
            )
            self.stdout.flush()

        status = Supervisor(
            chosen,
            WorkerOptions(
                queues=queue_names, concurrency=concurrency, burst=burst, ready=ready
            ),
            graceful_timeout_s=graceful_timeout,
        ).run()
        if status:
            raise SystemExit(status)

    def _status(self, *, as_json: bool) -> None:
        report: dict[str, Any] = {}
        for alias in task_backends.settings:
            backend = task_backends[alias]
            entry: dict[str, Any] = {"backend": type(backend).__name__}
            if isinstance(backend, Backend):
                entry["delivery"] = backend.delivery
                try:
                    entry["queues"] = backend.queue_depths()
                    if backend.delivery == "durable":
                        entry["tasks"] = backend.store.counts()
                except BackendUnavailable as exc:
                    entry["error"] = str(exc)
            report[alias] = entry
        if as_json:
            self.stdout.write(json.dumps(report, indent=2))
        else:
            for alias, entry in report.items():
                self._write_entry(alias, entry)
        if any("error" in entry for entry in report.values()):
            raise SystemExit(1)

    def _write_entry(self, alias: str, entry: dict[str, Any]) -> None:
        delivery = f", {entry['delivery']} delivery" if "delivery" in entry else ""
        self.stdout.write(
            self.style.MIGRATE_HEADING(f"{alias}: {entry['backend']}{delivery}")
        )
        if "error" in entry:
            self.stdout.write(self.style.ERROR(f"  {entry['error']}"))
        for queue, depth in entry.get("queues", {}).items():
            waiting = "unknown" if depth is None else f"{depth} waiting"
            self.stdout.write(f"  {queue}: {waiting}")
        tasks = ", ".join(f"{n} {s}" for s, n in sorted(entry.get("tasks", {}).items()))
        if tasks:
            self.stdout.write(f"  tasks: {tasks}")


def _bridge_backend(alias: str) -> Backend:
    if alias not in task_backends.settings:
        known = ", ".join(task_backends.settings)
        raise CommandError(f"TASKS has no backend {alias!r}; it has {known}.")
    backend = task_backends[alias]
    if not isinstance(backend, Backend):
        raise CommandError(
            f"Backend {alias!r} is a {type(backend).__name__}, which TaskBridge cannot "
            f"run a worker for."
        )
    return backend


def _durable_backend(alias: str) -> Backend:
    backend = _bridge_backend(alias)
    if backend.delivery != "durable":
        raise CommandError(f"{backend} keeps no records: its DELIVERY is 'native'.")
    return backend


def _queue_names(backend: Backend, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    if asked:
        unknown = sorted(set(asked) - backend.queues) if backend.queues else []
        if unknown:
            raise CommandError(
                f"{backend} has no queue {unknown[0]!r}. "
                f"Its QUEUES are {', '.join(sorted(backend.queues))}."
            )
        return tuple(dict.fromkeys(asked))
    if not backend.queues:
        raise CommandError(
            f"{backend} allows any queue (QUEUES is empty): say which with --queues."
        )
    return tuple(sorted(backend.queues))


def _show_errors() -> None:
    """Print errors where the project has not said what to do with them.

    Django 6 logs failed tasks to a handler that is silent unless DEBUG is on.
    """
    if not logging.root.handlers and not settings.DEBUG:
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")


def _import_task_modules() -> None:
    """Import ``tasks`` of every installed app, so that errors show at the start."""
    for config in apps.get_app_configs():
        module = f"{config.name}.tasks"
        # An app may be a plain module, which holds no other.
        if not hasattr(config.module, "__path__"):
            continue
        if importlib.util.find_spec(module) is None:
            continue
        try:
            importlib.import_module(module)
        except Exception as exc:
            raise CommandError(
                f"The task module {module!r} cannot be imported: "
                f"{type(exc).__name__}: {exc}"
            ) from exc


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _age(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    if text[-1:] not in units:
        raise ArgumentTypeError(f"must end in s, m, h or d, got {text!r}")
    return _seconds(text[:-1]) * units[text[-1]]


def _seconds(text: str) -> float:
    value = float(text)
    if value < 0:
        raise ArgumentTypeError(f"must be at least 0 seconds, got {value}")
    return value
