"""What `manage.py taskbridge worker` runs: a supervisor, and the processes below it."""

from taskbridge.adapter import WorkerOptions, pass_over

from .supervisor import Supervisor

__all__ = ["Supervisor", "WorkerOptions", "pass_over"]
