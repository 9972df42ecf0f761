"""A run that ends early leaves a result, a way to go on, and nothing else behind."""

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskbridge.testing.services import Redis, ServiceUnavailable
from taskbridge_bench.head import Head, machine, versions
from taskbridge_bench.journal import Finished, Journal, Partial
from taskbridge_bench.plan import Selection, make_plan
from taskbridge_bench.refusal import Refusal
from taskbridge_bench.storage import Storage

SEED = 5
SELECTION = Selection(
    libraries=["celery"], scenarios=["enqueue", "drain-200"], lanes=["native"]
)
OPTIONS = [
    *["--contender", "celery", "--lane", "native", "--scenario", "enqueue,drain-200"],
    *["--seed", str(SEED)],
]
PLANNED = [block.id for block in make_plan("quick", SEED, SELECTION).blocks]
AFTER = 5
"""All blocks of enqueue, and one of a worker."""


@dataclass
class Bench:
    """The command, in directories of its own."""

    directory: Path
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        (self.directory / "tmp").mkdir(exist_ok=True)
        environ = {**os.environ, "TMPDIR": str(self.directory / "tmp")}
        for name in ("TASKBRIDGE_TEST_REDIS_URL", "DJANGO_SETTINGS_MODULE"):
            environ.pop(name, None)
        return subprocess.Popen(
            [sys.executable, "-m", "taskbridge_bench", "run", *arguments],
            cwd=self.directory,
            env=environ,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.start(*arguments)
        try:
            stdout, stderr = command.communicate(timeout=200)
        finally:
            command.kill()
        return subprocess.CompletedProcess(
            arguments, command.returncode, stdout, stderr
        )

    @property
    def storage(self) -> Storage:
        return Storage(self.directory / ".benchmarks")

    @property
    def journals(self) -> list[Path]:
        return list(self.storage.directory.glob("*.journal"))

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in self.storage.documents()]

    def left_behind(self) -> list[Path]:
        return list((self.directory / "tmp").iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    try:
        Redis()._find()
    except ServiceUnavailable as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc))
        pytest.skip(str(exc))
    return Bench(tmp_path)


@contextlib.contextmanager
def interrupted(
    command: subprocess.Popen[str], number: signal.Signals
) -> Iterator[list[psutil.Process]]:
    """Send a signal in the middle of block AFTER + 1, with its processes."""
    assert command.stderr is not None
    try:
        for line in command.stderr:
            if line.startswith(f"[{AFTER}/"):
                break
        family = wait_for_worker(command)
        command.send_signal(number)
        yield family
    finally:
        command.kill()
        command.wait()
        for pipe in (command.stdout, command.stderr):
            if pipe is not None:
                pipe.close()


def wait_for_worker(command: subprocess.Popen[str]) -> list[psutil.Process]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert command.poll() is None, "it ended by itself"
        family = psutil.Process(command.pid).children(recursive=True)
        if any("worker" in words(process) for process in family):
            return family
        time.sleep(0.02)
    pytest.fail("no worker was started")


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def redis_ports(family: list[psutil.Process]) -> list[int]:
    titles = [" ".join(words(process)) for process in family]
    found = [re.search(r"redis-server.*(?:--port |:)(\d+)", each) for each in titles]
    ports = [int(match[1]) for match in found if match]
    assert ports, titles
    return ports


def marked(directory: Path) -> list[str]:
    """Return the processes that work in a directory, or keep their files there."""
    wanted = f"TMPDIR={directory}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in entry.read_bytes():
                found.append((entry.parent / "cmdline").read_text())
    return found


def assert_nothing_runs(
    bench: Bench, family: list[psutil.Process], ports: list[int]
) -> None:
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    deadline = time.monotonic() + 15  # the guards of a killed run need a while
    while (bench.left_behind() or marked(bench.directory)) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    assert marked(bench.directory) == []
    assert bench.left_behind() == []
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def ids(document: dict[str, Any]) -> list[str]:
    return [entry["param"] for entry in document["benchmarks"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_interrupted_leaves_a_report_and_nothing_else(
    bench: Bench, number: signal.Signals
):
    command = bench.start(*OPTIONS)
    with interrupted(command, number) as family:
        ports = redis_ports(family)
        stdout, stderr = command.communicate(timeout=60)

    assert command.returncode == 128 + number
    assert "Interrupted" in stderr
    assert "run --resume" in stderr
    assert "This run was interrupted" in stdout
    assert_nothing_runs(bench, family, ports)


def test_run_resumed_after_a_signal_is_as_if_never_interrupted(bench: Bench):
    command = bench.start(*OPTIONS)
    with interrupted(command, signal.SIGINT):
        command.communicate(timeout=60)
    [partial] = bench.documents()
    assert partial["taskbridge"]["interrupted"]
    assert len(PLANNED) > len(ids(partial)) >= AFTER
    assert bench.journals == []

    resumed = bench.run("--resume")

    assert resumed.returncode == 0, resumed.stderr
    [_, whole] = bench.documents()
    assert ids(whole) == PLANNED
    assert not whole["taskbridge"]["interrupted"]
    assert whole["taskbridge"]["unfinished"] == []
    assert whole["taskbridge"]["run"] == partial["taskbridge"]["run"]
    assert whole["benchmarks"][: len(ids(partial))] == [
        {**entry, "options": whole["benchmarks"][0]["options"]}
        for entry in partial["benchmarks"]
    ]
    again = bench.run("--resume")
    assert again.returncode == 2
    assert "no unfinished run" in again.stderr


def test_run_resumed_after_kill_is_as_if_never_killed(bench: Bench):
    command = bench.start(*OPTIONS)
    with interrupted(command, signal.SIGKILL) as family:
        command.wait()
    assert_nothing_runs(bench, family, [])
    assert bench.documents() == []
    [journal] = bench.journals
    before = Partial.of_journal(journal)
    assert len(before.blocks) >= AFTER - 1

    refused = bench.run("--resume", "--seed", "6")
    assert refused.returncode == 2
    assert "--seed 6, and it had 5" in refused.stderr

    resumed = bench.run("--resume")

    assert resumed.returncode == 0, resumed.stderr
    [whole] = bench.documents()
    assert ids(whole) == PLANNED
    measured_again = re.findall(r"^\[\d+/\d+\] (\S+): ", resumed.stderr, re.MULTILINE)
    assert len(measured_again) == len(PLANNED) - len(before.blocks)
    for entry in whole["benchmarks"]:
        if finished := before.blocks.get(entry["param"]):
            assert entry["stats"]["data"] == finished.seconds
            assert entry["extra_info"] == finished.extra_info
    assert bench.journals == []


# The journal by itself.


def head(**changes: Any) -> Head:
    given = {
        "run": "r1",
        "mode": "quick",
        "seed": 1,
        "database": "sqlite",
        "options": {},
        "left_out": {},
        "machine": machine(),
        "versions": versions(),
    }
    return Head(**{**given, **changes})


BLOCK = Finished(id="a-1", seconds=[0.1, 0.2], extra_info={"turn": 1})


def test_journal_of_a_killed_run_has_all_but_the_torn_line(tmp_path: Path):
    journal = Journal(tmp_path, head())
    journal.write(3.0, [BLOCK])
    journal.close(delete=False)
    with journal.path.open("a") as file:
        file.write('{"at_s": 4.0, "finished": {"id": "b-')

    partial = Partial.of_journal(journal.path)

    assert partial.blocks == {"a-1": BLOCK}
    assert partial.spent_s == 3.0
    assert partial.head == head()


def test_journal_is_continued_behind_a_torn_line(tmp_path: Path):
    journal = Journal(tmp_path, head())
    journal.write(3.0, [BLOCK])
    journal.close(delete=False)
    with journal.path.open("a") as file:
        file.write('{"at_s": 4.0, "finished": {"id": "b-')

    again = Journal(tmp_path, head())
    again.write(5.0, [Finished(id="b-1", seconds=[1.0], extra_info={})])
    again.close(delete=False)

    assert set(Partial.of_journal(again.path).blocks) == {"a-1", "b-1"}


def test_journal_of_a_run_that_goes_on_is_refused(tmp_path: Path):
    journal = Journal(tmp_path, head())

    with pytest.raises(Refusal, match="still going on"):
        Storage(tmp_path).partial("")

    journal.close(delete=True)
    with pytest.raises(Refusal, match="no unfinished run"):
        Storage(tmp_path).partial("")


def test_journal_lock_is_not_inherited_by_processes_that_are_started(tmp_path: Path):
    journal = Journal(tmp_path, head())
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        journal.close(delete=False)
        with journal.path.open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.kill()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions": {**versions(), "celery": "4.0"}}, "version celery"),
        ({"machine": {**machine(), "cores": 999}}, "machine cores"),
    ],
)
def test_head_of_another_machine_or_version_differs(changes: dict[str, Any], said: str):
    [difference] = head().differences(head(**changes))

    assert difference.startswith(said)
