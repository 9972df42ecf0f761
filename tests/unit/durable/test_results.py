"""Results are read from records."""

import pytest

from taskbridge.compat import TaskResultDoesNotExist, task_backends
from taskbridge.models import TaskRecord
from tests.unit import sample_tasks
from tests.unit.durable_tasks import ALIAS

pytestmark = pytest.mark.django_db(transaction=True)
add = sample_tasks.add.using(backend=ALIAS)


def test_result_of_another_backend_is_not_found(queue):
    result = add.enqueue(1)
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["durable_background_tasks"].get_result(result.id)


def test_result_is_found_by_either_form_of_its_id(queue):
    import uuid

    result = add.enqueue(1)
    assert queue.get_result(str(uuid.UUID(result.id))).id == result.id
    assert add.get_result(result.id).args == [1]


def test_native_delivery_keeps_no_results():
    with pytest.raises(NotImplementedError, match="keeps no results in native"):
        task_backends["default"].get_result("0" * 32)


def test_strange_text_survives(queue):
    text = "\x00 \N{SNOWMAN} \U0001f600 \ud800 'quoted' %s"
    result = sample_tasks.echo.using(backend=ALIAS).enqueue(text)
    queue.run_due()
    result.refresh()
    assert result.return_value == text


def test_result_of_a_task_that_was_removed_is_told(queue):
    result = add.enqueue(1)
    TaskRecord.objects.update(task="tests.unit.sample_tasks.removed")
    with pytest.raises(TaskResultDoesNotExist, match="not in the code any more"):
        queue.get_result(result.id)
