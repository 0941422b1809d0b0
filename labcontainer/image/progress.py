"""What a transfer says of itself while it goes on: to a terminal, a file, a notebook or an API."""

from __future__ import annotations

import threading

from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self, TextIO

    Tell = Callable[["Event"], None]


class Event(Record):
    """One line about one thing (`id`, such as a layer's short digest), or about all ("").

    `current` of `total` bytes are done; total 0 is unknown.
    """

    id: str
    status: str
    current: int = 0
    total: int = 0

    @property
    def moving(self) -> bool:
        """Whether it only counts on: of no use in a file."""
        return self.total > 0 or self.current > 0


def silent(_event: Event) -> None:
    """For who does not look."""


def short(digest: str) -> str:
    """How a layer is called in progress lines: twelve digits."""
    return digest.partition(":")[2][:12]


class Lines:
    """Lines as `docker pull` writes them into a pipe: what began, what is done."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.moving or self._last.get(event.id) == event.status:
                return
            self._last[event.id] = event.status
            text = f"{event.id}: {event.status}" if event.id else event.status
            print(text, file=self._out, flush=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return


class Bars:
    """A bar for each layer, for who looks at a terminal or, with `out` None, at a notebook."""

    def __init__(self, out: TextIO | None) -> None:
        from rich import progress
        from rich.console import Console

        notebook = True if out is None else None
        self._console = Console(file=out, highlight=False, force_jupyter=notebook)
        self._progress = progress.Progress(
            progress.TextColumn("{task.fields[name]}"), progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=30), progress.DownloadColumn(),
            console=self._console,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __call__(self, event: Event) -> None:
        with self._lock:
            if not event.id:
                self._console.print(event.status)
                return
            if event.id not in self._tasks:
                self._tasks[event.id] = self._progress.add_task(
                    event.status, name=event.id, total=event.total or None
                )
            task = self._tasks[event.id]
            self._progress.update(task, description=event.status)
            if event.moving:
                self._progress.update(task, completed=event.current, total=event.total or None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()


def shown_on(out: TextIO) -> Lines | Bars:
    """Bars on a terminal and in a notebook, lines elsewhere."""
    if in_notebook():
        return Bars(None)
    return Bars(out) if out.isatty() else Lines(out)


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel: only one has IPython's shell with a kernel."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
