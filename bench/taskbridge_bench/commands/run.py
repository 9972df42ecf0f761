"""``taskbridge-bench run``: measure, store, and report; or go on with a run."""

import argparse
import contextlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from taskbridge_bench.head import Head
from taskbridge_bench.interrupts import Interrupts
from taskbridge_bench.journal import Journal, Partial
from taskbridge_bench.plan import Plan
from taskbridge_bench.progress import Progress
from taskbridge_bench.refusal import Refusal
from taskbridge_bench.results import Document
from taskbridge_bench.runner import Runner
from taskbridge_bench.servers import open_servers
from taskbridge_bench.session import run_session
from taskbridge_bench.stage import Stage, open_stage
from taskbridge_bench.storage import Storage

from .choices import (
    check,
    choose,
    contenders_of,
    head_of,
    missing_of,
    own_urls,
    plan_of,
    with_project,
)
from .consoles import messages
from .report import show

FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    document: Document
    file: Path | None
    """Where it is stored; None: nothing was measured."""


def run(options: argparse.Namespace, interrupts: Interrupts) -> int:
    """Run the command, and return its exit status.

    Raises:
        Refusal: it cannot start, or what it should go on with does not fit.
        KeyboardInterrupt: a signal came; what was measured is stored.
    """
    started = time.monotonic()
    storage = Storage(options.storage)
    partial = None if options.resume is None else storage.partial(options.resume)
    chosen = choose(options, partial)
    contenders = contenders_of(chosen)
    plan = plan_of(chosen, contenders)
    wanted = {server for block in plan.blocks for server in block.contender.servers}
    with (
        with_project(chosen),
        open_servers(chosen["database"], wanted, own_urls(options)) as servers,
        open_stage(interrupts, servers, contenders) as stage,
    ):
        missing = missing_of(plan, servers)
        plan = plan_of(chosen, contenders, missing)
        head = head_of(chosen, missing, servers, partial)
        outcome = measure(
            head, plan, stage, storage, interrupts, partial=partial, started=started
        )
    return _tell(outcome, head, interrupts)


def measure(
    head: Head,
    plan: Plan,
    stage: Stage,
    storage: Storage,
    interrupts: Interrupts,
    *,
    partial: Partial | None = None,
    started: float,
) -> Outcome:
    """Measure the blocks of a plan, and store them.

    Args:
        head: of the run.
        plan: of the run.
        stage: where it happens.
        storage: of the documents, and of the journal.
        interrupts: end it.
        partial: what an earlier attempt has finished.
        started: when this attempt began, a time of time.monotonic().

    Raises:
        Refusal: `partial` does not fit, or the plan is empty.
    """
    if not plan.blocks:
        raise Refusal(_nothing(head))
    if partial is not None:
        check(partial, head, plan)
    journal = Journal(storage.directory, head)
    is_stored = False
    try:
        if partial is not None:
            journal.resume(partial)
        progress = Progress(plan, messages())
        with _finishing(progress):
            runner = Runner(
                head=head,
                plan=plan,
                stage=stage,
                journal=journal,
                progress=progress,
                interrupts=interrupts,
                partial=partial,
                started=started,
            )
            place = head.options["json"]
            file = run_session(runner, storage, place and Path(place))
        is_stored = not partial or runner.finished >= partial.blocks.keys()
    finally:
        journal.close(delete=is_stored)
    return Outcome(document=runner.document(), file=file)


@contextlib.contextmanager
def _finishing(progress: Progress) -> Iterator[None]:
    try:
        yield
    finally:
        progress.finish()


def _nothing(head: Head) -> str:
    reasons = "".join(f"\n  {name}: {why}" for name, why in head.left_out.items())
    return (
        f"There is nothing to measure: none of the chosen contenders can be measured "
        f"here in any of the chosen scenarios.{reasons}"
    )


def _tell(outcome: Outcome, head: Head, interrupts: Interrupts) -> int:
    """Print the report, and where everything is stored; return the exit status."""
    console = messages()
    file = outcome.file
    if file is None:
        if interrupts.signal:
            console.print("Interrupted before anything was measured.")
            raise KeyboardInterrupt
        _tell_failures(outcome.document, console)
        return FAILED
    html = head.options["html"]
    show(outcome.document, {"html": html and Path(html)})
    about = outcome.document["taskbridge"]
    console.print(f"Stored in {file}")
    if unfinished := about["unfinished"]:
        console.print(
            f"{len(unfinished)} blocks are missing. To measure them: "
            f"taskbridge-bench run --resume {shlex.quote(str(file))}"
        )
    if interrupts.signal:
        raise KeyboardInterrupt
    return FAILED if about["failures"] else 0


def _tell_failures(document: Document, console: Console) -> None:
    console.print("Nothing was measured, so nothing is stored:")
    for failure in document["taskbridge"]["failures"]:
        console.print(
            f"{failure['contender']} in {failure['scenario']}: {failure['reason']}",
            markup=False,
        )
