"""docs/choosing.md says nothing that the published results do not say."""

import json
import re
from functools import cache
from pathlib import Path

import pytest

from taskbridge_bench.report.numbers import short, span, value
from taskbridge_bench.statistics import Scale, effect

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/choosing.md"
RESULTS = ROOT / "bench/results/full.json"

NOTE = re.compile(r"^\[\^([\w-]+)\]: (.+)$", re.MULTILINE)
MARK = re.compile(r"\[\^([\w-]+)\](?!:)")
EVIDENCE = re.compile(
    r"`(?P<scenario>[\w-]+)`, (?P<database>SQLite|PostgreSQL), "
    r"(?P<profile>defaults, )?`(?P<metric>\w+)` \(.+?\): (?P<items>.+)\."
)
ITEM = re.compile(r"(?P<one>[\w-]+)(?: / (?P<other>[\w-]+))? (?P<said>.+)")


@cache
def published():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def cell(scenario, database, profile, metric, contender):
    """What a contender showed, as bench/results/full.json has it."""
    wanted = (scenario, database, profile, metric, contender)
    names = ("scenario", "database", "profile", "metric", "contender")
    [found] = [c for c in published()["cells"] if tuple(c[n] for n in names) == wanted]
    return found


def figure(one, other=None):
    """The text of a cell's number, or of its ratio to another's."""
    if other is None:
        median = value(one["median"], one["metric"])
        alone = one["low"] is None or one["low"] == one["high"]
        return median if alone else f"{median} ({span(one['low'], one['high'])})"
    found = effect(one["replicates"], other["replicates"])
    if not found.has_enough:
        return "too few rounds"
    if not found.is_different:
        return "no difference seen"
    assert found.scale is Scale.RATIO
    interval = found.interval
    return f"{short(interval.value)} ({span(interval.low, interval.high)})"


def notes():
    return dict(NOTE.findall(PAGE.read_text(encoding="utf-8")))


def claims():
    """Paragraphs, points and rows of the page, without heads and notes."""
    text, _, _ = PAGE.read_text(encoding="utf-8").partition("\n## What would change")
    body = NOTE.sub("", text).partition("\n## In a minute\n")[2]
    blocks = re.split(r"\n\n|\n(?=- )|\n(?=\| )", body)
    return [
        block
        for block in map(str.strip, blocks)
        if block and not block.startswith(("#", "|---", "| You"))
    ]


@pytest.mark.parametrize("name", notes())
def test_a_note_quotes_the_published_results(name):
    found = EVIDENCE.fullmatch(notes()[name])
    assert found, notes()[name]
    where = (
        found["scenario"],
        found["database"].lower(),
        "defaults" if found["profile"] else "equal",
        found["metric"],
    )
    for text in found["items"].split("; "):
        item = ITEM.fullmatch(text)
        others = [cell(*where, item["other"])] if item["other"] else []
        assert item["said"] == figure(cell(*where, item["one"]), *others), text


def test_each_claim_has_a_note_and_each_note_a_claim():
    bare = [claim for claim in claims() if not MARK.search(claim)]
    assert bare == []
    assert set(MARK.findall(PAGE.read_text(encoding="utf-8"))) == set(notes())
