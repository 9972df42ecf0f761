"""Several stored runs as one: what each has measured, side by side."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .head import Head
from .refusal import Refusal


def merge(documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return one document of several.

    Of two parts of one run, which was interrupted and resumed, the longer one counts.

    Args:
        documents: at least one; see `results` for their schema.

    Raises:
        Refusal: they were measured on different machines, or with other versions.
    """
    documents = list(_longest_of_each_run(documents))
    if len(documents) == 1:
        return documents[0]
    abouts = [document["taskbridge"] for document in documents]
    _refuse_if_different(abouts)
    return {
        **documents[0],
        "benchmarks": [entry for each in documents for entry in each["benchmarks"]],
        "taskbridge": {
            **abouts[0],
            "mode": _joined(abouts, "mode"),
            "seed": _joined(abouts, "seed"),
            "database": _joined(abouts, "database"),
            "load_before": max(about["load_before"] for about in abouts),
            "total_s": sum(about["total_s"] for about in abouts),
            "interrupted": any(about["interrupted"] for about in abouts),
            "unfinished": [name for a in abouts for name in a.get("unfinished", ())],
            "left_out": _left_out(documents),
            "versions": _union(about["versions"] for about in abouts),
            "failures": [each for about in abouts for each in about["failures"]],
        },
    }


def _longest_of_each_run(
    documents: Iterable[Mapping[str, Any]],
) -> Iterable[Mapping[str, Any]]:
    found: dict[object, Mapping[str, Any]] = {}
    for number, document in enumerate(documents):
        run = document["taskbridge"].get("run", number)
        other = found.get(run)
        if other is None or len(document["benchmarks"]) > len(other["benchmarks"]):
            found[run] = document
    return found.values()


def _refuse_if_different(abouts: Sequence[Mapping[str, Any]]) -> None:
    first, *others = [Head.of(about) for about in abouts]
    for other in others:
        if differences := list(first.differences(other)):
            raise Refusal(
                "These runs cannot be one report, since their numbers do not compare: "
                f"{'; '.join(differences)}. Compare them instead: taskbridge-bench "
                f"compare A B."
            )


def _left_out(documents: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return who was left out of all runs."""
    documents = list(documents)
    measured = {
        entry["extra_info"]["contender"]["name"]
        for document in documents
        for entry in document["benchmarks"]
    }
    found = _union(document["taskbridge"]["left_out"] for document in documents)
    return {name: reason for name, reason in found.items() if name not in measured}


def _joined(abouts: Iterable[Mapping[str, Any]], name: str) -> str:
    return ", ".join(dict.fromkeys(str(about[name]) for about in abouts))


def _union(mappings: Iterable[Mapping[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for mapping in mappings:
        found = {**mapping, **found}
    return found
