"""What all guests have in common: programs over one line of bytes, a console, an end.

A guest has the verbs of a container: `start` boots it, `exec` starts a program in it, `wait` and
`kill` mean that program, `delete` ends the guest with all that runs in it. What differs is the
command that is a machine (uml.py, qemu.py).
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from labcontainer.errors import LabError, NotFoundError, StateError
from labcontainer.record import Record
from labcontainer.vm import frames

BOOT_SECONDS = 60.0
CONSOLE_KEPT = 32768  # bytes of the console that an error may quote
CHUNK = 65536
GUEST_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",
}
# A user-mode kernel makes a session of its own, and has helpers that outlive a kill of it. The
# guard ends that whole group when the kernel ends, or when we do: its standard input is a pipe of
# ours, which the kernel closes for us however we end.
GUARD = """
end() { kill -s KILL -- -$kernel; kill -s KILL -- $kernel; kill -s KILL -- 0; } 2>/dev/null
exec 3<&0
"$@" 3<&- </dev/null & kernel=$!
{ read -r _ <&3; end; } >/dev/null 2>&1 &
wait $kernel
end
"""

Sink = Callable[[bytes], object]


class BootError(LabError):
    """The guest's kernel did not come up, or ended under a running program."""


class ProgramTimeoutError(LabError):
    """A program in the guest took longer than it was given."""

    exit_status = 124


class Program(Record):
    """What to run in a guest. Without `env` it gets the guest's own few variables, and another
    user than root /tmp as its home."""

    argv: tuple[str, ...]
    uid: int = 0
    cwd: str = "/"
    env: Mapping[str, str] = GUEST_ENV


class Guest(ABC):
    """A machine that is off; `start` boots it. Leaves no file and no process, however it ends."""

    def __init__(self) -> None:
        self.console = bytearray()
        self._reader = frames.Reader()
        self._waiting: dict[int, tuple[Sink, Sink]] = {}
        self._ended: dict[int, int] = {}
        self._last = 0
        self._ready = False
        self._taken = True
        self._input: deque[tuple[int, bytes]] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        """Boot, unless it is up."""
        if self._process is None:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.delete()

    @abstractmethod
    def _launch(self, line: socket.socket) -> subprocess.Popen[bytes]:
        """The machine's process, whose guest has the other end of the line."""

    @property
    def pid(self) -> int:
        """The guard's process number: the machine is a child of it."""
        if self._process is None:
            raise StateError("the guest is not running")
        return self._process.pid

    def start(self, timeout: float = BOOT_SECONDS) -> None:
        """Boot; returns when the guest takes programs. Raises BootError, UnsupportedError."""
        if self._process is not None:
            raise StateError("the guest is running")
        self._line, theirs = socket.socketpair()
        try:
            self._process = self._launch(theirs)
        except BaseException:
            self._line.close()
            raise
        finally:
            theirs.close()
        self._line.setblocking(False)
        os.set_blocking(self._console_end(), False)
        self._selector.register(self._line, selectors.EVENT_READ, self._hear)
        self._selector.register(self._console_end(), selectors.EVENT_READ, self._watch_console)
        try:
            self._until(lambda: self._ready, timeout, "boot")
        except BaseException:
            self.delete()
            raise

    def _console_end(self) -> int:
        assert self._process and self._process.stdout
        return self._process.stdout.fileno()

    # --- programs

    def exec(
        self,
        program: Program,
        stdout: Sink = bytes,
        stderr: Sink = bytes,
        stdin: bytes | None = b"",
    ) -> int:
        """Start a program in the guest; its number, for `wait` and `kill`.

        With `stdin` None its standard input stays open, for `write` and `close_input`.
        """
        self._last += 1
        home = {"HOME": "/tmp"} if program.uid and program.env is GUEST_ENV else {}
        env = {**program.env, **home}
        request = frames.pack_program(program.uid, program.cwd, program.argv, env)
        self._waiting[self._last] = (stdout, stderr)
        self._send(frames.EXEC, self._last, request)
        if stdin is not None:
            self.write(self._last, stdin)
            self.close_input(self._last)
        return self._last

    def write(self, number: int, data: bytes) -> None:
        """Give a program more input; it is passed on while the guest is waited for."""
        for at in range(0, len(data), frames.PIECE):
            self._input.append((number, data[at : at + frames.PIECE]))
        self._pass_input_on()

    def close_input(self, number: int) -> None:
        """The end of a program's input."""
        self._input.append((number, b""))
        self._pass_input_on()

    def _pass_input_on(self) -> None:
        """One piece at a time, for all programs together: the guest's line must never be full."""
        while self._taken and self._input:
            number, piece = self._input.popleft()
            self._taken = not piece
            self._send(frames.STDIN, number, piece)

    def wait(self, number: int, timeout: float | None = None) -> int:
        """The exit status of a program, 128 + n for signal n, once its output is passed on."""
        self._until(lambda: number in self._ended, timeout, "program")
        return self._ended.pop(number)

    def kill(self, number: int, signal: int = 15) -> None:
        """Send a program a signal."""
        self._send(frames.SIGNAL, number, str(int(signal)).encode())

    def ended(self, number: int) -> bool:
        """Whether a program's exit status is there."""
        return number in self._ended

    def watch(self, descriptor: int, readable: Callable[[], object]) -> None:
        """Call a function in `turn` and `wait` when a descriptor can be read."""
        self._selector.register(descriptor, selectors.EVENT_READ, readable)

    def unwatch(self, descriptor: int) -> None:
        """Take no more notice of a descriptor."""
        self._selector.unregister(descriptor)

    def delete(self) -> None:
        """End the guest, whatever runs in it."""
        if self._process is None:
            return
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()  # the guard ends the group
        self._process.wait()
        self._process.stdout.close()
        self._process = None
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        self._line.close()

    # --- the line

    def _send(self, kind: int, number: int, data: bytes = b"") -> None:
        """Write one message, and take in what comes meanwhile: both sides may be full."""
        if self._process is None:
            raise StateError("the guest is not running")
        left = memoryview(frames.pack(kind, number, data))
        while left:
            try:
                left = left[self._line.send(left) :]
            except BlockingIOError:
                self.turn(0.05)
            except OSError as error:
                raise self._gone() from error

    def _hear(self) -> None:
        try:
            data = self._line.recv(CHUNK)
        except BlockingIOError:
            return  # taken in meanwhile, by a turn within the turn
        except ConnectionResetError:
            data = b""
        if not data:
            raise self._gone()
        for kind, number, body in self._reader.feed(data):
            self._take(kind, number, body)

    def _take(self, kind: int, number: int, body: bytes) -> None:
        if kind == frames.READY:
            self._ready = True
        elif kind == frames.STDIN:
            self._taken = True
            self._pass_input_on()
        elif kind == frames.EXIT:
            self._ended[number] = int(body)
            self._waiting.pop(number, None)
        elif number in self._waiting:
            self._waiting[number][kind == frames.STDERR](body)

    def _watch_console(self) -> None:
        try:
            data = os.read(self._console_end(), CHUNK)
        except BlockingIOError:
            return
        if not data:
            raise self._gone()
        self.console += data
        del self.console[:-CONSOLE_KEPT]

    def turn(self, seconds: float | None) -> None:
        """Take in what comes within a time, from the guest and from what is watched."""
        for key, _ in self._selector.select(seconds):
            if key.fd in self._selector.get_map():  # an earlier one may have closed it
                key.data()

    def _until(self, done: Callable[[], bool], timeout: float | None, what: str) -> None:
        ends = None if timeout is None else time.monotonic() + timeout
        while not done():
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                if what == "boot":
                    raise BootError(f"the guest did not boot in {timeout:g} s: {self._cause()}")
                raise ProgramTimeoutError(f"the program in the guest took more than {timeout:g} s")
            self.turn(left)

    def _gone(self) -> BootError:
        self._drain_console()
        when = "under its programs" if self._ready else "before it was up"
        return BootError(f"the guest's kernel ended {when}: {self._cause()}")

    def _drain_console(self) -> None:
        """What the kernel still said, for the error; its group is dead in a moment."""
        stdout = self._process.stdout if self._process else None
        ends = time.monotonic() + 2
        while stdout is not None and time.monotonic() < ends:
            select.select([stdout], [], [], 0.1)
            try:
                data = os.read(stdout.fileno(), CHUNK)
            except BlockingIOError:
                continue
            if not data:
                return
            self.console += data

    def _cause(self) -> str:
        """The line of the console that says why, else its last."""
        lines = [line.strip() for line in self.console.decode(errors="replace").splitlines()]
        lines = [line for line in lines if line]
        for mark in ("labcontainer: boot failed", "Out of memory", "Kernel panic", "Failed to",
                     "No space left"):  # fmt: skip
            found = [line for line in lines if mark in line]
            if found:
                return found[0]
        return lines[-1] if lines else "the console is empty"


def check_shares(paths: Sequence[str]) -> None:
    """Raises NotFoundError where one is no directory: the guest could only say that in its boot."""
    for path in paths:
        if not os.path.isdir(path):
            raise NotFoundError(f"{path}, to be shared with the guest, is no directory")


def launch(
    argv: Sequence[str], inherited: Sequence[int], uid: int | None, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a machine under the guard; its standard output is the console."""
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARD, "labcontainer-vm", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=inherited,
        start_new_session=True,
        cwd="/",
        env={"PATH": GUEST_ENV["PATH"], **env},
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
    )


def run_in(
    guest: Guest, program: Program, timeout: float | None = None, stdin: bytes = b""
) -> tuple[int, bytes, bytes]:
    """Run one program to its end: its exit status, what it wrote, its words of error."""
    out, err = bytearray(), bytearray()
    number = guest.exec(program, out.extend, err.extend, stdin)
    return guest.wait(number, timeout), bytes(out), bytes(err)


def printer(descriptor: int) -> Sink:
    """A sink that passes bytes on to a descriptor of this process."""

    def write(data: bytes) -> None:
        while data:
            data = data[os.write(descriptor, data) :]

    return write
