"""Records in portions that a dispatcher's memory can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskbridge.store import Store

BYTES = 8_000_000
"""Of what is read at once; a record that is larger is read alone."""
SIZES = 50
"""How many sizes are asked for at once: some databases read a text to measure it."""


def portions(store: Store, ids: Sequence[str]) -> Iterator[list[str]]:
    """Yield the ids in their order, as many at a time as may be read together."""
    portion: list[str] = []
    size = 0
    for each, own in _sizes(store, ids):
        size += own
        if portion and size > BYTES:
            yield portion
            portion, size = [], own
        portion.append(each)
    if portion:
        yield portion


def _sizes(store: Store, ids: Sequence[str]) -> Iterator[tuple[str, int]]:
    for start in range(0, len(ids), SIZES):
        part = ids[start : start + SIZES]
        sizes = store.sizes(part) if len(ids) > 1 else {}
        for each in part:
            yield each, sizes.get(each, 0)
