"""The judge names every task that was lost or ran twice."""

from taskbridge_bench.verdict import accusation


def test_accusation_each_once_is_empty():
    assert accusation(3, [2, 0, 1]) == ""


def test_accusation_one_lost_names_it():
    assert accusation(3, [0, 2]) == "lost: 1 of 3 tasks (key 1)"


def test_accusation_one_twice_names_it():
    assert accusation(3, [0, 1, 1, 2]) == "ran more than once: 1 of 3 tasks (key 1)"


def test_accusation_lost_and_twice_are_not_evened_out():
    assert accusation(3, [0, 1, 1]) == (
        "lost: 1 of 3 tasks (key 2); ran more than once: 1 of 3 tasks (key 1)"
    )


def test_accusation_unknown_key_names_it():
    assert accusation(1, [0, 7]) == "ran but never enqueued: 1 of 1 tasks (key 7)"


def test_accusation_many_names_the_first_few():
    assert accusation(9, []) == "lost: 9 of 9 tasks (key 0, 1, 2, 3, 4, ...)"
