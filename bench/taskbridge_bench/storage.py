"""Where stored runs are: documents of pytest-benchmark, and journals."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .journal import SUFFIX, Partial
from .refusal import Refusal


class Storage:
    """A storage directory of pytest-benchmark; it need not exist.

    Args:
        directory: with a directory for each kind of machine in it, as it makes them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()

    def documents(self) -> list[Path]:
        """Return the files of all stored runs, the oldest first."""
        return sorted(self.directory.glob("**/*.json"), key=_age)

    def find(self, name: str) -> Path:
        """Return the file of a stored run.

        Args:
            name: the path of a file; or how its name begins here, as "0003".

        Raises:
            Refusal: there is none, or more than one.
        """
        if Path(name).is_file():
            return Path(name)
        found = [file for file in self.documents() if file.name.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(str(file) for file in found)
            raise Refusal(f"{name!r} is the beginning of several files: {names}.")
        stored = ", ".join(file.name for file in self.documents()) or "nothing"
        raise Refusal(
            f"{name} is not a file, and no run in {self.directory} has a name that "
            f"begins like this. Stored there: {stored}."
        )

    def read(self, name: str) -> dict[str, Any]:
        """Return the document of a stored run; `name` is as in `find`.

        Raises:
            Refusal: there is none, or it is not one of ours.
        """
        file = self.find(name)
        document = _load(file)
        if document is None:
            raise Refusal(f"{file} is not a result of taskbridge-bench.")
        return document

    def partial(self, name: str) -> Partial:
        """Return a run to go on with.

        Args:
            name: as in `find`, or the path of a journal; "": the newest in storage.

        Raises:
            Refusal: there is none, it is complete, or it is still going on.
        """
        if not name:
            return self._newest_partial()
        file = Path(name) if name.endswith(SUFFIX) else self.find(name)
        if file.suffix == SUFFIX:
            return Partial.of_journal(file)
        document = self.read(str(file))
        if not _is_partial(document):
            raise Refusal(f"The run in {file} is complete: there is nothing to resume.")
        return _partial(file, document)

    def _newest_partial(self) -> Partial:
        """Return the most that is there of the newest run that is not complete."""
        complete: set[str] = set()
        found: list[Partial] = []
        for partial in self._runs(complete):
            if partial.head.run in complete:
                continue
            if not found or partial.head.run == found[0].head.run:
                found.append(partial)
        if found:
            return max(found, key=lambda partial: len(partial.blocks))
        raise Refusal(
            f"There is no unfinished run in {self.directory}. To resume one that was "
            f"stored elsewhere, use --resume FILE."
        )

    def _runs(self, complete: set[str]) -> Iterator[Partial]:
        """Yield what is partial, the newest first; collect the names of what is not."""
        journals = self.directory.glob(f"*{SUFFIX}")
        for file in sorted([*journals, *self.documents()], key=_age, reverse=True):
            if file.suffix == SUFFIX:
                yield Partial.of_journal(file)
                continue
            document = _load(file)
            if document is None:
                continue
            if _is_partial(document):
                yield _partial(file, document)
            else:
                complete.add(document["taskbridge"].get("run", ""))


def _age(file: Path) -> tuple[float, str]:
    return file.stat().st_mtime, file.name


def _load(file: Path) -> dict[str, Any] | None:
    """Return a document; None if it is not ours, or was cut off while being written."""
    try:
        document = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    is_ours = isinstance(document, dict) and "taskbridge" in document
    return document if is_ours else None


def _is_partial(document: dict[str, Any]) -> bool:
    about = document["taskbridge"]
    return bool(about.get("interrupted") or about.get("unfinished"))


def _partial(file: Path, document: dict[str, Any]) -> Partial:
    try:
        return Partial.of_document(file, document)
    except (KeyError, TypeError) as exc:
        raise Refusal(
            f"{file} was stored by another version of taskbridge-bench and cannot be "
            f"resumed: run from the start."
        ) from exc
