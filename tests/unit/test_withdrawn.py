"""What no longer holds is said at the head of both published pages."""

import html
import re
from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parents[2] / "bench/results"
CHOOSING = RESULTS.parents[1] / "docs/choosing.md"

SUBJECTS = [
    "`async_task`",
    "a thirtieth",
    "a price that was not seen",
    "the fastest peer",
    "the most tasks per second of those that lose none",
    "ORM broker runs a little faster",
    "Nobody else can do cron",
    "Native Django-Q2 lost tasks",
    "Native delivery refuses `max_attempts`",
    "django-tasks-db",
]


def markdown_note():
    text = (RESULTS / "full.md").read_text(encoding="utf-8")
    head, _, rest = text.partition("\n## Withdrawn\n")
    assert head.strip() == "# TaskBridge bench"
    return rest.partition("\n## ")[0].replace("**", "")


def html_note():
    """The note as text, with Markdown's marks; it stands before all else, no script."""
    text = (RESULTS / "full.html").read_text(encoding="utf-8")
    head, _, rest = text.partition('<div class="notice" id="withdrawn" role="note">')
    assert "<script" not in head
    assert "<header" not in head
    note = re.sub(r"</?code>", "`", rest.partition("</div>")[0])
    note = note.replace("<li>", "- ").replace("<strong>Withdrawn.</strong> ", "")
    return html.unescape(re.sub(r"<.+?>", "", note))


def points(note):
    return [line[2:] for line in note.splitlines() if line.startswith("- ")]


@pytest.mark.parametrize("note", [markdown_note, html_note])
def test_a_note_at_the_head_names_each_withdrawn_statement(note):
    for subject, point in zip(SUBJECTS, points(note()), strict=True):
        assert subject in point


def test_both_pages_withdraw_the_same():
    assert markdown_note().split() == html_note().split()


def test_choosing_links_to_the_note():
    top = CHOOSING.read_text(encoding="utf-8").partition("\n## ")[0]
    assert "(../bench/results/full.md#withdrawn)" in top
