"""The trace hook: every kernel call of this process can be watched.

The notebooks' own strace and the tests' recorder are this one hook. A watcher is called after the
call with its name, its printable arguments and its result.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    Watcher = Callable[[str, str, "int | OSError"], object]

watchers: list[Watcher] = []


def publish(name: str, shown: str, result: int | OSError) -> None:
    """Tell every watcher of one call: its name, `name(arguments)` as text, result or error."""
    for watcher in watchers:
        watcher(name, shown, result)


class Recorder:
    """Records the calls made inside its block, as lines like `umount2('/mnt', MNT.DETACH) = 0`."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, _name: str, shown: str, result: int | OSError) -> None:
        outcome = f"-1 {result.strerror}" if isinstance(result, OSError) else str(result)
        self.lines.append(f"{shown} = {outcome}")

    def __enter__(self) -> Self:
        watchers.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        watchers.remove(self)
