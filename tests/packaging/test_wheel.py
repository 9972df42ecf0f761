"""The wheel, installed in an empty environment."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
installed = {f.parts[0] for f in files("taskbridge") if f.parts[0][0] != "."}
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
