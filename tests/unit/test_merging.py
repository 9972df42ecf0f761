"""Which messages run as one chunk."""

import pytest

from taskbridge import pulse
from taskbridge.merging import BUDGET_S, Merger, joined
from taskbridge.message import LONGEST_BODY, Message, pack, sign, unpack, verify


@pytest.fixture
def durations(monkeypatch):
    """Let this process know how long tasks take."""
    ours = pulse.Pulse(concurrency=2)
    monkeypatch.setattr(pulse, "_ours", ours)
    for task, seconds in {"app.fast": 0.001, "app.slow": 2.0}.items():
        for _ in range(20):
            ours.note_duration(task, seconds, at_first=BUDGET_S)
    yield ours
    ours.close()


def body(task="app.fast", times=1, *, alone=False, **changes):
    fields = {
        "id": "0" * 32,
        "task": task,
        "args": [],
        "kwargs": {},
        "backend": "default",
        "queue_name": "default",
        "priority": 0,
        "run_after": None,
        "enqueued_at": "2026-01-01T00:00:00+00:00",
        "worker_ids": [],
        "durable": True,
        **changes,
    }
    return pack([sign(Message(**fields), alone=alone)] * times)


def sizes(groups):
    return [len(group) for group in groups]


def test_fast_tasks_share_a_chunk_up_to_the_budget(durations):
    groups = Merger(500, 2).groups([body()] * 120, waiting=1000)
    assert sizes(groups)[:2] == [50, 50]
    assert [index for group in groups for index in group] == list(range(120))


def test_a_chunk_is_no_longer_than_chunk(durations):
    assert sizes(Merger(10, 2).groups([body()] * 20, waiting=1000)) == [10, 10]
    assert sizes(Merger(1, 2).groups([body()] * 3, waiting=1000)) == [1, 1, 1]


def test_no_process_takes_what_idle_ones_could_run(durations):
    assert sizes(Merger(50, 4).groups([body()] * 8, waiting=8)) == [2, 2, 2, 2]
    assert Merger(50, 4).reach(3) == 1


def test_slow_tasks_and_those_that_have_not_run_are_alone(durations):
    bodies = [body(), body("app.slow"), body(), body(), body("app.new"), body()]
    groups = Merger(50, 1).groups(bodies, waiting=100)
    assert groups == [[0], [1], [2, 3], [4], [5]]


@pytest.mark.parametrize(
    "alone",
    [
        body(durable=False),
        body(worker_ids=["host:1"]),
        body(alone=True),
        "no JSON",
        None,
        pack(["no message"]),
        body(
            "app.fast", args=['","task":"app.fast","worker_ids":[],"durable":true}:x']
        ).replace("true}:", "false}:"),
    ],
    ids=["native", "retried", "given-back", "strange", "none", "unsigned", "boasting"],
)
def test_what_runs_alone(durations, alone):
    groups = Merger(50, 1).groups([body(), alone, body(), body()], waiting=100)
    assert groups == [[0], [1], [2, 3]]


def test_a_message_that_runs_alone_is_read_as_any_other():
    [one], [other] = unpack(body()), unpack(body(alone=True))
    assert one != other
    assert verify(one) == verify(other)


def test_a_chunk_is_no_longer_than_a_body_may_be(durations):
    large = body(args=["x" * (LONGEST_BODY // 2)])
    assert sizes(Merger(50, 1).groups([large] * 3, waiting=100)) == [1, 1, 1]


def test_how_many_like_the_first_may_be_taken(durations):
    merger = Merger(50, 2)
    assert merger.like(body(), waiting=1000) == 50
    assert merger.like(body(), waiting=20) == 10
    assert merger.like(body(times=20), waiting=1000) == 2
    assert merger.like(body("app.slow"), waiting=1000) == 1
    assert merger.like(body("app.new"), waiting=1000) == 1
    assert merger.like(body(durable=False), waiting=1000) == 1
    assert merger.like("no JSON", waiting=1000) == 1


def test_envelopes_that_hold_several_count_each(durations):
    groups = Merger(50, 1).groups([body(times=20)] * 5, waiting=1000)
    assert sizes(groups) == [2, 2, 1]


def test_without_a_supervisor_nothing_is_joined():
    assert sizes(Merger(50, 1).groups([body()] * 3, waiting=100)) == [1, 1, 1]


def test_a_chunk_grows_by_and_by_and_falls_at_once(durations):
    def chunk():
        [first, *_] = Merger(50, 1).groups([body("app.odd")] * 60, waiting=1000)
        return len(first)

    seen = [chunk()]
    for _ in range(7):
        durations.note_duration("app.odd", 0.0005, at_first=BUDGET_S)
        seen.append(chunk())
    assert seen == [1, 2, 4, 8, 16, 32, 50, 50]
    durations.note_duration("app.odd", 0.2, at_first=BUDGET_S)
    assert chunk() == 1


def test_joined_bodies_carry_all_messages():
    one, three = body(), body("app.slow", times=3)
    assert joined([one]) == one
    assert unpack(joined([one, three])) == [*unpack(one), *unpack(three)]
