"""A build on a terminal: a line for each step, and what the running ones say below it."""

from __future__ import annotations

import threading
import time

from rich.text import Text

from labcontainer.build.progress import Done, Event, Output, Started, Step, Warned, head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

LINES = 5


class Steps:
    """Draws the running steps anew as they change; what is done stays above."""

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=out, highlight=False, markup=False)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._live.start()
        self._running: dict[int, tuple[Step, float]] = {}
        self._said: dict[int, list[str]] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            line = self._take(event)
            self._live.update(self._drawn(), refresh=bool(line))
            if line:
                self._console.print(Text(line, "blue"), soft_wrap=True)

    def _take(self, event: Event) -> str:
        """Remember what is told; the line that stays for ever, if it gives one."""
        step = event.step
        if isinstance(event, Warned):
            return f"WARNING: {event.text}"
        if step is None:
            return ""
        if isinstance(event, Started):
            self._running[step.number] = (step, time.monotonic())
            self._said[step.number] = [""]
        elif isinstance(event, Output):
            first, *more = event.data.decode(errors="replace").replace("\r", "").split("\n")
            said = self._said.setdefault(step.number, [""])
            said[-1] += first
            said += more
            del said[: -LINES - 1]
        elif isinstance(event, Done):
            self._running.pop(step.number, None)
            end = "CACHED" if event.cached else f"{event.seconds:.1f}s"
            return f" => {head(step)}  {end}"
        return ""

    def _drawn(self) -> Text:
        lines: list[str] = []
        for number, (step, begun) in self._running.items():
            lines.append(f" => {head(step)}  {time.monotonic() - begun:.1f}s")
            lines += [f" => => {line}" for line in self._said[number] if line.strip()]
        width = self._console.width
        return Text("\n".join(line[: width - 1] for line in lines))

    def close(self) -> None:
        """Leave the terminal; what a step that failed has said stays."""
        with self._lock:
            self._live.stop()
            for number in self._running:
                for line in self._said[number]:
                    if line.strip():
                        self._console.print(Text(f" => => {line}"), soft_wrap=True)
