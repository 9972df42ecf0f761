"""What it costs to write and read messages and records, without a database's answer."""

import uuid
from dataclasses import asdict

import pytest
from django.db import connection

from taskbridge import pulse
from taskbridge.merging import BUDGET_S, Merger, joined
from taskbridge.message import seal, sign, unpack, verify
from taskbridge.store import Json
from taskbridge.store.record import message_of_record, record_of_row, values_of
from tests.unit.durable_tasks import ALIAS
from tests.unit.sample_tasks import add
from tests.unit.store_records import new_record

CHUNK = 50
ARGUMENTS = Json.of([["a letter", 5, {"a": [1, 2, 3]}], {"b": None}])

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.benchmark(group="codec", max_time=0.2, min_rounds=20),
]


@pytest.fixture
def record():
    return new_record(task=add.module_path, backend=ALIAS, arguments=ARGUMENTS)


@pytest.fixture
def message(record):
    return message_of_record(record)


@pytest.fixture
def bodies(message, monkeypatch):
    """Envelopes of a task that is known to be quick."""
    ours = pulse.Pulse(concurrency=1)
    monkeypatch.setattr(pulse, "_ours", ours)
    for _ in range(20):
        ours.note_duration(message.task, 0.0001, at_first=BUDGET_S)
    yield [envelope.body for envelope in seal([message] * CHUNK)]
    ours.close()


def test_sign(benchmark, message):
    assert verify(benchmark(sign, message)) == message


def test_verify(benchmark, message):
    assert benchmark(verify, sign(message)) == message


def test_seal_a_chunk(benchmark, message):
    [envelope] = benchmark(seal, [message] * CHUNK, CHUNK)
    assert len(unpack(envelope.body)) == CHUNK


def test_record_to_row(benchmark, statements, record):
    with statements:
        values = benchmark(values_of, record, connection, {"enqueued_at": 0})
    assert ARGUMENTS.text in values
    assert statements.verbs == []


def test_row_to_record(benchmark, statements, record):
    texts = {
        name: value["text"] if isinstance(value, dict) else value
        for name, value in asdict(record).items()
    }
    row = {**texts, "id": uuid.UUID(record.id)}
    with statements:
        assert benchmark(record_of_row, row) == record
    assert statements.verbs == []


def test_validate(benchmark, statements, queue):
    with statements:
        benchmark(queue.validate_task, add.using(backend=ALIAS))
    assert statements.verbs == []


def test_group_what_waits(benchmark, bodies):
    groups = benchmark(Merger(CHUNK, 1).groups, bodies, CHUNK)
    assert groups == [list(range(CHUNK))]


def test_join_a_chunk(benchmark, bodies):
    assert len(unpack(benchmark(joined, bodies))) == CHUNK
