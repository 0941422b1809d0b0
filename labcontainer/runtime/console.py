"""The caller's side of a container in the foreground: its signals, its terminal, its end.

One poll(2) over the container's end, the signals that came, and the bytes of the terminal.
"""

from __future__ import annotations

import os
import select

from labcontainer.kernel.signals import signal

_NOT_PASSED_ON = (signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGURG, signal.SIGPIPE)
_FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP)


class Signals:
    """Every signal that can be passed on, as bytes of a pipe, for as long as its block lasts."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> Signals:
        for number in range(1, 32):
            if number not in _NOT_PASSED_ON and number not in _FATAL:
                signal.signal(number, lambda number, frame: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._write)


class Foreground:
    """Waits for a process, passing signals on, and bytes where it has a terminal."""

    def __init__(self, pidfd: int, master: int = -1) -> None:
        self._pidfd = pidfd
        self._master = master
        self._stdin_open = master >= 0

    def wait(self, signals: Signals) -> None:
        """Return when the process has ended and all that it wrote is written."""
        if self._master < 0 or not os.isatty(0):
            self._relay(signals)
            return
        from labcontainer.kernel import terminal

        before = terminal.make_raw(0)
        try:
            self._resize()
            self._relay(signals)
        finally:
            terminal.restore(0, before)

    def _relay(self, signals: Signals) -> None:
        poll, ended = select.poll(), False
        poll.register(self._pidfd, select.POLLIN)
        poll.register(signals.fd, select.POLLIN)
        if self._master >= 0:
            poll.register(self._master, select.POLLIN)
            poll.register(0, select.POLLIN)
        while True:
            events = dict(poll.poll(0 if ended else None))
            if ended and self._master not in events:
                return
            if signals.fd in events:
                self._pass_on(os.read(signals.fd, 64))
            if self._master in events and not self._copy(self._master, 1):
                poll.unregister(self._master)
                self._master = -1
            if 0 in events and self._stdin_open and not self._copy(0, self._master):
                poll.unregister(0)
                self._stdin_open = False
            if self._pidfd in events and not ended:
                ended = True
                poll.unregister(self._pidfd)

    def _pass_on(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGWINCH and self._master >= 0:
                self._resize()
                continue
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass

    def _resize(self) -> None:
        if os.isatty(0):
            from labcontainer.kernel import terminal

            terminal.set_size(self._master, *terminal.get_size(0))

    def _copy(self, source: int, target: int) -> bool:
        """Copy what there is; false at the end (EIO: the terminal has no user any more)."""
        try:
            data = memoryview(os.read(source, 65536))
        except OSError:
            return False
        if not data or target < 0:
            return False
        while data:
            data = data[os.write(target, data) :]
        return True
