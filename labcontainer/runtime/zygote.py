"""A process that has everything loaded and does nothing but fork monitors, each ahead of its use.

    zygote = Zygote.start()                    before the first thread; any thread may use it
    handle = zygote.run(Request(…))            a container that waits for its start
    handle.start(); handle.wait()

A fork of it shares all of Python's memory with it, so a monitor costs what it writes to. It has
one thread and never more: a fork copies only the thread that forks, and the locks of the others
would stay locked for ever in the copy.
"""

from __future__ import annotations

import os
import select
import sys

from labcontainer.errors import StateError
from labcontainer.kernel import sockets, syscalls
from labcontainer.kernel.signals import signal
from labcontainer.record import Record
from labcontainer.runtime import handshake, journal, jsontext, maker, monitor
from labcontainer.runtime.maker import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Self

# Milliseconds after a request in which no spare is forked, unless the next one comes: what a fork
# has to do would be in the way of the container that is being made.
QUIET = 25


class Exit(Record):
    """How a container ended. `error` says why it could not be started, if so."""

    status: int
    oom: bool
    time: str
    error: str = ""


class Handle:
    """A container that a monitor watches over. Poll `fd` for reading to learn of its end."""

    def __init__(self, fd: int, pid: int, pidfd: int = -1, *, ready: bool = True) -> None:
        self.fd = fd
        self.pid = pid
        self.pidfd = pidfd
        self._ready = ready
        self._channel = handshake.Channel(fd)

    def become_ready(self) -> None:
        """Wait until only the program is missing.

        Raises:
            StepError: a step failed; nothing is left.
        """
        if not self._ready:
            self._channel.expect("ready")
            self._ready = True

    def start(self) -> None:
        """Let the program run.

        Raises:
            StepError: it could not be started; `wait` tells the end of it.
        """
        self.become_ready()
        self._channel.send("start")
        _, fields, descriptors = self._channel.expect("started")
        if fields:  # a process that is made when it is started
            self.pid, self.pidfd = int(fields[0]), descriptors[0]

    def resize(self, rows: int, columns: int) -> None:
        """Tell the container's terminal how large its window is."""
        self._channel.send("resize", str(rows), str(columns))

    def close_input(self) -> None:
        """End the container's input."""
        self._channel.send("close input")

    def wait(self) -> Exit:
        """The end of the container, when all its output is in the log.

        Raises:
            StateError: the monitor has died; the container may run on, see `is_watched`.
        """
        name, fields, _ = self._channel.receive()
        if name != "ended":
            raise StateError("the container's monitor has died: nobody writes its log any more")
        found = jsontext.loads(fields[0], "the monitor's answer")
        return Exit(**{name: found[name] for name in Exit._fields})

    def close(self) -> None:
        """Let go of a container; it runs on."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_watched(home: str) -> bool:
    """Whether the container of a `Request.home` still has its monitor.

    For an engine that finds a container after a start of its own. One that runs and has no monitor
    has nobody to read its output, nor to learn how it ends: `ending.delete(…, force=True)` ends it.
    """
    fd = _connect(home)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def watcher(home: str) -> int:
    """The process number of the monitor of a `Request.home`'s container; 0 without one."""
    fd = _connect(home)
    if fd < 0:
        return 0
    try:
        return sockets.peer(fd)
    finally:
        os.close(fd)


def find(home: str, pid: int) -> Handle | None:
    """The container of a `Request.home`, started by another process; None without a monitor."""
    fd = _connect(home)
    if fd < 0:
        return None
    try:
        return Handle(fd, pid, syscalls.pidfd_open(pid) if pid > 0 else -1)
    except ProcessLookupError:  # it has ended; the monitor will say so
        return Handle(fd, pid, -1)


def _connect(home: str) -> int:
    try:
        return sockets.connect(f"{home}/control", sockets.SEQPACKET)
    except (FileNotFoundError, ConnectionRefusedError):
        return -1


class Zygote:
    """The requester's end. Closing it ends the zygote, but no container."""

    def __init__(self, fd: int, pid: int) -> None:
        self._fd = fd
        self.pid = pid

    @classmethod
    def start(cls, python: str = sys.executable, using: str = "") -> Self:
        """Start a zygote, in a session of its own, and wait until it has loaded everything.

        Args:
            using: a learner's package, whose functions its containers are made with (using.py).

        Raises:
            StateError: it ended before it was ready, or could not use the package.
        """
        mine, theirs = sockets.pair()
        package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        code = (
            f"import sys; sys.path.insert(0, {package!r}); "
            f"from labcontainer.runtime import zygote; zygote.main({theirs}, {using!r})"
        )
        os.set_inheritable(theirs, True)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            pid = os.posix_spawn(
                python,
                [python, "-IS", "-c", code],
                dict(os.environ),
                file_actions=[(os.POSIX_SPAWN_DUP2, nothing, fd) for fd in (0, 1, 2)],
                setsid=True,
            )
        finally:
            os.close(nothing)
            os.close(theirs)
        name, fields, _ = handshake.Channel(mine).receive()
        if name != "loaded":
            os.close(mine)
            os.waitpid(pid, 0)
            told = str(handshake.to_error(fields)) if name == "failed" else ""
            raise StateError(told or "the zygote ended before it was ready")
        return cls(mine, pid)

    def run(self, request: Request) -> Handle:
        """Create a container and wait until only its program is missing.

        Raises:
            StepError: a step failed; nothing is left.
            StateError: the zygote is gone.
        """
        handle = self.begin(request)
        try:
            handle.become_ready()
        except BaseException:
            handle.close()
            raise
        return handle

    def begin(self, request: Request) -> Handle:
        """Create a container and wait until it has its first process, in its namespaces.

        While that prepares itself (`Handle.become_ready` waits for it), the container can be
        connected to networks.

        Raises:
            StepError: a step failed; nothing is left.
            StateError: the zygote is gone.
        """
        mine, theirs = handshake.Channel.pair()
        message = jsontext.dumps(request.as_dict()).encode()
        try:
            sockets.send(self._fd, message, (theirs.fd,))
        except OSError as error:
            mine.close()
            raise StateError("the zygote is gone") from error
        finally:
            theirs.close()
        try:
            name, fields, descriptors = mine.expect("born", "ready")
        except BaseException:
            mine.close()
            raise
        if name == "ready":  # a process that is made when it is started
            return Handle(mine.fd, 0)
        return Handle(mine.fd, int(fields[0]), *descriptors, ready=False)

    def close(self) -> None:
        """End the zygote. Its monitors and their containers stay."""
        os.close(self._fd)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # somebody else has waited for it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- in the zygote --------------------------------------------------------------------------------


def main(fd: int, using: str = "") -> NoReturn:
    """Serve until the requester is gone; `using` is a learner's package (using.py)."""
    import gc

    os.set_inheritable(fd, False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps: wait(2)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    syscalls.prepare()
    _load_all()
    if using:
        _use(using, fd)
    journal.warm()
    gc.collect()
    gc.freeze()  # no collection writes to what the forks share
    spare = _Spare(fd)
    handshake.Channel(fd).send("loaded")
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        data, descriptors = sockets.receive(fd, maker.LIMIT)
        if not descriptors:
            os._exit(0)  # the spare hears it
        if not spare.take(data, descriptors):
            _Spare(fd).take(data, descriptors)  # somebody killed the one
        for each in descriptors:
            os.close(each)
        poll.poll(QUIET)
        spare = _Spare(fd)


def _use(folder: str, fd: int) -> None:
    """Put the learner's functions in place; who can't says so and ends."""
    from labcontainer.errors import LabError
    from labcontainer.runtime import using

    try:
        using.install(folder)
    except LabError as error:
        handshake.Channel(fd).send_raw(handshake.failure("", error))
        os._exit(1)


def _load_all() -> None:
    """Load what only some containers need: the command waits with it until one does."""
    import resource  # noqa: F401

    from labcontainer import cgroupfs, overlay, seccomp, usage  # noqa: F401
    from labcontainer.kernel import bpf, classic_bpf, syscall_numbers, terminal  # noqa: F401
    from labcontainer.runtime import added, hooks, joining, labels  # noqa: F401

    syscall_numbers.numbers("x32")


class _Spare:
    """A monitor that is forked already when the request comes, and so is its maker."""

    def __init__(self, requests: int) -> None:
        mine, theirs = sockets.pair()
        if os.fork() == 0:
            os.close(mine)
            os.close(requests)
            monitor.main(theirs)
        os.close(theirs)
        self._fd = mine

    def take(self, data: bytes, descriptors: tuple[int, ...]) -> bool:
        """Give it the request; false where it is gone."""
        try:
            sockets.send(self._fd, data, descriptors)
            return True
        except OSError:
            return False
        finally:
            os.close(self._fd)
