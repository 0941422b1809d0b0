"""Where a lesson's processes run: on this machine, or in a user-mode kernel that is one process.

Nothing that a cell starts is the notebook's own process anyway: the helper, a check, the doctor and
commands are programs. Where neither root nor a user namespace is to be had, they start in a guest
(`labcontainer.vm.uml`) instead, as its root. It boots with the first of them, sees this machine's
files, and ends with the notebook kernel.

    cells ── run, Line ──▶ a queue ──▶ thread that owns the guest ── one line ──▶ agent ─▶ program
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from labcontainer.errors import LabError, UsageError
from labcontainer.lab import limits, student
from labcontainer.record import Record

if TYPE_CHECKING:
    from labcontainer.vm import uml

HERE, UML = "here", "uml"
MEMORY = "512M"
_PASSED = ("LABCONTAINER_", "LC_", "LANG", "PYTHON")

T = TypeVar("T")


class Ended(Record):
    """A program that ran to its end, or was killed at its time limit."""

    status: int
    output: bytes
    error: bytes = b""
    late: bool = False


class _State:
    chosen = ""
    room: Room | None = None
    lock = threading.Lock()


def current() -> str:
    """`here` or `uml`: what was chosen, else LABCONTAINER_WHERE, else here."""
    return _State.chosen or os.environ.get("LABCONTAINER_WHERE") or HERE


def asked() -> bool:
    """Whether somebody has chosen the place."""
    return bool(_State.chosen or os.environ.get("LABCONTAINER_WHERE"))


def choose(place: str) -> None:
    """Let all that is started from now on run there; a guest that is not needed any more ends.

    Raises:
        UsageError: there is no such place. UnsupportedError: there is no user-mode kernel here.
    """
    if place not in (HERE, UML):
        raise UsageError(f"where is {HERE!r} or {UML!r}, not {place!r}")
    if place == UML:
        from labcontainer.vm import uml

        uml.kernel()
    _State.chosen = place
    end()


def end() -> None:
    """End the guest, if one is up, and all that runs in it."""
    with _State.lock:
        room, _State.room = _State.room, None
    if room is not None:
        room.end()


def parent() -> int:
    """The number of the process whose end a program there must not outlive, as it sees it."""
    return 1 if current() == UML else os.getpid()


def patience(seconds: float) -> float:
    """A time limit that is meant for a quiet machine of the usual speed, for the place as it is."""
    return limits.scaled(seconds, current() == UML)


def run(
    argv: Sequence[str],
    *,
    input: bytes = b"",
    timeout: float | None = None,
    merged: bool = False,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program to its end, or to its limit on the clock, for which `patience` is to be asked.
    `merged`: its standard error is part of the output.

    Raises:
        LabError: the guest did not boot, or ended.
    """
    if current() == UML:
        line = Line(argv, merged=merged, env=env)
        line.write(input)
        line.close_input()
        return line.finish(timeout)
    error = subprocess.STDOUT if merged else subprocess.PIPE
    try:
        done = subprocess.run(list(argv), input=input, stdout=subprocess.PIPE, stderr=error,
                              timeout=timeout, check=False, env=env)  # fmt: skip
    except subprocess.TimeoutExpired as late:
        return Ended(0, late.stdout or b"", late.stderr or b"", late=True)
    return Ended(done.returncode, done.stdout, done.stderr or b"")


# --- the guest ----------------------------------------------------------------------------------


class Room:
    """The guest of this notebook, and the one thread that speaks with it."""

    def __init__(self) -> None:
        from labcontainer.vm import uml

        self.failure: LabError | None = None
        self._orders: queue.SimpleQueue[Callable[[uml.Guest], object] | None] = queue.SimpleQueue()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        share = str(student.home())
        os.makedirs(share, exist_ok=True)
        self._guest = uml.Guest(uml.Machine(MEMORY, (share,), hostname="lab"))
        self._up = threading.Event()
        self._lines: list[Line] = []
        self._thread = threading.Thread(target=self._live, name="lab-guest", daemon=True)
        self._thread.start()
        self._up.wait()
        if self.failure:
            raise self.failure

    def _live(self) -> None:
        try:
            self._guest.start()
            self._guest.watch(self._woken, lambda: os.read(self._woken, 4096))
            self._up.set()
            while self._obey():
                self._guest.turn(None)
        except (LabError, OSError) as error:
            self.failure = error if isinstance(error, LabError) else LabError(str(error))
        finally:
            self._guest.delete()
            for line in list(self._lines):
                line.lost()
            self._up.set()
            os.close(self._woken)

    def _obey(self) -> bool:
        while not self._orders.empty():
            order = self._orders.get()
            if order is None:
                return False
            order(self._guest)
        for line in [line for line in self._lines if self._guest.ended(line.number)]:
            self._lines.remove(line)
            line.ended(self._guest.wait(line.number))
        return True

    def order(self, what: Callable[[uml.Guest], object]) -> None:
        """Have the guest's thread do something."""
        if self.failure or not self._thread.is_alive():
            raise self.failure or LabError("the user-mode kernel has ended")
        self._orders.put(what)
        os.write(self._wake, b"x")

    def begin(self, line: Line, program: uml.Program) -> None:
        """Start a program, whose output and end the line is told."""

        def start(guest: uml.Guest) -> None:
            line.number = guest.exec(program, line.printed, line.complained, stdin=None)
            self._lines.append(line)

        self.order(start)

    def end(self) -> None:
        """End the guest."""
        if self._thread.is_alive():
            self._orders.put(None)
            os.write(self._wake, b"x")
            self._thread.join()
        os.close(self._wake)


def _room() -> Room:
    with _State.lock:
        if _State.room is None or _State.room.failure:
            _State.room = Room()
        return _State.room


class Line:
    """A program in the guest, with its input and output. Written to and read by any thread."""

    def __init__(
        self, argv: Sequence[str], *, merged: bool = False, env: Mapping[str, str] | None = None
    ) -> None:
        from labcontainer.vm import uml

        self.number = 0
        self.status: int | None = None
        self._merged = merged
        self._output, self._error = bytearray(), bytearray()
        self._news = threading.Condition()
        self._room = _room()
        program = uml.Program(tuple(argv), cwd=os.getcwd(), env=environment(env))
        self._room.begin(self, program)

    # --- told by the guest's thread

    def printed(self, data: bytes) -> None:
        """Output came."""
        with self._news:
            self._output += data
            self._news.notify_all()

    def complained(self, data: bytes) -> None:
        """Something came on standard error."""
        if self._merged:
            self.printed(data)
        else:
            self._error += data

    def ended(self, status: int) -> None:
        """It has ended; its output is all there."""
        with self._news:
            self.status = status
            self._news.notify_all()

    def lost(self) -> None:
        """The guest ended under it."""
        self.complained(f"{self._room.failure or 'the guest has ended'}\n".encode())
        self.ended(128 + signal.SIGKILL)

    # --- for the cells

    def write(self, data: bytes) -> None:
        """Give it input."""
        self._room.order(lambda guest: guest.write(self.number, data))

    def close_input(self) -> None:
        """The end of its input."""
        self._room.order(lambda guest: guest.close_input(self.number))

    def kill(self) -> None:
        """Kill it; what it started in a sandbox goes with it."""
        if self.status is None:
            self._room.order(lambda guest: guest.kill(self.number, signal.SIGKILL))

    def readline(self) -> bytes:
        """The next line of its output; empty when it has ended."""
        with self._news:
            while b"\n" not in self._output and self.status is None:
                self._news.wait()
            line, newline, rest = bytes(self._output).partition(b"\n")
            self._output = bytearray(rest)
            return line + newline

    def finish(self, timeout: float | None) -> Ended:
        """Wait for its end; kill it when the time is over."""
        with self._news:
            on_time = self._news.wait_for(lambda: self.status is not None, timeout)
        if not on_time:
            self.kill()
        with self._news:
            self._news.wait_for(lambda: self.status is not None, 30)
        status = self.status or 0
        # As subprocess tells it: minus the number of the signal.
        status = 128 - status if status > 128 else status
        return Ended(status, bytes(self._output), bytes(self._error), late=not on_time)


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a program in the guest gets: the guest's own variables and those of the lab."""
    from labcontainer.vm.guest import GUEST_ENV

    passed = {k: v for k, v in os.environ.items() if k.startswith(_PASSED)}
    passed.pop("LABCONTAINER_HOME", None)  # what is kept there is the host's; see boot.py
    own = {**GUEST_ENV, **passed, "LABCONTAINER_WORK": str(student.home())}
    own["PATH"] = f"{os.path.dirname(sys.executable)}:{GUEST_ENV['PATH']}"
    own["LABCONTAINER_WHERE"] = HERE  # it is there already
    return {**own, **(given or {})}


def state() -> dict[str, Any]:
    """For tests and the curious: where, and whether a guest is up."""
    room = _State.room
    return {"where": current(), "guest": room is not None and room.failure is None}
