"""What each backend says it can do, as the README shows it."""

from pathlib import Path

import pytest

from taskbridge.compat import task_backends
from taskbridge.features import table

README = Path(__file__).parents[2] / "README.md"
ALIASES = {
    "Celery": "celery_redis",
    "Django-Q2, Redis": "django_q_redis",
    "Django-Q2, ORM": "django_q_orm",
    "background-tasks": "background_tasks",
}


@pytest.mark.parametrize("prefix", ["", "durable_"], ids=["native", "durable"])
@pytest.mark.usefixtures("settings")
def test_table_in_the_readme_is_what_the_backends_say(prefix):
    features = {
        name: task_backends[prefix + alias].features for name, alias in ALIASES.items()
    }
    assert table(features) in README.read_text(), f"README.md needs:\n{table(features)}"
