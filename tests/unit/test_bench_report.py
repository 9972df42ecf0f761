"""Reports of a run: what they say, and that the page works in a browser."""

import gzip
import io
import json
import math
import re
from base64 import b64decode
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from rich.console import Console

from taskbridge_bench.report import print_report, to_html, to_json, to_markdown
from taskbridge_bench.report.advice import advise
from taskbridge_bench.report.curves import depths, percentiles
from taskbridge_bench.report.numbers import short
from taskbridge_bench.report.plots import distributions
from taskbridge_bench.report.sections import chapters
from taskbridge_bench.results import Results, read
from tests.unit.bench_report_run import EVIL, LIBRARIES, SCENARIOS, document
from tests.unit.browser import chromium

FITS = "document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth"
INK = "document.querySelector('.xtick text').style.fill"


@pytest.fixture(scope="module")
def results() -> Results:
    return read(document())


def printed(results: Results) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_report(results, console)
    return console.file.getvalue()


def few(**about: Any) -> Results:
    """Return a small run."""
    found = read(document(scenarios=("enqueue",)))
    return replace(found, about={**found.about, **about})


def unknown() -> Results:
    """Return a run with a scenario and a metric that nobody has words for."""
    found = few()
    cells = [
        replace(cell, key=replace(cell.key, scenario="brew", metric="bitterness"))
        for cell in found.cells
    ]
    return replace(found, cells=cells, comparisons=[])


def text_of(page: str) -> str:
    """Return the text of a page, without scripts and tags."""
    plain = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", plain).split())


def test_tables_hold_one_setting_each(results):
    for chapter in chapters(results):
        for section in chapter.sections:
            for block in section.blocks:
                for row in block.rows:
                    for cell in row.cells.values():
                        assert cell.key.scenario == section.scenario
                        assert cell.key.profile == block.setting.profile
                        assert cell.key.database == block.setting.database
                        assert cell.guarantee == row.guarantee


def test_chapters_hold_each_scenario_once_and_no_control(results):
    sections = [s for chapter in chapters(results) for s in chapter.sections]

    assert sorted(s.scenario for s in sections) == sorted(SCENARIOS)
    rows = [row for s in sections for block in s.blocks for row in block.rows]
    assert not [row for row in rows if row.contender.endswith("-again")]


def test_advice_asks_who_may_lose_a_task_only_where_that_is_bearable(results):
    kept, lost = [a for a in advise(results) if a.setting.profile == "equal"][:2]

    assert set(kept.take) <= {"rq-native", "celery_late-native", "dramatiq-native"}
    assert lost.take == ["huey-native"]
    assert lost.caveats[0].startswith("at most once: what a killed worker held")


def test_advice_warns_of_at_most_once_only_where_that_is_taken(results):
    cells = [c for c in results.cells if c.guarantee == "at least once"]
    _, lost = [
        a for a in advise(replace(results, cells=cells)) if a.setting.profile == "equal"
    ][:2]

    assert lost.need == "Most tasks per second, a loss is bearable"
    assert not any(caveat.startswith("at most once") for caveat in lost.caveats)


def test_advice_names_all_who_are_tied(results):
    advice = advise(results)[0]

    assert len(advice.take) == len(advice.numbers) > 1
    assert "no difference seen" in advice.showed


def test_advice_is_silent_about_what_was_not_measured():
    needs = {each.need for each in advise(few())}

    assert needs == {"The cheapest enqueue in a request, none lost later"}


def test_advice_takes_nobody_who_lost_a_task(results):
    cells = [
        replace(cell, replicates=(0.0, 0.0, 0.0, 1.0))
        if cell.key.metric == "lost"
        else cell
        for cell in results.cells
    ]

    [found] = [
        each
        for each in advise(replace(results, cells=cells))
        if "kill -9" in each.need and each.setting.profile == "equal"
    ]

    assert found.take == []
    assert found.instead == "nobody here"
    assert "None of" in found.showed[0]


def test_advice_names_who_comes_back_later_without_taking_it(results):
    late = "dramatiq-native"
    turns = [dict(turn["extra_info"]) for turn in document()["benchmarks"]]
    for turn in turns:
        if turn["contender"]["name"] == late:
            turn["contender"] = {**turn["contender"], "returns": "by chance"}
            if turn["scenario"] == "recovery-worker":
                turn["samples"] = {"rerun": [math.nan], "lost": [0], "late": [2]}
    changed = [{"extra_info": turn} for turn in turns]

    [found] = [
        each
        for each in advise(read({**document(), "benchmarks": changed}))
        if "kill -9" in each.need and each.setting.profile == "equal"
    ]

    assert found.take
    assert late not in found.take
    assert f"{late} comes back later: by chance" in found.caveats


def test_advice_is_undecided_after_too_few_rounds():
    run = document(scenarios=("enqueue",))
    samples = {"call": [500.0, 510.0, 490.0]}
    turns = [
        {"extra_info": {**each["extra_info"], "samples": samples}}
        for each in run["benchmarks"]
        if each["extra_info"]["turn"] == 1
    ]

    found = advise(read({**run, "benchmarks": turns}))

    assert {each.instead for each in found} == {"undecided"}
    assert "too few rounds to tell 10 contenders apart" in found[0].showed


def test_advice_says_which_database_was_not_the_same(results):
    found = [a for a in advise(results) if a.need.startswith("Nothing")]

    assert found[0].take == ["procrastinate-native"]
    assert "procrastinate-native ran on PostgreSQL, others here on SQLite" in (
        found[0].caveats
    )


@pytest.mark.parametrize("say", [to_markdown, printed])
def test_report_says_no_difference_seen(results, say):
    said = say(results)

    assert "no difference seen" in said
    assert "lower is better" in said
    assert "higher is better" in said


def test_noise_is_on_top():
    noisy = read(document(noisy=True, scenarios=("enqueue",)))
    page = text_of(to_html(noisy, {}))

    assert "Do not trust" in printed(noisy).splitlines()[0]
    assert "differed from itself" in to_markdown(noisy).split("\n\n")[1]
    assert page.index("differed from itself") < page.index("taskbridge-bench")


def test_caveats_say_that_there_was_no_control():
    uncontrolled = replace(few(), comparisons=[])

    assert "nobody knows" in to_markdown(uncontrolled)
    assert "nobody knows" not in to_markdown(few())


def test_partial_run_is_said_on_top():
    results = few(interrupted=True, unfinished=["a", "b"])

    assert "interrupted; 2 turns are missing" in printed(results).splitlines()[0]
    assert "interrupted" in to_markdown(results).split("\n\n")[1]
    page = text_of(to_html(results, {}))
    assert page.index("interrupted") < page.index("taskbridge-bench")


def test_reports_without_any_number_still_say_why():
    results = replace(few(), cells=[], comparisons=[], contenders={})

    for said in (printed(results), to_markdown(results), to_html(results, {})):
        assert "Deadline: 60 s are over." in said


def test_unknown_scenario_and_metric_are_shown():
    results = unknown()

    for said in (printed(results), to_markdown(results), to_html(results, {})):
        assert "brew" in said
        assert "bitterness" in said
    assert "direction not known" in to_markdown(results)


def test_terminal_fits_120_columns(results):
    lines = printed(results).splitlines()

    assert max(map(len, lines)) <= 120
    assert not [line for line in lines if "\u2026" in line]


def test_markdown_escapes(results):
    said = to_markdown(results)

    assert "<img" not in said
    assert r"&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;\|\*evil\*" in said


def test_markdown_tables_have_as_many_cells_in_each_row(results):
    for table in re.findall(r"(?:^\|.*\n)+", to_markdown(results), re.MULTILINE):
        rows = table.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_page_escapes(results):
    page = to_html(results, {"evil": EVIL})

    assert "<img" not in page.replace(get_plotlyjs(), "")
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;|*evil*" in page


def test_page_holds_the_raw_document():
    raw = {"benchmarks": [1, 2, 3], "evil": EVIL}

    page = to_html(few(), raw)

    [packed] = re.findall(r'id="raw">([^<]+)<', page)
    assert json.loads(gzip.decompress(b64decode(packed))) == raw


def test_page_markdown_and_json_hold_the_same_numbers(results):
    page, said = text_of(to_html(results, {})), to_markdown(results)
    data = to_json(results)

    cells = [
        cell
        for cell in data["cells"]
        if not cell["control_of"] and cell["metric"] in {"call", "p99", "rate"}
    ]
    assert len(cells) > 100
    for cell in cells:
        low, high = short(cell["low"]), short(cell["high"])
        interval = f"({low}\u2013{high})"
        assert f"**{short(cell['median'])}** {interval}" in said
        assert f"{short(cell['median'])} {interval}" in page


def test_json_is_strict_and_has_its_schema(results):
    data = json.loads(json.dumps(to_json(results), allow_nan=False))

    assert data["schema"] == "taskbridge-bench-report/1"
    assert len(data["cells"]) == len(results.cells)
    assert len(data["comparisons"]) == len(results.comparisons)
    assert {"p50", "p99.9", "count"} <= next(
        cell["percentiles"].keys() for cell in data["cells"] if cell["percentiles"]
    )


def test_plots_are_what_plotly_knows(results):
    found = []
    for chapter in chapters(results):
        for section in chapter.sections:
            for block in section.blocks:
                found += percentiles(block, LIBRARIES)
                found += distributions(block, section.words.plotted)
                found += depths(chapter.sections, block.setting, LIBRARIES)

    for plot in found:
        spec = json.dumps({"data": plot.data, "layout": plot.layout}, allow_nan=False)
        go.Figure(json.loads(re.sub(r'"\$[a-z0-9-]+"', '"#123456"', spec)))
        assert "is better" in plot.title
    assert len(found) > 50


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_page_works_in_a_browser(tmp_path, width, dark):
    run = document(
        scenarios=("enqueue", "drain-200", "drain-2000", "latency-60", "cost")
    )
    path = tmp_path / "report.html"
    path.write_text(to_html(read(run), run), encoding="utf-8")

    with chromium(tmp_path / "profile") as page:
        page.show(path.as_uri(), width, dark=dark)
        for profile in (0, 1):
            page.run(f"document.getElementById('show-{profile}').click()")
            page.scroll_through()
            assert page.run(FITS), f"scrolls sideways at {width} px"
        drawn = "[...document.querySelectorAll('.canvas')].filter(c => {}).length"
        number = page.run(drawn.format("true"))
        assert number > 20
        assert page.run(drawn.format("c.querySelector('svg .trace')")) == number
        before = page.run(INK)
        page.colours(dark=not dark)
        page.run("document.getElementById('show-0').click()")
        page.wait(f"{INK} !== {before!r}")
        page.run("document.querySelector('.names button').click()")
        page.wait("document.querySelector('.names [aria-pressed=false]')")
        page.run("document.getElementById('download').click()")
        page.wait("document.getElementById('download-state').textContent")
        assert page.problems == []


def test_page_forbids_the_network(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(to_html(few(), {}), encoding="utf-8")

    with chromium(tmp_path / "profile") as page:
        page.show(path.as_uri(), 1280)
        assert page.problems == []
        page.run("fetch('http://127.0.0.1:9/').catch(() => 0)")

    assert "Content Security Policy" in str(page.problems)
    assert not [each for each in page.problems if each.startswith("asked for")]
