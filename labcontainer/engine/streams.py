"""The bytes between the caller's terminal or pipes and a container, and the signals.

    caller's stdin ──> master ──> container        with a terminal (-t)
    caller's stdout <── master <── container

Without a terminal the container has the caller's own pipes and files, but never the caller's
terminal: what has a descriptor of it could read what the user types. Then pipes of our own stand
between. While bytes flow, signals that arrive are passed on (signal.set_wakeup_fd(3)).
"""

from __future__ import annotations

import errno
import os
import select

from labcontainer.kernel import terminal
from labcontainer.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

CHUNK = 65536
DRAIN = 50  # milliseconds without a byte, after the end
# Signals that are about this process and not about the program (those of its own making too).
_OWN = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGABRT),
}
FORWARDED = sorted(signal.valid_signals() - _OWN)


class Signals:
    """Inside its block every signal that a program may get is caught; `take` tells which came."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in FORWARDED:
            self._before[number] = signal.signal(number, _caught)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._write)

    def take(self) -> bytes:
        """The numbers of the signals that came since the last time."""
        try:
            return os.read(self.fd, CHUNK)
        except BlockingIOError:
            return b""


def _caught(_number: int, _frame: object) -> None:
    """The wakeup descriptor has the number; a handler must be there for it to be written."""


class Standard:
    """Inside its block 0, 1 and 2 of this process are other descriptors: a child begins with them.

    The process must have one thread.
    """

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors
        self._before: list[int] = []

    def __enter__(self) -> Self:
        self._before = [os.dup(fd) for fd in (0, 1, 2)]
        for fd, given in enumerate(self._descriptors):
            os.dup2(self._before[given] if given < 3 else given, fd)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for fd, before in enumerate(self._before):
            os.dup2(before, fd)
            os.close(before)


class Raw:
    """The caller's terminal in raw mode inside the block: every key goes to the container."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._before = None if not os.isatty(fd) else terminal.make_raw(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._before is not None:
            try:
                terminal.restore(self.fd, self._before)
            except OSError:
                pass  # the terminal has gone


class Relay:
    """Copies bytes from descriptors to others until the container has ended."""

    def __init__(self) -> None:
        self._pairs: dict[int, int] = {}
        self._pending: dict[int, bytes] = {}
        self._close_after: set[int] = set()

    def pass_on(self, source: int, target: int, *, close: bool = False) -> None:
        """Copy from `source` to `target` from now on; with `close`, the end of one ends the other.

        A target of our own should not block; the caller's own may be shared and is left as it is.
        """
        self._pairs[source] = target
        if close:
            self._close_after.add(source)

    def run(
        self, ended: int, signals: Signals, on_signal: Callable[[int], None], outputs: set[int]
    ) -> None:
        """Copy until `ended` (a pidfd) is readable and the `outputs` have nothing left.

        A source whose target is full waits: only then are its next bytes read.
        """
        alive = True
        while alive or (outputs & set(self._pairs)) or self._pending:
            readable, writable = self._wait(ended if alive else -1, signals.fd)
            if signals.fd in readable:
                for number in signals.take():
                    on_signal(number)
            for target in writable:
                self._flush(target)
            for source in readable:
                if source in self._pairs:
                    self._copy(source)
            if not (alive or readable or writable or self._pending):
                return  # a process outside the container keeps an output open: no end will come
            if ended in readable:
                alive = False

    def _wait(self, ended: int, signals: int) -> tuple[list[int], list[int]]:
        poll = select.poll()
        for fd in (ended, signals):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        for source, target in self._pairs.items():
            if target not in self._pending:
                poll.register(source, select.POLLIN)
        for target in self._pending:
            poll.register(target, select.POLLOUT)
        found = [fd for fd, _what in poll.poll(None if ended >= 0 else DRAIN)]
        return (
            [fd for fd in found if fd not in self._pending],
            [fd for fd in found if fd in self._pending],
        )

    def _copy(self, source: int) -> None:
        target = self._pairs[source]
        try:
            data = os.read(source, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            # A pty master answers EIO when the last slave descriptor is closed.
            if error.errno != errno.EIO:
                raise
            data = b""
        if data:
            self._pending[target] = data
            return
        del self._pairs[source]
        if source in self._close_after:
            os.close(target)

    def _flush(self, target: int) -> None:
        """Write what waits for `target`, which can take some; the rest waits on."""
        data = self._pending.pop(target)
        # poll(2) promises that a blocking pipe takes PIPE_BUF bytes; more could make us wait in it.
        most = select.PIPE_BUF if os.get_blocking(target) else CHUNK
        try:
            written = os.write(target, data[:most])
        except BlockingIOError:
            written = 0
        except OSError:
            return  # the reader has gone: the program is not stopped by that, its bytes are dropped
        if written < len(data):
            self._pending[target] = data[written:]
