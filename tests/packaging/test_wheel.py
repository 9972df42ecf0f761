"""The wheel: its name, what is in it, and how it works in an empty environment."""

import email
import json
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from taskbridge_bench.head import PACKAGES

ROOT = Path(__file__).parents[2]
NAME = "django-taskbridge"
DISTRIBUTION = [
    "taskbridge",
    "taskbridge_background_tasks",
    "taskbridge_bench",
    "taskbridge_celery",
    "taskbridge_django_q",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", out, ROOT],
        check=True,
        capture_output=True,
    )
    [wheel] = out.glob("*.whl")
    return wheel


def test_wheel_holds_only_our_names(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = sorted({name.split("/")[0] for name in names if ".dist-info/" not in name})
    assert top == DISTRIBUTION
    assert "taskbridge/py.typed" in names


def test_wheel_is_named_apart_from_the_unrelated_taskbridge(wheel):
    archive = zipfile.ZipFile(wheel)
    [metadata] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
    assert email.message_from_bytes(archive.read(metadata))["Name"] == NAME
    assert NAME in PACKAGES


INSTALLS = [
    "README.md",
    "backends/taskbridge_background_tasks/__init__.py",
    "backends/taskbridge_celery/__init__.py",
    "backends/taskbridge_django_q/__init__.py",
    "bench/README.md",
    "pyproject.toml",
]


def test_name_with_an_extra_is_always_that_of_the_wheel():
    """In install lines, hints and extras; INSTALLS are the files that have some."""
    places = [ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "Makefile"]
    for part in ("backends", "bench", "docs", "example", "taskbridge"):
        places += [p for p in (ROOT / part).rglob("*") if p.suffix in {".py", ".md"}]
    found = {
        str(place.relative_to(ROOT)): set(re.findall(r"([\w-]*taskbridge)\[", text))
        for place in places
        if "taskbridge[" in (text := place.read_text(encoding="utf-8"))
    }
    assert found == {place: {NAME} for place in INSTALLS}


def test_readme_installs_by_name_from_a_checkout_first():
    """Until the name is on the package index, nobody can install it from there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second = re.findall(r"pip install (?:-e )?\"(\S+)\[celery\]\"", readme)
    assert (first, second) == ("path/to/checkout", NAME)


def test_installed_wheel_loads_every_entry_point(wheel, tmp_path):
    """Installed for real in an empty environment, with every backend's library."""
    python = tmp_path / "bin" / "python"
    venv.create(tmp_path, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", "--no-input"]
    extras = f"{wheel}[celery,django-q2,background-tasks]"
    subprocess.run([*install, extras], check=True, capture_output=True)
    program = """
import json
from importlib.metadata import entry_points, files
from django.conf import settings
settings.configure(SECRET_KEY="x")
loaded = {e.name: e.load().__name__ for e in entry_points(group="taskbridge.backends")}
installed = {f.parts[0] for f in files("django-taskbridge") if f.parts[0][0] != "."}
print(json.dumps([loaded, sorted(n for n in installed if "dist-info" not in n)]))
"""
    result = subprocess.run(
        [python, "-W", "ignore", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    loaded, top = json.loads(result.stdout)
    assert loaded == {
        "celery": "CeleryBackend",
        "django-q2": "DjangoQBackend",
        "background-tasks": "BackgroundTasksBackend",
    }
    assert [name for name in top if name != ".."] == DISTRIBUTION
