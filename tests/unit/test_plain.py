"""What may be an argument or a return value."""

import pytest

from taskbridge.plain import check_arguments, encode, normal_value
from tests.unit import sample_tasks


def circle():
    values = []
    values.append(values)
    return values


def deep():
    value = "bottom"
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [None, True, 1, 0.5, "text", [1, [2]], (1, 2), {"a": {"b": []}}, {1: "a"}]
)
def test_plain_values_pass(value):
    check_arguments(value)
    encode(normal_value(value))


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({1: "a", "1": "b"}, "'1'"),
        ({True: "a", "true": "b"}, "'true'"),
        ({None: "a", "null": "b"}, "'null'"),
        ({0.5: "a", "0.5": "b"}, "'0.5'"),
    ],
)
def test_keys_that_are_one_in_json_are_refused(queue, mapping, text):
    with pytest.raises(TypeError, match=f"are both {text} in JSON"):
        sample_tasks.add.enqueue([{"deep": mapping}])
    with pytest.raises(ValueError, match=f"are both {text} in JSON"):
        normal_value(mapping)
    assert queue.envelopes == []


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
def test_bytes_are_refused_with_what_to_do(queue, value):
    for argument in (value, [value], {"key": value}):
        with pytest.raises(TypeError, match=r"of 3 bytes.*decode it, or encode it as"):
            sample_tasks.add.enqueue(argument)
    assert queue.envelopes == []


@pytest.mark.parametrize("make", [circle, deep])
def test_value_without_end_is_refused_as_one_that_is_not_json(queue, make):
    for call in (sample_tasks.add.enqueue, lambda v: sample_tasks.add.enqueue(a=v)):
        with pytest.raises(TypeError, match="nested too deeply, or contains itself"):
            call(make())
    assert queue.envelopes == []


def test_number_that_python_does_not_print_is_refused(queue):
    with pytest.raises(TypeError, match="arguments must be JSON"):
        sample_tasks.add.enqueue(10**5000)
    assert queue.envelopes == []
