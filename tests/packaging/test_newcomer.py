"""README, followed by a newcomer: in a fresh project, in its order, to the letter."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^    python (manage\.py .*)$", README, re.MULTILINE)
REDIS = "redis://localhost:6379/0"
ORDER = """
from django.db import models


class Order(models.Model):
    pass
"""


def snippet(beginning):
    """The one snippet of README that begins so."""
    [found] = [each for each in SNIPPETS if each.startswith(beginning)]
    return found


def backends():
    """The rows of README's table of backends: extra, app and BACKEND."""
    rows = re.findall(
        r"^\| `([\w-]+)` \| (\S*) ?\| `([\w.]+)` \| ", README, re.MULTILINE
    )
    return {extra: (app.strip("`"), backend) for extra, app, backend in rows}


class Project:
    """A project with an app."""

    def __init__(self, folder):
        self.folder = folder
        self.settings = folder / "mysite" / "settings.py"

    def begin(self):
        """Make it, by Django's own commands."""
        self.run("-m", "django", "startproject", "mysite", ".")
        self.run("manage.py", "startapp", "shop")
        self.add("shop/models.py", ORDER)
        self.add("mysite/settings.py", '\nINSTALLED_APPS += ["shop"]\n')
        self.manage("makemigrations shop")

    def add(self, path, text):
        with (self.folder / path).open("a", encoding="utf-8") as file:
            file.write(text)

    def change(self, old, new):
        text = self.settings.read_text(encoding="utf-8")
        assert old in text
        self.settings.write_text(text.replace(old, new), encoding="utf-8")

    def manage(self, command):
        return self.run("manage.py", *shlex.split(command))

    def shell(self, program):
        return self.manage(f"shell -c {shlex.quote(program)}")

    def run(self, *arguments):
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in {"DJANGO_SETTINGS_MODULE", "Q_CLUSTER_NAME"}
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{arguments}: {output}"
        assert "UserWarning" not in output
        return output

    def work(self):
        """Do what is due with the command of README, which would not end otherwise."""
        [worker] = [c for c in COMMANDS if c.endswith("worker --concurrency 4")]
        return self.run(*shlex.split(f"{worker} --burst"))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fresh")
    Project(folder).begin()
    return folder


@pytest.fixture
def project(fresh, tmp_path):
    return Project(shutil.copytree(fresh, tmp_path, dirs_exist_ok=True))


def statuses(project):
    counted = project.shell(
        "from taskbridge.models import TaskRecord; from collections import Counter; "
        "print(Counter(TaskRecord.objects.values_list('status', flat=True)))"
    )
    return dict(re.findall(r"'(\w+)': (\d+)", counted))


def test_quick_start_works_in_its_order_to_the_letter(project, redis_service):
    assert [each.partition("\n")[0] for each in SNIPPETS] == [
        "# settings.py, at its end",
        "# shop/tasks.py, in an app of INSTALLED_APPS",
        "# wherever an order is placed",
        "from datetime import timedelta",
    ]
    settings, tasks, order, calls = SNIPPETS
    project.add("mysite/settings.py", settings)
    project.change(REDIS, redis_service.url)
    project.manage("migrate")
    project.add("shop/tasks.py", tasks)
    project.shell(
        f"{order}\n{calls}\nimport asyncio; asyncio.run(view(None))\n"
        f"print(result.status)"
    )
    project.work()
    assert statuses(project) == {"SUCCESSFUL": "5", "READY": "1"}


def test_table_has_every_extra():
    assert list(backends()) == ["celery", "django-q2", "background-tasks"]


@pytest.mark.parametrize("extra", ["django-q2", "background-tasks"])
def test_move_to_another_queue_as_the_table_says(project, redis_service, extra):
    """A task that waits on Celery runs there; Django's own checks find nothing."""
    app, backend = backends()[extra]
    project.add("mysite/settings.py", snippet("# settings.py"))
    project.change(REDIS, redis_service.url)
    project.manage("migrate")
    project.add("shop/tasks.py", snippet("# shop/tasks.py"))
    project.shell(snippet("# wherever an order"))
    project.change('["taskbridge"]', f'["taskbridge", "{app}"]')
    project.change("taskbridge_celery.CeleryBackend", backend)
    if extra == "background-tasks":
        project.change(f'"OPTIONS": {{"BROKER_URL": "{redis_service.url}"}},', "")
    project.manage("check")
    project.manage("makemigrations --check --dry-run")
    project.manage("migrate")
    project.work()
    assert statuses(project) == {"SUCCESSFUL": "1"}


def test_task_before_its_setting_is_told_what_to_set(project):
    """Whoever begins with the second snippet is not left with half an error."""
    project.add("shop/tasks.py", snippet("# shop/tasks.py"))
    told = project.shell(
        "try:\n    import shop.tasks\nexcept Exception as exc:\n    print(exc)"
    )
    assert (
        "Task 'shop.tasks.send_receipt': Queue 'mail' is not valid for backend. Its "
        "backend is ImmediateBackend ('default'), since there is no TASKS setting. Set "
        "it before tasks are imported." in told
    )
