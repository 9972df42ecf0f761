"""A task that needs another thread when its server has been told to stop."""

import asyncio
from pathlib import Path

from taskbridge import task
from taskbridge.testing.ledger import Ledger


@task
async def finish_in_a_thread(ledger: str, key: str, seconds: float) -> None:
    """Write when it starts and, from a thread of an executor, when it finishes."""
    Ledger(Path(ledger)).write(key, "started")
    await asyncio.sleep(seconds)
    await asyncio.to_thread(Ledger(Path(ledger)).write, key, "finished")
