"""A stack of undo steps: what fails half-way is taken back, in reverse order.

`contextlib.ExitStack` with two differences: it is cheap to import, and when an undo step fails
too, the error that is raised tells both.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self


class Undo:
    """Collects undo steps; runs them when its block ends by an exception, or when told to.

    >>> with Undo() as undo:
    ...     undo.push(print, "taken back")
    ...     undo.commit()          # all went well: nothing is taken back
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def push(self, function: Callable[..., object], *args: Any) -> None:
        """Remember `function(*args)` as the way to take back what was just done."""
        self._steps.append((function, args))

    def commit(self) -> None:
        """Keep all that was done: forget every step."""
        self._steps.clear()

    def run(self) -> list[Exception]:
        """Take everything back, the last thing first; the errors met on the way."""
        failures: list[Exception] = []
        while self._steps:
            function, args = self._steps.pop()
            try:
                function(*args)
            except Exception as error:  # an undo step must not stop the next one
                failures.append(error)
        return failures

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.commit()
            return
        for failure in self.run():
            error.add_note(f"and taking it back failed: {failure}")
