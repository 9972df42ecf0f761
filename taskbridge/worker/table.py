"""`Table`, what the pool asks of the rows of a queue library."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Table(Protocol):
    """Rows that are messages; a lock in a row says who runs it, until it is too old.

    ``str(table)`` is the name of the library. Keys are those of its rows, and owners
    are names of pools. Every method may raise `django.db.Error`.
    """

    lock_setting: str
    """The setting that says how old a lock may be."""

    @property
    def lock_s(self) -> float:
        """Seconds after which a lock no longer counts."""

    def due(self, queues: Collection[str], limit: int) -> list[int]:
        """Return the keys of up to `limit` rows that can run, in order."""

    def claim(self, keys: Collection[int], owner: str) -> set[int]:
        """Lock those of these rows that are still waiting; return which."""

    def look(self, keys: Collection[int], most_characters: int) -> dict[int, str]:
        """Return the contents of rows, claimed or not; longer ones are left out."""

    def read(self, key: int, owner: str) -> str | None:
        """Return the content of a row; None if the owner has not claimed it."""

    def body_of(self, row: str) -> object:
        """Return the body of the envelope in a row; None if the row is not ours."""

    def keep(self, keys: Collection[int], owner: str) -> None:
        """Renew the locks of rows that are running."""

    def finish(self, keys: Collection[int], owner: str) -> int:
        """Remove rows that were run; return how many still had the owner's lock."""

    def release_all_but(self, running: Collection[int], owner: str) -> None:
        """Give back rows that were claimed and are not running."""
