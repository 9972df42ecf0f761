"""A copy of the example, run as a newcomer would: by its command line alone."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskbridge.testing.harness import send_signal, session_members

EXAMPLE = Path(__file__).parents[1] / "example"
DEMO_DEADLINE_S = 90


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def manage(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run a command that leaves no process; return its status and output."""
        with self.start(*arguments, **environment) as process:
            output, _ = process.communicate(timeout=DEMO_DEADLINE_S)
            assert session_members(process.pid) == []
        return process.returncode, output

    @contextlib.contextmanager
    def start(
        self, *arguments: str, **environment: str
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a command in a session of its own, which ends with the block."""
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder,
            env=self._environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            send_signal(session_members(process.pid), signal.SIGKILL)
            process.wait()

    def _environment(self) -> dict[str, str]:
        ours = (
            "DJANGO_SETTINGS_MODULE",
            "TASKBRIDGE_BACKEND",
            "BROKER_URL",
            "PYTHONPATH",
        )
        inherited = {k: v for k, v in os.environ.items() if k not in ours}
        database = self.folder.parent / "demo.sqlite3"
        return inherited | {"DATABASE_URL": f"sqlite:///{database}"}


@pytest.fixture
def project(tmp_path) -> "Project":
    """A copy of the example, so that its files stay out of the repository."""
    folder = tmp_path / "example"
    untracked = shutil.ignore_patterns(
        "media", "sent_mail", "db.sqlite3*", "__pycache__"
    )
    shutil.copytree(EXAMPLE, folder, ignore=untracked)
    return Project(folder)
