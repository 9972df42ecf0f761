"""The session of pytest that a run is, without the user's own pytest set-up."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .runner import Runner
from .storage import Storage
from .work import ledger_path


def run_session(runner: Runner, storage: Storage, json: Path | None) -> Path | None:
    """Run all blocks, and let pytest-benchmark store them.

    Args:
        runner: of the run.
        storage: where they are stored.
        json: the file to store them in instead; None: in storage.

    Returns:
        The file; None: nothing was measured.
    """
    before = set(storage.documents())
    # In the directory of the stage, which is deleted even if this process is killed.
    root = ledger_path("pytest")
    root.mkdir()
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
    with _no_pytest_settings():
        pytest.main(_arguments(root, storage, json), plugins=[runner])
    if not runner.is_stored:
        return None
    return json or next(f for f in reversed(storage.documents()) if f not in before)


def _arguments(root: Path, storage: Storage, json: Path | None) -> list[str]:
    settings = root / "pytest.ini"
    settings.write_text("[pytest]\n")
    if json is None:
        directory, save = storage.directory, "--benchmark-autosave"
    else:
        directory, save = root, f"--benchmark-json={json.absolute()}"
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
        f"--benchmark-storage=file://{directory}",
        save,
    ]


@contextlib.contextmanager
def _no_pytest_settings() -> Iterator[None]:
    """Hide from pytest what is said in the environment to another one."""
    names = [name for name in os.environ if name.startswith("PYTEST_")]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)
