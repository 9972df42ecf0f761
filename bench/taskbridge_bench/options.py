"""The options of the command, and which of them make a run what it is."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .catalogue import SCENARIOS
from .contenders import LIBRARIES, Lane, Profile
from .servers import DATABASES
from .work import KINDS

DEFAULTS: Mapping[str, Any] = {
    "mode": "quick",
    "contender": None,
    "scenario": None,
    "lane": None,
    "profile": None,
    "work": "noop",
    "database": DATABASES[0],
    "settings": None,
    "task": None,
    "arguments": None,
    "backend": None,
    "worker": None,
}
"""The options that make a run what it is; a run that goes on must have the same."""
PLACES = ("json", "html")
"""Where a run is stored; one that goes on keeps them unless it is told otherwise."""

_KNOWN: Mapping[str, Sequence[str]] = {
    "contender": LIBRARIES,
    "scenario": tuple(SCENARIOS),
    "lane": tuple(map(str, Lane)),
    "profile": tuple(map(str, Profile)),
}
_EPILOG = """\
Exit status: 0; 1 if a contender failed; 2 if nothing can be measured here, or the
options make no sense; 130 after Ctrl-C, 129 after SIGHUP, 143 after SIGTERM.
"""


class _Names(argparse.Action):
    """Adds names to a list; several at once are separated by commas."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add them."""
        names = [*(getattr(namespace, self.dest) or ()), *str(values).split(",")]
        setattr(namespace, self.dest, list(dict.fromkeys(names)))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `command` will be the one that was given."""
    parser = argparse.ArgumentParser(
        prog="taskbridge-bench",
        description="Compare queue libraries by their own API and through TaskBridge.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, report, store it (the default)")
    _add_selection(run)
    _add_task(run)
    _add_servers(run)
    _add_storage(run)
    run.add_argument("--json", metavar="FILE", type=Path, help="store in FILE instead")
    run.add_argument("--html", metavar="FILE", type=Path, help="write a report as well")
    run.add_argument(
        "--resume",
        metavar="FILE",
        nargs="?",
        const="",
        help="finish the run that FILE is a part of (default: the newest one)",
    )
    shown = commands.add_parser(
        "list", help="print who is compared, in which scenarios, and who is left out"
    )
    _add_servers(shown)
    compare = commands.add_parser("compare", help="compare two stored runs")
    compare.add_argument("before", metavar="A", help="file or number: the baseline")
    compare.add_argument("after", metavar="B", help="file or number")
    _add_storage(compare)
    report = commands.add_parser(
        "report", help="report stored runs, as one if there are several"
    )
    report.add_argument("files", metavar="FILE", nargs="+", help="file or number")
    for form in ("html", "markdown", "json"):
        report.add_argument(f"--{form}", metavar="FILE", type=Path)
    _add_storage(report)
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; the command is "run" unless another one is named."""
    parser = make_parser()
    commands = ("run", "list", "compare", "report", "-h", "--help")
    if not arguments or arguments[0] not in commands:
        arguments = ("run", *arguments)
    options = parser.parse_args(arguments)
    if options.command == "run":
        _check_run(parser, options)
    return options


def _check_run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    _check_names(parser, options)
    if options.task and options.work not in (None, "own"):
        parser.error("--task implies --work own: leave --work out")
    if options.work == "own" and not options.task:
        parser.error("--work own runs a function of yours: name it with --task")
    if options.arguments is not None and not options.task:
        parser.error("--arguments need --task: name the function")
    if bool(options.backend) != bool(options.worker):
        parser.error("--backend and --worker belong together")
    if options.task:
        options.work = "own"
    if options.database_url:
        if options.database == "sqlite":
            parser.error("--database-url is for PostgreSQL; SQLite's file is private")
        options.database = "postgresql"


def _check_names(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    added = (options.backend or "").partition("=")[:1]
    for option, known in _KNOWN.items():
        allowed = (*known, *added) if option == "contender" else known
        for name in getattr(options, option) or ():
            if name not in allowed:
                names = ", ".join(known)
                parser.error(f"--{option}: there is no {name!r}, only {names}")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    sizes = parser.add_mutually_exclusive_group()
    for mode, text in (
        ("quick", "in 5 minutes (the default)"),
        ("full", "every library and scenario, in 70 minutes"),
    ):
        sizes.add_argument(
            f"--{mode}", dest="mode", action="store_const", const=mode, help=text
        )
    for name, known in _KNOWN.items():
        parser.add_argument(
            f"--{name}",
            action=_Names,
            metavar="NAME[,NAME]",
            help=f"only: {', '.join(known)}",
        )
    parser.add_argument(
        "--seed", type=int, help="seed of the random order (default: random)"
    )


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--work", choices=KINDS, help="what each task does (default: noop)"
    )
    parser.add_argument(
        "--settings", metavar="MODULE", help="your Django settings, with ours added"
    )
    parser.add_argument(
        "--task",
        metavar="MODULE:FUNCTION",
        type=_path,
        help="a function of yours that each task calls",
    )
    parser.add_argument(
        "--arguments",
        metavar="JSON",
        type=_arguments,
        help="its arguments: a list, or an object of keyword arguments",
    )
    parser.add_argument(
        "--backend",
        metavar="NAME=CLASS",
        help="measure a backend of Django's tasks as well",
    )
    parser.add_argument(
        "--worker",
        metavar="ARGUMENTS",
        help='how python starts its worker: "-m django db_worker --backend {name}"',
    )


def _add_servers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database", choices=DATABASES, help="the project's (default: sqlite)"
    )
    for name, what in (
        ("redis", "empty Redis"),
        ("rabbitmq", "RabbitMQ vhost without our queues"),
        ("database", "PostgreSQL server; we create a database and drop it"),
    ):
        parser.add_argument(
            f"--{name}-url", metavar="URL", help=f"your own {what} (default: private)"
        )


def _add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--storage",
        metavar="DIR",
        type=Path,
        default=Path(".benchmarks"),
        help="where pytest-benchmark stores runs (default: %(default)s)",
    )


def _path(text: str) -> str:
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not MODULE:FUNCTION")
    return text


def _arguments(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {exc}") from None
    if not isinstance(found, list | dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON list or object")
    return text
