"""How queries are counted and told."""

from taskbridge_bench.counting.apps import kind_of
from taskbridge_bench.scenarios.queries import in_words


def test_kind_of_a_query_is_its_verb_and_its_table() -> None:
    assert kind_of('DELETE FROM "orders" WHERE "id" = 1') == "DELETE orders"
    assert kind_of("INSERT INTO orders (id) VALUES (1)") == "INSERT orders"
    assert kind_of("SELECT EXTRACT(EPOCH FROM wake_at) FROM orders") == "SELECT orders"
    assert kind_of("BEGIN IMMEDIATE") == "BEGIN"


def test_queries_are_told_with_the_most_frequent_first() -> None:
    counts = {f"SELECT t{n}": 10 for n in range(8)} | {"UPDATE t": 400}

    words = in_words(counts, 200)

    assert words.startswith("2.00 UPDATE t, 0.05 SELECT t0, ")
    assert words.endswith(", 0.15 others")
    assert in_words({}, 5) == "none"
