"""The steps of a Compose verb as they happen: `tell("Container p-web-1", "Starting")`.

On a terminal each resource has one line, which changes in place until the verb is done:

    [+] up 1/2
     ✔ Network p_default   Created   0.1s
     ⠙ Container p-web-1   Starting  0.3s

Elsewhere each step is a line, in JSON an object, as `docker compose --progress` has them.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Self, TextIO

    from rich.console import Group
    from rich.live import Live as RichLive

WORKING, DONE, WARNING, ERROR = "Working", "Done", "Warning", "Error"
_WARNINGS = ("Warning", "Skipped", "Resource is still in use", "Interrupted")


def of(args: Namespace) -> Steps:
    """Who is told of steps, as --progress, COMPOSE_PROGRESS and --ansi say.

    Raises:
        UsageError: the variable says something else.
    """
    kind = args.progress or os.environ.get("COMPOSE_PROGRESS", "") or "auto"
    ansi = args.ansi or os.environ.get("COMPOSE_ANSI", "") or "auto"
    if kind == "auto":
        kind = "tty" if sys.stderr.isatty() and ansi != "never" else "plain"
    if kind == "tty":
        return Live(sys.stderr, args.verb, colour=ansi != "never")
    kinds = {"plain": Steps, "json": Json, "quiet": Quiet}
    if kind not in kinds:
        raise errors.UsageError(f"COMPOSE_PROGRESS={kind}: it is auto, tty, plain, json or quiet")
    return kinds[kind](sys.stderr)


def kind_of(status: str) -> str:
    """Whether a step goes on, is done, or went wrong, by its word."""
    if status.startswith(_WARNINGS):
        return WARNING
    if status.startswith(ERROR):
        return ERROR
    # "Creating" goes on until "Created" comes; "Running" says how it already was.
    going_on = status == "Recreate" or (status.endswith("ing") and status != "Running")
    return WORKING if going_on else DONE


class Steps:
    """A line for each step: ` Container p-web-1  Starting`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def __call__(self, subject: str, status: str) -> None:
        with self._lock:
            print(self._line(subject, status), file=self._out, flush=True)

    def _line(self, subject: str, status: str) -> str:
        return f" {subject}  {status}"

    def leave(self) -> None:
        """What is written from now on stands below; the steps until now are final."""

    def beside_output(self) -> None:
        """Containers write to this terminal from now on: no line may be written over."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_about: object) -> None:
        self.leave()


class Json(Steps):
    """An object for each step."""

    def _line(self, subject: str, status: str) -> str:
        import json

        return json.dumps({"id": subject, "status": kind_of(status), "text": status})


class Quiet(Steps):
    """Nothing."""

    def __call__(self, subject: str, status: str) -> None:
        """Nobody is told."""


class Task:
    """The line of one resource: its newest status, and how long it took."""

    def __init__(self) -> None:
        self.status, self.begun = "", time.monotonic()
        self._ended = 0.0

    def become(self, status: str) -> None:
        """Take the next status."""
        self._ended = 0.0 if kind_of(status) == WORKING else self._ended or time.monotonic()
        self.status = status

    @property
    def seconds(self) -> float:
        """Since the first status, until it was done."""
        return (self._ended or time.monotonic()) - self.begun


class Live(Steps):
    """A line for each resource that is drawn anew, ten times a second, until `leave`."""

    MARKS = {DONE: ("✔", "green"), WARNING: ("!", "yellow"), ERROR: ("✘", "red")}

    def __init__(self, out: TextIO, verb: str, *, colour: bool = True) -> None:
        from rich.console import Console
        from rich.spinner import Spinner

        super().__init__(out)
        self._verb = verb
        self._console = Console(
            file=out, force_terminal=True, no_color=not colour, highlight=False, markup=False
        )
        self._spinner = Spinner("dots", style="cyan")
        self._tasks: dict[str, Task] = {}
        self._lines = False
        self._live = self._new()

    def _new(self) -> RichLive:
        from rich.live import Live as RichLive

        # What a build writes to standard error meanwhile is drawn above the lines.
        return RichLive(
            console=self._console, get_renderable=self._drawn, refresh_per_second=10,
            redirect_stdout=False,
        )  # fmt: skip

    def __call__(self, subject: str, status: str) -> None:
        if self._lines:
            if status not in ("Starting", "Started"):  # what they print says that
                super().__call__(subject, status)
            return
        with self._lock:
            self._tasks.setdefault(subject, Task()).become(status)
        self._live.start()  # nothing, when it runs already

    def beside_output(self) -> None:
        """Single lines from now on."""
        self.leave()
        self._lines = True

    def leave(self) -> None:
        """Draw a last time; the next step begins new lines below."""
        self._live.stop()
        self._live = self._new()
        with self._lock:
            self._tasks.clear()

    def __exit__(self, kind: type[BaseException] | None, *_about: object) -> None:
        """What is still going on when an error comes up is what has failed."""
        if kind is not None:
            ending = "Interrupted" if issubclass(kind, KeyboardInterrupt) else ERROR
            with self._lock:
                for one in self._tasks.values():
                    if kind_of(one.status) == WORKING:
                        one.become(ending)
        self.leave()

    def _drawn(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            tasks = dict(self._tasks)
        done = sum(kind_of(one.status) != WORKING for one in tasks.values())
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=2, justify="right")
        for _ in range(2):
            table.add_column(no_wrap=True)
        table.add_column(justify="right", ratio=1, no_wrap=True)
        for subject, one in tasks.items():
            mark, style = self.MARKS.get(kind_of(one.status), ("", ""))
            sign = Text(mark, style) if mark else self._spinner
            took = Text(f"{one.seconds:.1f}s", "blue")
            table.add_row(sign, subject, Text(one.status, style), took)
        return Group(f"[+] {self._verb} {done}/{len(tasks)}", table)
