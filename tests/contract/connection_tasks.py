"""Tasks that tell on which connection they ran."""

from pathlib import Path

from django.db import connection

from taskbridge import task
from taskbridge.testing.ledger import Ledger

SESSION = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}


@task
def note_session(ledger: str, key: str) -> None:
    """Write the server's number of the session."""
    with connection.cursor() as cursor:
        cursor.execute(SESSION[connection.vendor])
        Ledger(Path(ledger)).write(key, str(cursor.fetchone()[0]))
