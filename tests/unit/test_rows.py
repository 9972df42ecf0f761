import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from taskbridge import rows
from taskbridge.rows import insert_rows

pytestmark = pytest.mark.django_db(transaction=True)


def insert(*found):
    """Insert rows; return the number of rows of each statement."""
    with CaptureQueriesContext(connection) as captured:
        insert_rows("default", "django_content_type", ("app_label", "model"), found)
    sql = [query["sql"] for query in captured]
    return [each.count("'an app'") for each in sql if each.startswith("INSERT")]


def stored():
    return ContentType.objects.filter(app_label="an app").count()


@pytest.mark.parametrize(
    ("number", "statements"), [(0, []), (1, [1]), (1000, [1000]), (1001, [1000, 1])]
)
def test_a_statement_has_a_thousand_rows(number, statements):
    assert insert(*[("an app", f"model {n}") for n in range(number)]) == statements
    assert stored() == number


def test_a_statement_has_no_more_than_a_database_takes(monkeypatch):
    monkeypatch.setattr(rows, "CHARACTERS_PER_INSERT", 40)
    models = ["a" * 10, "b" * 10, "c" * 50, "d" * 10]
    assert insert(*[("an app", model) for model in models]) == [2, 1, 1]
    assert stored() == len(models)


def test_all_are_inserted_or_none(monkeypatch):
    monkeypatch.setattr(rows, "ROWS_PER_INSERT", 2)
    with pytest.raises(IntegrityError):
        insert(*[("an app", model) for model in ["a", "b", "c", "a"]])
    assert stored() == 0
