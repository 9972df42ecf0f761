"""``taskbridge-bench``: run the comparison, or list what it compares."""

import argparse
import contextlib
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from taskbridge.testing.services import ServiceFailure, ServiceUnavailable

from .contenders import LIBRARIES
from .interrupts import Interrupts
from .plan import QUICK_SCENARIOS, SCENARIO_NAMES, make_plan
from .progress import Progress
from .report import print_contenders, print_report
from .runner import Runner
from .servers import DATABASES, open_servers
from .stage import open_stage

CANNOT_START = 2
REPORT_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if a contender failed; 2 if nothing can be measured here; 128 and the
        number of the signal that ended it.
    """
    options = _parser().parse_args(arguments)
    if options.command == "list":
        print_contenders(_console())
        return 0
    with Interrupts() as interrupts:
        try:
            return _run(options, interrupts)
        except KeyboardInterrupt:
            pass
        except (ServiceUnavailable, ServiceFailure) as exc:
            print(exc, file=sys.stderr)  # noqa: T201 - a command talks to its user
            return CANNOT_START
    print("Interrupted; nothing was left behind.", file=sys.stderr)  # noqa: T201 - see above
    return 128 + interrupts.signal


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="taskbridge-bench",
        description="Compare queue libraries by their own API and through TaskBridge.",
    )
    parser.add_argument(
        "command", nargs="?", choices=("run", "list"), default="run",
        help="run the comparison (default), or list what it compares",
    )  # fmt: skip
    parser.add_argument(
        "--quick",
        action="store_true",
        default=True,
        help="at most 5 minutes in all, on 2 cores (the default); --scenario can ask "
        "for what takes longer",
    )
    parser.add_argument(
        "--contender",
        action="append",
        choices=LIBRARIES,
        help="measure this library only, in all lanes; may be repeated",
    )
    parser.add_argument(
        "--scenario",
        action="append",
        choices=SCENARIO_NAMES,
        help="measure this scenario only; may be repeated "
        f"(default: {', '.join(QUICK_SCENARIOS)})",
    )
    parser.add_argument(
        "--database",
        choices=DATABASES,
        default=DATABASES[0],
        help="the project's database, private too (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, help="which lane goes first, and pauses (default: random)"
    )
    parser.add_argument(
        "--storage",
        metavar="DIR",
        default=".benchmarks",
        help="where pytest-benchmark stores results (default: %(default)s)",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="store them in this file instead"
    )
    return parser


def _run(options: argparse.Namespace, interrupts: Interrupts) -> int:
    started = time.monotonic()
    libraries = options.contender or LIBRARIES
    console = Console(stderr=True)
    with (
        _no_pytest_settings(),
        open_servers(options.database, libraries) as servers,
        open_stage(interrupts, servers) as stage,
    ):
        plan = make_plan(
            secrets.randbits(32) if options.seed is None else options.seed,
            libraries=[each for each in libraries if each not in servers.left_out],
            scenarios=options.scenario or QUICK_SCENARIOS,
        )
        progress = Progress(plan, console)
        runner = Runner(plan, stage, servers, progress, interrupts, started=started)
        with tempfile.TemporaryDirectory(prefix="taskbridge-bench-") as root:
            try:
                status = pytest.main(_pytest_arguments(options, root), plugins=[runner])
            finally:
                progress.finish()
    if interrupts.signal:
        raise KeyboardInterrupt
    print_report(runner.finished_document(), _console())
    if not plan.blocks:
        return CANNOT_START
    return 1 if status or runner.failures else 0


def _console() -> Console:
    """Return standard output, wide enough for the table where nobody says how wide."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, REPORT_WIDTH)
    return console


def _pytest_arguments(options: argparse.Namespace, root: str) -> list[str]:
    """Return arguments that keep the user's own pytest set-up out."""
    settings = Path(root) / "pytest.ini"
    settings.write_text("[pytest]\n")
    if options.json is None:
        storage, save = Path(options.storage).absolute(), "--benchmark-autosave"
    else:
        storage, save = Path(root), f"--benchmark-json={options.json.absolute()}"
    return [
        "--pyargs",
        "taskbridge_bench.suite",
        f"--rootdir={root}",
        f"-c{settings}",
        "--noconftest",
        "--disable-plugin-autoload",
        "-ppytest_benchmark.plugin",
        "-pno:cacheprovider",
        "-pno:terminal",
        "--capture=no",
        "--assert=plain",
        "--benchmark-quiet",
        "--benchmark-save-data",
        f"--benchmark-storage=file://{storage}",
        save,
    ]


@contextlib.contextmanager
def _no_pytest_settings() -> Iterator[None]:
    """Hide the user's environment variables from pytest."""
    names = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
