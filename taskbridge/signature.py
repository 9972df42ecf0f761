"""Whether a task's function can be called with the arguments of a call."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from .compat import DjangoTask
from .policy import advice_on

_LAZILY: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    import annotationlib  # names that only type checkers import stay names

    _LAZILY["annotation_format"] = annotationlib.Format.FORWARDREF

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
_PLACE = ("priority", "queue_name", "backend")


def check_call(
    task: DjangoTask[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Refuse arguments with which every attempt would fail.

    Raises:
        TypeError: the function does not take them; names the task and its signature.
    """
    signature, enough = _signature_of(task.func, takes_context=task.takes_context)
    if signature is None or (not kwargs and len(args) in enough):
        return  # what most calls are; bind() takes ten times as long
    try:
        signature.bind(*args, **kwargs)
    except TypeError as exc:
        raise TypeError(
            f"Task {task.module_path!r} cannot be called so: {exc}. It takes "
            f"{signature}.{_advice(kwargs.keys() - signature.parameters.keys())}"
        ) from None


@lru_cache(maxsize=1024)
def _signature_of(
    function: Callable[..., Any], *, takes_context: bool
) -> tuple[inspect.Signature | None, range]:
    """Return a signature, and how many positional arguments alone suffice."""
    try:
        # What a decorator wraps may take other arguments than its wrapper.
        signature = inspect.signature(function, follow_wrapped=False, **_LAZILY)
    except ValueError:
        return None, range(0)
    taken = list(signature.parameters.values())
    if takes_context and taken[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        del taken[0]
    places = [each for each in taken if each.kind in _POSITIONAL]
    required = [each for each in taken if each.default is each.empty]
    is_enough = all(each in places for each in required)
    enough = range(len(required), len(places) + 1) if is_enough else range(0)
    return signature.replace(parameters=taken), enough


def _advice(words: set[str]) -> str:
    for word in sorted(words):
        if word in _PLACE:
            return f" For {word!r}, say using({word}=...) when you enqueue."
        if advice := advice_on(word):
            return f" For {word!r}, {advice}."
    return ""
