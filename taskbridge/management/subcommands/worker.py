"""``taskbridge worker``: the worker of a backend, and a dispatcher."""

import contextlib
import importlib
import importlib.util
import logging
import os
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from taskbridge.backend import Backend
from taskbridge.checks import STRANDED_HINT, stranded_tasks
from taskbridge.exceptions import BackendUnavailable
from taskbridge.features import Support
from taskbridge.management.arguments import add_backend, positive_int, seconds
from taskbridge.management.backends import (
    bridge_backend,
    check_database,
    native_work,
    refuse_without_fork,
    show_errors,
    stranded,
)
from taskbridge.worker import Supervisor, WorkerOptions

logger = logging.getLogger("taskbridge")

HELP = "Run the worker of a backend, and a dispatcher."


def add_arguments(parser: ArgumentParser) -> None:
    """Say whose worker it is, and what it does."""
    add_backend(parser)
    parser.add_argument(
        "--concurrency",
        type=positive_int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="tasks at once, over all queues (default: one a core, %(default)s)",
    )
    parser.add_argument(
        "--queues",
        type=lambda text: tuple(filter(None, map(str.strip, text.split(",")))),
        metavar="A,B",
        help="queues to take from (default: the backend's QUEUES)",
    )
    parser.add_argument(
        "--max-tasks",
        type=positive_int,
        metavar="N",
        help="replace a process after the message with which it has run N tasks",
    )
    parser.add_argument(
        "--max-memory",
        type=positive_int,
        metavar="MIB",
        help="replace a process after a message that leaves it with more memory",
    )
    parser.add_argument(
        "--burst", action="store_true", help="end as soon as nothing is due"
    )
    parser.add_argument(
        "--with-native",
        action="store_true",
        help="run the queue library's own worker as well, for tasks and schedules "
        "that the project has given to the library itself",
    )
    parser.add_argument(
        "--graceful-timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long running tasks may take to finish after SIGTERM or Ctrl-C, "
        "before they are killed (default: %(default)s)",
    )


def handle(
    command: BaseCommand,
    *,
    backend: str,
    concurrency: int,
    queues: tuple[str, ...] | None,
    burst: bool,
    graceful_timeout: float,
    with_native: bool,
    max_tasks: int | None,
    max_memory: int | None,
    **options: Any,
) -> None:
    """Run it until it is stopped, or until a burst has nothing left."""
    refuse_without_fork("worker")
    chosen = bridge_backend(backend)
    check_database(chosen)
    if (max_tasks or max_memory) and chosen.features.recycle is Support.NO:
        raise CommandError(
            f"{chosen} does not replace processes: its adapter knows neither "
            f"--max-tasks nor --max-memory."
        )
    if with_native:
        _check_native_worker(chosen, burst=burst)
    queue_names = _queue_names(chosen, queues)
    import_task_modules()
    show_errors()
    tell_of_stranded(chosen)
    if burst:
        _check_broker(chosen)
    if not with_native:
        _tell_of_native_work(command, chosen, queue_names)

    def ready() -> None:
        command.stdout.write(
            f"TaskBridge worker ready: {chosen}, queues {','.join(queue_names)}, "
            f"concurrency {concurrency}."
        )
        command.stdout.flush()

    status = Supervisor(
        chosen,
        WorkerOptions(
            queues=queue_names,
            concurrency=concurrency,
            burst=burst,
            ready=ready,
            max_tasks=max_tasks,
            max_memory_mib=max_memory,
        ),
        graceful_timeout_s=graceful_timeout,
        with_native=with_native,
    ).run()
    if status:
        raise SystemExit(status)


def import_task_modules() -> None:
    """Import ``tasks`` of every installed app, so that errors show at the start."""
    for config in apps.get_app_configs():
        module = f"{config.name}.tasks"
        # An app may be a plain module, which contains no other modules.
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


def tell_of_stranded(backend: Backend) -> None:
    """Warn of records that nobody delivers any more."""
    if number := stranded(backend):
        logger.warning("%s: %s %s", backend, stranded_tasks(number), STRANDED_HINT)


def _check_native_worker(backend: Backend, *, burst: bool) -> None:
    if burst:
        raise CommandError(
            "--with-native cannot be combined with --burst: the libraries' own workers "
            "do not end by themselves."
        )
    if backend.why_not_native:
        raise CommandError(f"--with-native: {backend}: {backend.why_not_native}.")


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


def _check_broker(backend: Backend) -> None:
    """Refuse a burst whose broker is away: it would wait for ever."""
    try:
        backend.queue_depths()
    except BackendUnavailable as exc:
        raise CommandError(str(exc)) from exc


def _tell_of_native_work(
    command: BaseCommand, backend: Backend, queues: Sequence[str]
) -> None:
    """Warn that something waits for the library's own worker."""
    with contextlib.suppress(BackendUnavailable):  # the worker says so
        backend.adopt(queues)  # else messages of ours may count
    for waiting in native_work(backend):
        warning = (
            f"{backend}: {waiting} of the library's own wait, and this worker does "
            f"not run them. Add --with-native, or run the library's own worker too."
        )
        command.stderr.write(command.style.WARNING(warning))
