"""Tasks by their import path: where a worker finds what a message names."""

from __future__ import annotations

import sys
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from inspect import unwrap
from types import CodeType
from typing import Any

from django.utils.module_loading import import_string

from .compat import DjangoTask, InvalidTask, task_backends
from .exceptions import InvalidMessage

decorated: list[DjangoTask[Any, Any]] = []
"""Every task that `@taskbridge.task` made in this process, for the system checks."""


_made: dict[str, tuple[object, CodeType]] = {}
"""For each path the import of its module, and the code of the function there."""


def check_name(task: DjangoTask[Any, Any]) -> None:
    """Refuse the second task of a name: workers would run it for the first as well.

    Raises:
        InvalidTask: its module has another task of this name; says where they are.
    """
    code: CodeType | None = getattr(unwrap(task.func), "__code__", None)
    if code is None:
        return  # of a function that wraps something else
    # A module that is imported again, as a shell may do, has another spec.
    spec = getattr(sys.modules.get(task.func.__module__), "__spec__", None)
    known_spec, known = _made.get(task.module_path, (None, code))
    if spec is not None and spec is known_spec and code is not known:
        raise InvalidTask(
            f"Task {task.module_path!r}: there are two functions of this name, at "
            f"{_place(known)} and at {_place(code)}, and a worker finds only one. "
            f"Rename the other."
        )
    _made[task.module_path] = (spec, code)


def _place(code: CodeType) -> str:
    return f"{code.co_filename}:{code.co_firstlineno}"


def check_importable(task: DjangoTask[Any, Any]) -> None:
    """Refuse a task that a worker could not find by its path.

    Raises:
        InvalidTask: its module does not hold a Task under the function's own name.
    """
    module_name, name = task.func.__module__, task.func.__qualname__
    found = getattr(sys.modules.get(module_name), name, None)
    if module_name == "__main__" or not isinstance(found, DjangoTask):
        raise InvalidTask(
            f"Task {task.module_path!r} cannot be found by a worker under that path. "
            f"Define it at the top of an importable module, under the function's own "
            f"name: put @task on the function instead of calling task(function)."
        )


def find_task(
    result_id: str,
    path: str,
    *,
    run_after: datetime | None,
    backend: str,
    imports: bool = True,
    **place: Any,
) -> DjangoTask[Any, Any]:
    """Return the Task at a path, in the place where it was enqueued.

    What was accepted is not checked again: the backend of today may refuse to take such
    a task, and runs it all the same.

    Args:
        result_id: names it in errors.
        path: its import path.
        run_after: as it was enqueued.
        backend: its alias.
        imports: False: a module that this process has not imported is left alone, and
            its task is a stand-in that only knows its name and place.
        place: its queue and priority.

    Raises:
        InvalidMessage: there is none.
    """
    if backend not in task_backends.settings:
        raise InvalidMessage(
            f"Message {result_id} is for backend {backend!r}, not in TASKS."
        )
    is_there = imports or path.rpartition(".")[0] in sys.modules
    find = _task_in_place if is_there else _stand_in
    task = find(path, backend=backend, **place)
    return task if run_after is None else _placed(task, run_after=run_after)


@lru_cache(maxsize=1024)
def _task_in_place(path: str, **place: Any) -> DjangoTask[Any, Any]:
    try:
        task = import_string(path)
    except BaseException as exc:  # a module may even call sys.exit()
        raise InvalidMessage(f"A message names {path!r}; it does not import.") from exc
    if not isinstance(task, DjangoTask):
        raise InvalidMessage(f"A message names {path!r}, which is not a Task.")
    if all(getattr(task, name) == value for name, value in place.items()):
        return task
    return _placed(task, **place)


def _stand_in(path: str, **place: Any) -> DjangoTask[Any, Any]:
    def function(*args: object, **kwargs: object) -> None:
        raise RuntimeError(f"{path!r} is not imported in this process.")

    function.__module__, _, function.__name__ = path.rpartition(".")
    function.__qualname__ = function.__name__
    task: DjangoTask[Any, Any] = object.__new__(DjangoTask)
    known = {"func": function, "run_after": None, "takes_context": False, **place}
    for name, value in known.items():
        object.__setattr__(task, name, value)
    return task


def _placed(task: DjangoTask[Any, Any], **place: Any) -> DjangoTask[Any, Any]:
    """Return a copy with other options, none of which is checked."""
    copy: DjangoTask[Any, Any] = object.__new__(type(task))
    for each in fields(task):
        value = place[each.name] if each.name in place else getattr(task, each.name)
        object.__setattr__(copy, each.name, value)
    return copy
