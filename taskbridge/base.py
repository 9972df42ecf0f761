"""Django's Task as ours extends it, with types that know of coroutine functions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from .compat import BaseTask, DjangoTask
from .handles import TaskResult

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

if TYPE_CHECKING:

    class TypedTask(DjangoTask[P, T], Generic[P, T]):
        """What a task gives back: of a coroutine function, what one awaits of it.

        Django's own types say that a task whose function is `async def` returns a
        coroutine. Of each pair below the first is for those.
        """

        func: Callable[P, T]

        @overload  # type: ignore[override]  # narrower than Django's
        def enqueue(
            self: TypedTask[P, Coroutine[Any, Any, R]],
            *args: P.args,
            **kwargs: P.kwargs,
        ) -> TaskResult[R]: ...
        @overload
        def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[T]: ...
        def enqueue(self, *args: Any, **kwargs: Any) -> TaskResult[Any]:
            """Queue the task, to run as soon as it is due."""

        @overload  # type: ignore[override]  # as above
        async def aenqueue(
            self: TypedTask[P, Coroutine[Any, Any, R]],
            *args: P.args,
            **kwargs: P.kwargs,
        ) -> TaskResult[R]: ...
        @overload
        async def aenqueue(
            self, *args: P.args, **kwargs: P.kwargs
        ) -> TaskResult[T]: ...
        async def aenqueue(self, *args: Any, **kwargs: Any) -> TaskResult[Any]:
            """See `enqueue()`."""

        @overload  # type: ignore[override]  # as above
        def get_result(
            self: TypedTask[P, Coroutine[Any, Any, R]], result_id: str
        ) -> TaskResult[R]: ...
        @overload
        def get_result(self, result_id: str) -> TaskResult[T]: ...
        def get_result(self, result_id: str) -> TaskResult[Any]:
            """Return the result of this task by its id, as it stands now."""

        @overload  # type: ignore[override]  # as above
        async def aget_result(
            self: TypedTask[P, Coroutine[Any, Any, R]], result_id: str
        ) -> TaskResult[R]: ...
        @overload
        async def aget_result(self, result_id: str) -> TaskResult[T]: ...
        async def aget_result(self, result_id: str) -> TaskResult[Any]:
            """See `get_result()`."""

        @overload  # type: ignore[override]  # as above
        def call(
            self: TypedTask[P, Coroutine[Any, Any, R]],
            *args: P.args,
            **kwargs: P.kwargs,
        ) -> R: ...
        @overload
        def call(self, *args: P.args, **kwargs: P.kwargs) -> T: ...
        def call(self, *args: Any, **kwargs: Any) -> Any:
            """Run the function here and now, from synchronous code."""

        @overload  # type: ignore[override]  # as above
        async def acall(
            self: TypedTask[P, Coroutine[Any, Any, R]],
            *args: P.args,
            **kwargs: P.kwargs,
        ) -> R: ...
        @overload
        async def acall(self, *args: P.args, **kwargs: P.kwargs) -> T: ...
        async def acall(self, *args: Any, **kwargs: Any) -> Any:
            """Run the function here and now, from asynchronous code."""

else:
    TypedTask = BaseTask
