"""A project's own tasks, from before it had TaskBridge."""

from pathlib import Path

from background_task import background
from celery import shared_task
from django_q.tasks import async_task

import taskbridge
from taskbridge.testing.ledger import Ledger
from tests.celery_project import app as current_app  # noqa: F401 - for @shared_task


def note(ledger: str, key: str) -> None:
    Ledger(Path(ledger)).write(key, "ran")


@background
def note_in_background(ledger: str, key: str) -> None:
    note(ledger, key)


@shared_task(ignore_result=True)
def note_shared(ledger: str, key: str) -> None:
    note(ledger, key)


@taskbridge.task
def pass_on(library: str, ledger: str, key: str) -> None:
    """Be a task of ours that calls one of the project's own."""
    match library:
        case "celery":
            note_shared.delay(ledger, key)
        case "django_q":
            async_task("tests.native.tasks.note", ledger, key)
        case "background_tasks":
            note_in_background(ledger, key)
