"""One container as the runtime knows it: created, started, waited for, deleted.

The runtime works in this process: the container's first process is our child, waits for our word
to start, and is killed by the kernel when we die (PR_SET_PDEATHSIG). The runtime's state is in the
container's own directory, so whoever cleans up needs to know nothing else.
"""

from __future__ import annotations

import os
import signal

from labcontainer.engine import ociconfig, request, streams
from labcontainer.kernel import sockets, syscalls, terminal
from labcontainer.runtime import container as runtime
from labcontainer.runtime import ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

INSISTENCE = 3  # as many INT or TERM end a container that takes no notice; Docker's number
CGROUPS = "/sys/fs/cgroup"
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
        self._container: runtime.Container
        if place.cgroups_path:
            with open(f"{path}/cgroup", "w") as file:
                file.write(place.cgroups_path)
        self._insisted = 0
        self.pid = 0
        self.pidfd = -1

    def __enter__(self) -> Self:
        if self.asked.tty:
            self._container = self._create_with_terminal()
        else:
            self._container = self._create_with_streams()
        self.pid, self.pidfd = self._container.pid, self._container.pidfd
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

    def _create(self, console: int = -1) -> runtime.Container:
        return runtime.create(
            runtime.Create(
                NAME,
                bundle=self.path,
                root=f"{self.path}/runtime",
                document=self._document,
                console=console,
                gate=False,
                die_with_parent=True,
            )
        )

    def _create_with_terminal(self) -> runtime.Container:
        mine, theirs = sockets.pair()
        try:
            created = self._create(theirs)
            _, descriptors = sockets.receive(mine, 4096)
        finally:
            os.close(mine)
        self._take_terminal(descriptors[0])
        return created

    def _create_with_streams(self) -> runtime.Container:
        """Create it while 0, 1 and 2 of this process are what the container is to have."""
        given = [self._stream(fd) for fd in (0, 1, 2)]
        with streams.Standard(given):
            created = self._create()
        for fd in set(given) - {0, 1, 2}:
            os.close(fd)
        return created

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
        self._container.start()

    def wait(self, signals: streams.Signals) -> int:
        """Pass bytes and signals on until the program ends; 128+n when a signal ended it."""
        if self.asked.tty and self.asked.interactive:
            with streams.Raw(0):
                self._relay.run(self.pidfd, signals, self._signal, self._outputs)
        else:
            self._relay.run(self.pidfd, signals, self._signal, self._outputs)
        return self._container.wait()

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
        return self._container.oom_kills() > 0


def delete(path: str) -> None:
    """End the container of this directory and forget it; may be called again."""
    ending.delete(f"{path}/runtime", NAME, force=True)
    _remove_cgroup(path)


def _remove_cgroup(path: str) -> None:
    """Remove what a create that was killed had made, before the runtime could remember it.

    The group's name is this container's own, and only an empty group can be removed.
    """
    try:
        with open(f"{path}/cgroup") as file:
            own = file.read()
    except FileNotFoundError:
        return
    if not own or not os.path.isdir(CGROUPS):
        return
    for top in (CGROUPS, *(f"{CGROUPS}/{name}" for name in os.listdir(CGROUPS))):
        for group in (own, os.path.dirname(own)):
            try:
                os.rmdir(f"{top}{group}")
            except OSError:
                pass  # gone already, or others have groups there
