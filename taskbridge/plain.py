"""Plain values: what travels and is kept as JSON, and comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .compat import normalize_json

# With options other than its defaults, json.dumps() makes an encoder for every call.
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

TOO_DEEP = "it is nested too deeply, or contains itself"


def encode(value: Any) -> str:
    """Return a value as JSON, in ASCII.

    Raises:
        TypeError: it is of a type that JSON does not have.
        ValueError: it holds NaN, Infinity or a very long number, or is nested too
            deeply.
    """
    try:
        return _encode(value)
    except RecursionError as exc:
        raise ValueError(TOO_DEEP) from exc


def check_arguments(value: Any) -> None:
    """Refuse what would reach the task as something else than it was.

    Raises:
        TypeError: it holds bytes.
        ValueError: two keys of a mapping are the same in JSON, or it is nested too
            deeply.
    """
    try:
        _check(value, takes_bytes=False)
    except RecursionError as exc:
        raise ValueError(TOO_DEEP) from exc


def normal_value(value: Any) -> Any:
    """Return what a task returned as Django keeps it: bytes become text, tuples lists.

    Raises:
        TypeError, ValueError: it is not JSON, or two keys of a mapping are the same
            there.
        Exception: a mapping or sequence of somebody's own raised it.
    """
    try:
        _check(value, takes_bytes=True)
        return normalize_json(value)
    except RecursionError as exc:
        raise ValueError(TOO_DEEP) from exc


def _check(value: Any, *, takes_bytes: bool) -> None:
    match value:
        case None | str() | int() | float():
            return
        case bytes() | bytearray() | memoryview():
            if not takes_bytes:
                raise TypeError(
                    f"{type(value).__name__} of {len(value):,} bytes: JSON has text "
                    f"only; decode it, or encode it as base64 and decode that in the "
                    f"task"
                )
        case Mapping():
            _check_keys(value, takes_bytes=takes_bytes)
            for each in value.values():
                _check(each, takes_bytes=takes_bytes)
        case Sequence():
            for each in value:
                _check(each, takes_bytes=takes_bytes)


def _check_keys(mapping: Mapping[Any, Any], *, takes_bytes: bool) -> None:
    if all(type(key) is str for key in mapping):
        return
    seen: dict[str, Any] = {}
    for key in mapping:
        _check(key, takes_bytes=takes_bytes)
        text = _as_key(key)
        if text in seen:
            raise ValueError(
                f"the keys {seen[text]!r} and {key!r} of a mapping are both "
                f"{text!r} in JSON"
            )
        seen[text] = key


def _as_key(key: Any) -> str:
    """Return the text that JSON makes of a key."""
    if isinstance(key, bytes):
        return key.decode(errors="replace")
    if isinstance(key, str):
        return str.__str__(key)
    [text] = json.loads(_encode({key: None}))
    return str(text)
