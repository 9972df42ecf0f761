"""Results as Markdown with tables, as GitHub shows it."""

import html
import re
from collections.abc import Iterable, Sequence

from taskbridge_bench.results import Results

from .advice import Advice, advise
from .numbers import MISSING, against, interval, sizes, value, without, worst
from .remarks import (
    caveats,
    control,
    fact_text,
    partial,
    run_facts,
    settings_of,
    versions,
)
from .sections import Block, Row, Section, Setting, chapters
from .words import GUARANTEES, PROFILES, direction, metric_title

_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")
_BREAK = "<br>"


def to_markdown(results: Results) -> str:
    """Return the whole report."""
    lines = [
        "# TaskBridge bench",
        *_warnings(results),
        *_decisions(results),
        "## Before you believe a number",
        _bullets(caveats(results)),
        *_profiles(),
        *_chapters(results),
        *_missing(results),
        *_about(results),
        *_settings(results),
    ]
    return "\n\n".join(lines) + "\n"


def _warnings(results: Results) -> Iterable[str]:
    if results.noise:
        yield f"> [!WARNING]\n> **Do not trust these numbers.** {_line(results.noise)}"
    if text := partial(results):
        yield f"> [!IMPORTANT]\n> {_line(text)}"


def _decisions(results: Results) -> Iterable[str]:
    advice = advise(results)
    if advice:
        yield "## What to take"
    for setting in dict.fromkeys(each.setting for each in advice):
        yield f"### {_line(str(setting))}"
        yield _table(
            ("You need", "Take", "What it showed", "Caveat"),
            [_decision(each) for each in advice if each.setting == setting],
        )


def _decision(advice: Advice) -> tuple[str, ...]:
    return (
        _line(advice.need),
        _BREAK.join(
            f"**{_line(name)}** {_line(number)}"
            for name, number in zip(advice.take, advice.numbers, strict=True)
        )
        or _line(advice.instead),
        _lines(advice.showed),
        _lines(advice.caveats),
    )


def _profiles() -> Iterable[str]:
    texts = (f"**{title}**: {meaning}" for title, meaning in PROFILES.values())
    yield "## How to read it"
    yield _bullets(texts, escaped=True)
    yield (
        "Numbers are medians over replicates with their interval; beneath them the "
        "ratio to native of the same library, where it was measured. *n* says how many "
        "replicates that are: turns, each with a worker of its own, or only the rounds "
        "of few turns. A dash is no number."
    )


def _chapters(results: Results) -> Iterable[str]:
    for chapter in chapters(results):
        yield f"## {_line(chapter.title)}"
        if chapter.asks:
            yield _line(chapter.asks)
        for section in chapter.sections:
            yield from _section(section)


def _section(section: Section) -> Iterable[str]:
    words = section.words
    yield f"### {_line(words.title)} ({_line(section.scenario)})"
    if words.asks:
        yield f"**{_line(words.asks)}** {_line(words.measured)}"
    for block in section.blocks:
        yield from _block(block)


def _block(block: Block) -> Iterable[str]:
    setting: Setting = block.setting
    yield f"#### {_line(str(setting))}"
    columns = [f"{metric_title(m)}{_BREAK}*{direction(m)}*" for m in block.metrics]
    for guarantee, rows in block.groups.items():
        meaning = GUARANTEES.get(guarantee, "")
        yield f"*{_line(guarantee)}*" + (f": {_line(meaning)}" if meaning else "")
        yield _table(
            ("Contender", *columns, "n"),
            [
                (
                    _line(row.contender),
                    *(_cell(row, m) for m in block.metrics),
                    sizes(row.cells.values()),
                )
                for row in rows
            ],
        )
    yield from _facts(block)
    failed = [f"{_line(f.contender)} failed: {_line(f.reason)}" for f in block.failures]
    cannot = [f"{_line(name)}: {_line(why)}" for name, why in block.cannot.items()]
    if failed or cannot:
        yield _bullets([*failed, *cannot], escaped=True)


def _cell(row: Row, metric: str) -> str:
    cell = row.cells.get(metric)
    if cell is None:
        return MISSING
    median = f"**{value(cell.estimate.median, metric)}**"
    number = " ".join(filter(None, [median, interval(cell)]))
    ratio = against(row.against[metric]) if metric in row.against else None
    extra = (worst(cell), without(cell), ratio)
    return _BREAK.join([number, *filter(None, extra)])


def _facts(block: Block) -> Iterable[str]:
    rows = [
        (_line(row.contender), _line(name), _line(fact_text(fact)))
        for row in block.rows
        for name, fact in row.facts.items()
    ]
    if rows:
        table = _table(("Contender", "Fact", "Value"), rows)
        yield f"<details><summary>Facts</summary>\n\n{table}\n\n</details>"


def _missing(results: Results) -> Iterable[str]:
    if results.failures:
        yield "## Failed"
        yield _table(
            ("Scenario", "Profile", "Contender", "Reason"),
            [
                tuple(map(_line, (f.scenario, f.profile, f.contender, f.reason)))
                for f in results.failures
            ],
        )
    if results.left_out:
        yield "## Left out"
        yield _bullets([f"{name}: {why}" for name, why in results.left_out.items()])


def _about(results: Results) -> Iterable[str]:
    yield "## Machine and run"
    facts = [*run_facts(results), *versions(results)]
    yield _table(("", ""), [(_line(name), _line(text)) for name, text in facts])
    if found := control(results):
        yield "Control, contenders against themselves:"
        yield _bullets(found)


def _settings(results: Results) -> Iterable[str]:
    yield "## Settings of contenders"
    for name, description in results.contenders.items():
        rows = [(n, _line(text)) for n, text in settings_of(description)]
        table = _table(("Setting", "Value"), rows)
        yield f"<details><summary>{_line(name)}</summary>\n\n{table}\n\n</details>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _bullets(texts: Iterable[str], *, escaped: bool = False) -> str:
    return "\n".join(f"- {text if escaped else _line(text)}" for text in texts)


def _lines(texts: Iterable[str]) -> str:
    return _BREAK.join(map(_line, texts))


def _line(text: str) -> str:
    """Return text that means itself, on one line."""
    plain = html.escape(" ".join(str(text).split()), quote=False)
    return _SPECIAL.sub(r"\\\1", plain)
