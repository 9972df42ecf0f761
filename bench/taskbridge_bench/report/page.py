"""Results as one HTML page that needs nothing else: no network, no fonts, no server.

The Content-Security-Policy of the page names its two scripts by their hashes and
forbids every request.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from django.template import Context, Engine
from django.utils.safestring import SafeString, mark_safe
from plotly.offline import get_plotlyjs

from taskbridge_bench.results import Document, Results

from .advice import advise
from .blocks import block_view, chapter_plots
from .remarks import (
    caveats,
    control,
    partial,
    replicates,
    run_facts,
    settings_of,
    versions,
)
from .sections import Chapter, Section, chapters, compared, profiles_of
from .words import PROFILES, profile_title

_HERE = files(__package__)
_KB = 1024


def to_html(results: Results, document: Document) -> str:
    """Return the page.

    Args:
        results: what `results.read` makes of the document.
        document: goes into the page as it is, for who wants to download it.
    """
    raw = gzip.compress(json.dumps(document, default=str).encode(), mtime=0)
    plotly, script = _script(get_plotlyjs()), _script(_text("page.js"))
    profiles = profiles_of(results)
    context = {
        "csp": _policy(plotly, script),
        "style": mark_safe(_text("page.css") + _switch(len(profiles))),  # noqa: S308 - ours
        "plotly": plotly,
        "script": script,
        "raw": mark_safe(base64.b64encode(raw).decode()),  # noqa: S308 - base64
        "raw_size": f"{len(raw) / _KB:,.0f} KB, compressed",
        **_content(results, profiles),
    }
    engine = Engine(dirs=[str(_HERE)])
    page = engine.get_template("page.html")
    return page.render(Context(context, use_l10n=False, use_tz=False))


def _content(results: Results, profiles: list[str]) -> dict[str, Any]:
    run = dict(run_facts(results))
    libraries = sorted({cell.library for cell in results.cells})
    return {
        "started": run.get("Started", ""),
        "noise": results.noise,
        "partial": partial(results),
        "lede": _lede(results, run),
        "confidence": run["Confidence"],
        "profiles": [
            {"title": profile_title(name), "meaning": PROFILES.get(name, ("", ""))[1]}
            for name in profiles
        ],
        "advice": list(_advice(results, profiles)),
        "caveats": caveats(results),
        "chapters": [
            _chapter(place, chapter, profiles, libraries)
            for place, chapter in enumerate(chapters(results))
        ],
        "failures": [
            {
                "scenario": failure.scenario,
                "profile": profile_title(failure.profile),
                "contender": failure.contender,
                "reason": failure.reason,
            }
            for failure in results.failures
        ],
        "left_out": list(results.left_out.items()),
        "run": list(run.items()),
        "versions": versions(results),
        "control": control(results),
        "settings": list(_settings(results, profiles)),
    }


def _lede(results: Results, run: dict[str, str]) -> str:
    contenders = len({cell.contender for cell in compared(results)})
    scenarios = len({cell.key.scenario for cell in results.cells})
    parts = [
        f"{contenders} contenders in {scenarios} scenarios",
        f"replicates: {replicates(results)}",
        f"{run.get('Machine', 'unknown machine')}, {run.get('Cores', '?')} cores",
        run.get("Database", ""),
        run.get("Duration", ""),
    ]
    return "; ".join(filter(None, parts)) + "."


def _advice(results: Results, profiles: list[str]) -> Iterable[dict[str, Any]]:
    found = advise(results)
    for setting in dict.fromkeys(each.setting for each in found):
        yield {
            "profile": profiles.index(setting.profile),
            "setting": str(setting),
            "advice": [
                {
                    "need": each.need,
                    "pairs": list(zip(each.take, each.numbers, strict=True)),
                    "instead": each.instead,
                    "showed": each.showed,
                    "caveats": each.caveats,
                }
                for each in found
                if each.setting == setting
            ],
        }


def _chapter(
    place: int, chapter: Chapter, profiles: list[str], libraries: list[str]
) -> dict[str, Any]:
    return {
        "id": f"chapter-{place}",
        "title": chapter.title,
        "asks": chapter.asks,
        "plots": list(chapter_plots(chapter, profiles, libraries)),
        "sections": [
            _section(f"scenario-{place}-{number}", section, profiles, libraries)
            for number, section in enumerate(chapter.sections)
        ],
    }


def _section(
    name: str, section: Section, profiles: list[str], libraries: list[str]
) -> dict[str, Any]:
    words = section.words
    return {
        "id": name,
        "scenario": section.scenario,
        "title": words.title,
        "asks": words.asks,
        "measured": words.measured,
        "blocks": [
            block_view(block, words, profiles, libraries) for block in section.blocks
        ],
    }


def _settings(results: Results, profiles: list[str]) -> Iterable[dict[str, Any]]:
    for key, description in results.contenders.items():
        profile, _, name = key.partition("/")
        if not description.get("control_of"):
            yield {
                "profile": profiles.index(profile) if profile in profiles else 0,
                "name": f"{name} ({profile_title(profile)})",
                "facts": settings_of(description),
            }


def _switch(profiles: int) -> str:
    """Return rules that hide what is not of the profile that is chosen."""
    return (
        "@media screen {"
        + "".join(
            f":root:has(#show-{n}:checked) .of:not(.profile-{n}) {{ display: none; }}"
            for n in range(profiles)
        )
        + "}"
    )


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'"
        for each in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _script(text: str) -> SafeString:
    """Return JavaScript that cannot end, or hide the end of, its element."""
    plain = text.replace("\r\n", "\n").replace("</script", "<\\/script")
    return mark_safe(plain.replace("<!--", "<\\!--"))  # noqa: S308 - ours, and plotly's


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
