"""What a build tells while it goes on, and three ways to show it.

Plain      lines as BuildKit writes them into a log: #3 [build 2/4] RUN make
Classic    the stream of dockerd's classic builder: Step 3/7 : RUN make
Quiet      nothing; the image's id is printed at the end
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from labcontainer.record import Record


class Step(Record):
    """One instruction of a build: its number of all, and within its stage, both from 1."""

    number: int
    total: int
    stage: str
    place: int
    places: int
    text: str
    named: bool = True  # whether the Dockerfile names the stage, or has more than one


class Event(Record):
    """Base of all; `step` is None for what belongs to none."""

    step: Step | None = None


class Started(Event):
    """A step begins."""


class Output(Event):
    """A RUN's program has written, or a pull goes on."""

    data: bytes = b""


class Entered(Event):
    """The step is made now, in a container of this name."""

    container: str = ""


class Left(Event):
    """That container is gone; `failed`: it did not do what it was for."""

    container: str = ""
    failed: bool = False


class Done(Event):
    """A step has ended. `id` stands for the state after it; `seconds` is how long it took."""

    id: str = ""
    cached: bool = False
    seconds: float = 0.0


class Built(Event):
    """The image is there: its id."""

    id: str = ""


class Tagged(Event):
    """The image has a name."""

    name: str = ""


class Warned(Event):
    """Something the user should know."""

    text: str = ""


Tell = Callable[[Event], None]


def silent(_event: Event) -> None:
    """For who does not look."""


class Plain:
    """Lines into a log, of several steps at once if need be."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._begun: dict[int, float] = {}
        self._rest: dict[int, bytes] = {}

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._show(event)

    def _show(self, event: Event) -> None:
        step = event.step
        if isinstance(event, Warned):
            self._write(f"WARNING: {event.text}\n")
        elif isinstance(event, Built):
            self._write(f"writing image {event.id}\n")
        elif isinstance(event, Tagged):
            self._write(f"naming to {event.name}\n")
        elif step is None:
            return
        elif isinstance(event, Started):
            self._begun[step.number] = time.monotonic()
            self._write(f"\n#{step.number} {head(step)}\n")
        elif isinstance(event, Output):
            self._lines(step.number, event.data)
        elif isinstance(event, Done):
            self._lines(step.number, b"", end=True)
            done = "CACHED" if event.cached else f"DONE {event.seconds:.1f}s"
            self._write(f"#{step.number} {done}\n")

    def _lines(self, number: int, data: bytes, *, end: bool = False) -> None:
        whole = self._rest.pop(number, b"") + data
        *lines, rest = whole.split(b"\n")
        if rest and end:
            lines, rest = [*lines, rest], b""
        self._rest[number] = rest
        seconds = time.monotonic() - self._begun.get(number, time.monotonic())
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            self._write(f"#{number} {seconds:.3f} {text}\n")


def head(step: Step) -> str:
    """`[build 2/4] RUN make`."""
    stage = f"{step.stage} " if step.named else ""
    return f"[{stage}{step.place}/{step.places}] {' '.join(step.text.split())}"


class Classic:
    """The classic builder's stream; for a build that takes one step after another.

    With `force` (`--force-rm`) it tells of a failed step's container too that it is gone.
    """

    def __init__(self, write: Callable[[str], object], *, force: bool = False) -> None:
        self._write, self._force = write, force

    def __call__(self, event: Event) -> None:
        step = event.step
        if isinstance(event, Started) and step is not None:
            self._write(f"Step {step.number}/{step.total} : {step.text}\n")
        elif isinstance(event, Output):
            self._write(event.data.decode(errors="replace"))
        elif isinstance(event, Entered):
            self._write(f" ---> Running in {event.container}\n")
        elif isinstance(event, Left):
            if not event.failed or self._force:
                self._write(f"Removing intermediate container {event.container}\n")
        elif isinstance(event, Done):
            if event.cached and step is not None and step.place > 1:
                self._write(" ---> Using cache\n")
            if step is None or step.number < step.total:  # the last one's is the image's: Built
                self._write(f" ---> {event.id[:12]}\n")
        elif isinstance(event, Built):
            short = event.id.removeprefix("sha256:")[:12]
            self._write(f" ---> {short}\n")
            self._write(f"Successfully built {short}\n")
        elif isinstance(event, Tagged):
            self._write(f"Successfully tagged {event.name}\n")
        elif isinstance(event, Warned):
            self._write(f"[Warning] {event.text}\n")
