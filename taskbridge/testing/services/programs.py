"""Find the server programs of this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path


def find_program(
    names: Sequence[str], folders: Iterable[str], *, path: str | None = None
) -> Path | None:
    """Find a program on PATH, else in folders.

    Args:
        names: its possible names, best first.
        folders: patterns of absolute paths, best first; of the folders that match one
            pattern, the one with the highest version comes first.
        path: what to search instead of PATH.
    """
    for name in names:
        if found := shutil.which(name, path=path):
            return Path(found).absolute()
    for folder in expand(folders):
        for name in names:
            if os.access(folder / name, os.X_OK):
                return folder / name
    return None


def expand(folders: Iterable[str]) -> list[Path]:
    """List the folders that match the patterns, the highest versions first."""

    def version(path: Path) -> list[int]:
        digits = "".join(c if c.isdigit() else " " for c in str(path))
        return [int(number) for number in digits.split()]

    found: list[Path] = []
    for pattern in folders:
        matches = Path("/").glob(pattern.lstrip("/"))
        found += sorted(matches, key=version, reverse=True)
    return found


def find_wheel(module: str) -> Path | None:
    """Find the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(module)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def version_of(program: Path, pattern: str) -> str:
    """Return what the pattern's group matches in the ``--version`` of a program."""
    completed = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    found = re.search(pattern, completed.stdout)
    return found[1] if found else "of unknown version"
