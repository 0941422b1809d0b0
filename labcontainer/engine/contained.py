"""One container as the runtime knows it: created, started, waited for, deleted.

The engine speaks to the runtime as any other engine does: a bundle with a config.json, and the
verbs create, start, kill, delete. `bundle/` and the runtime's state are in the container's own
directory, so whoever cleans up needs to know nothing else.
"""

from __future__ import annotations

import os
import signal

from labcontainer.engine import ociconfig, request, streams
from labcontainer.kernel import syscalls, terminal
from labcontainer.kernel.flags import PR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

INSISTENCE = 3  # as many INT or TERM end a container that takes no notice; Docker's number
NAME = "container"  # the runtime's id: its state directory holds this one alone


class Container:
    """A container from its creation to its end, with the caller's terminal or pipes."""

    def __init__(self, path: str, asked: request.Request, place: ociconfig.Place) -> None:
        self.path = path
        self.asked = asked
        self._relay = streams.Relay()
        self._outputs: set[int] = set()
        self._open: list[int] = []
        self._master = -1
        self._document = ociconfig.config(asked, place)
        self._insisted = 0
        self.pid = 0
        self.pidfd = -1

    def __enter__(self) -> Self:
        # What the runtime leaves behind becomes a child of this process, so it can be waited for.
        syscalls.prctl(PR.SET_CHILD_SUBREAPER, 1)
        self.pid = self._create()
        self.pidfd = syscalls.pidfd_open(self.pid)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for fd in (*self._open, self.pidfd):
            if fd >= 0:
                os.close(fd)

    def _create(self) -> int:
        if self.asked.tty:
            return create(self.path, self._document, (-1, -1, -1), self._take_terminal)
        given, mine = [], []
        for fd in (0, 1, 2):
            there = self._stream(fd)
            given.append(there)
            mine += [there] if there != fd else []
        try:
            return create(self.path, self._document, (given[0], given[1], given[2]), None)
        finally:
            for fd in mine:
                os.close(fd)

    def _stream(self, fd: int) -> int:
        """The descriptor that the container gets for the caller's `fd`."""
        if fd == 0 and not self.asked.interactive:
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if not os.isatty(fd):
            return fd
        read, write = os.pipe2(os.O_CLOEXEC)
        if fd == 0:
            os.set_blocking(write, False)
            self._relay.pass_on(0, write, close=True)
            return read
        self._relay.pass_on(read, fd)
        self._outputs.add(read)
        self._open.append(read)
        return write

    def _take_terminal(self, master: int) -> None:
        """The master of the container's terminal: connect it with the caller's."""
        os.set_blocking(master, False)
        self._master = master
        self._open.append(master)
        self._outputs.add(master)
        self._relay.pass_on(master, 1)
        if self.asked.interactive:
            self._relay.pass_on(0, master)
        self._resize()

    def _resize(self) -> None:
        if self._master >= 0 and os.isatty(0):
            terminal.set_size(self._master, *terminal.get_size(0))

    def start(self) -> None:
        """Let the program run."""
        start(self.path)

    def wait(self, signals: streams.Signals) -> int:
        """Pass bytes and signals on until the program ends; 128+n when a signal ended it."""
        if self.asked.tty and self.asked.interactive:
            with streams.Raw(0):
                self._relay.run(self.pidfd, signals, self._signal, self._outputs)
        else:
            self._relay.run(self.pidfd, signals, self._signal, self._outputs)
        found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | 0x40000000)  # __WALL
        assert found is not None
        if found.si_code == os.CLD_EXITED:
            return found.si_status
        return 128 + found.si_status

    def _signal(self, number: int) -> None:
        """Pass a signal on: the container's first process decides what becomes of it.

        As PID 1 it may well ignore it; whoever insists (the third INT or TERM) is obeyed.
        """
        if number == signal.SIGWINCH and self._master >= 0:
            self._resize()
            return
        if number in (signal.SIGINT, signal.SIGTERM):
            self._insisted += 1
        if number == signal.SIGTERM and self.asked.stop_signal:
            number = self.asked.stop_signal
        try:
            number = number if self._insisted < INSISTENCE else signal.SIGKILL
            syscalls.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass  # it has just ended

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed a process for the container's memory limit."""
        return out_of_memory(self.path)
