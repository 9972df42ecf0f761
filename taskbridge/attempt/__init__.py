"""One attempt of a task: the only code that calls a task's function."""

from .connections import close_stale_connections, restored_connections
from .handlers import ENDING, drop_handlers, has_run_tasks
from .limit import uninterrupted, within
from .outcome import Outcome, Supervision, attempt, exit_status
from .output import flush_output, write_lines_at_once

__all__ = [
    "ENDING",
    "Outcome",
    "Supervision",
    "attempt",
    "close_stale_connections",
    "drop_handlers",
    "exit_status",
    "flush_output",
    "has_run_tasks",
    "restored_connections",
    "uninterrupted",
    "within",
    "write_lines_at_once",
]
