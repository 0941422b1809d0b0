"""The process beside each container: its output, its input, its end. A fork of the zygote.

    requester ── start, resize ──> monitor ── clone3 ──> container
              <── born, ready, started, ended ──       <── stdout, stderr or a terminal ──
                                      │
        HOME/log.json   every line    ├── HOME/attach   who watches, and types
        HOME/exit.json  the end       └── HOME/control  who else may say `resize`, and hears `ended`

It lives as long as its container and not a moment longer, whatever becomes of the requester. Only
a requester that dies before it has said `start` takes the container along: nobody else would.
"""

from __future__ import annotations

import os

from labcontainer import cgroups
from labcontainer.errors import LabError, NotFoundError, StepError
from labcontainer.kernel import files, sockets, syscalls, terminal
from labcontainer.kernel.flags import PR
from labcontainer.kernel.signals import signal
from labcontainer.runtime import container, ending, handshake, jsontext, state
from labcontainer.runtime.attach import Attach
from labcontainer.runtime.journal import Journal
from labcontainer.runtime.loop import Loop
from labcontainer.runtime.maker import LIMIT, Maker, Request, read_request
from labcontainer.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CHUNK = 8192
# Milliseconds in which a client must take something: the container, and after its end the monitor,
# waits no longer for one that does not.
STALLED = 10_000


class Monitor:
    """One container from its creation to the last byte of its output."""

    def __init__(self, request: Request, requester: int, maker: Maker) -> None:
        self.request = request
        self._requester = requester
        self._loop = Loop()
        self._channels = {requester: handshake.Channel(requester)}
        self._outputs: dict[int, str] = {}
        self._master = self._control = self._input = -1
        self._pid = self._pidfd = -1
        self._maker = maker
        self._making = maker.channel
        self._started = False
        self._end: dict[str, object] = {}
        self._problem: LabError | OSError | None = None

    def run(self, asked: bytes) -> None:
        """The whole of its life; `asked` is the request as the maker reads it too.

        Raises:
            LabError, OSError: the container could not be created; nothing is left of it.
        """
        with Undo() as undo:
            self._ask(asked)
            undo.push(self._call_off)
            self._open(undo)  # meanwhile the maker works
            self._hear_born()
            self._hear_ready()
        self._loop.watch(self._pidfd, self._ended)
        self._loop.watch(self._making.fd, self._made)
        self._watch_channel(self._requester)
        for fd in self._outputs:
            self._watch_output(fd)
        self._tell("ready")
        self._serve()

    def _serve(self) -> None:
        """Pass on what it says until it ends, no faster than those who watch can take it.

        One who takes nothing for ten seconds is given up: the container must go on.
        """
        while not self._end:
            if not self._attach.full:
                self._loop.turn()
                continue
            for fd in self._outputs:
                self._loop.forget(fd)
            while self._attach.full and not self._end:
                if not self._loop.turn(STALLED):
                    self._attach.drop_full()
            if not self._end:
                for fd in self._outputs:
                    self._watch_output(fd)
        self._finish()

    def _open(self, undo: Undo) -> None:
        """The log and the sockets: who connected before `start` is served before it."""
        home, framed = self.request.home, not self.request.terminal
        self._open_log(undo)
        once = self.request.once and framed
        self._attach = Attach(self._loop, f"{home}/attach", framed=framed, once=once)
        self._attach.stdin = self._input
        undo.push(os.unlink, f"{home}/attach")
        self._control = sockets.listen(f"{home}/control", sockets.SEQPACKET)
        undo.push(os.unlink, f"{home}/control")
        os.set_blocking(self._control, False)
        self._loop.watch(self._control, self._accept)

    def _open_log(self, undo: Undo) -> None:
        """A container that is started again goes on with its log."""
        path, kept = f"{self.request.home}/log.json", self.request.log_size >= 0
        if kept and not os.path.exists(path):
            undo.push(os.unlink, path)
        size, count = max(self.request.log_size, 0), self.request.log_files
        self._journal = Journal(path if kept else "", size, count)

    # --- the container ---------------------------------------------------------------------------

    def _ask(self, asked: bytes) -> None:
        """Ask the maker for it."""
        streams = () if self.request.terminal else self._pipes()
        self._maker.make(asked, streams)
        for fd in streams:
            os.close(fd)

    def _call_off(self) -> None:
        """The end of the conversation makes the maker take all back."""
        self._making.close()
        os.waitpid(self._maker.pid, 0)

    def _hear_born(self) -> None:
        """Wait until it has a first process, and pass its number on.

        Raises:
            StepError: a step failed, and all is taken back.
        """
        _, (pid,), (self._pidfd,) = self._making.expect("born")
        self._pid = int(pid)
        self._tell("born", pid, descriptors=(self._pidfd,))

    def _hear_ready(self) -> None:
        """Wait until only its program is missing. Raises StepError, as `_hear_born` does."""
        _, _, masters = self._making.expect("ready")
        if masters:
            self._master = masters[0]
            self._outputs = {self._master: "stdout"}
            self._attach.stdin = os.dup(self._master)

    def _pipes(self) -> tuple[int, ...]:
        """What the container is to have as 0, 1 and 2; we keep the other ends."""
        out, out_there = os.pipe2(os.O_CLOEXEC)
        err, err_there = os.pipe2(os.O_CLOEXEC)
        self._outputs = {out: "stdout", err: "stderr"}
        if not self.request.stdin:
            given = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            return given, out_there, err_there
        given, self._input = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._input, False)
        return given, out_there, err_there

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._making.send("start")

    def _made(self, _events: int) -> None:
        """The maker says that the program runs, or why it does not, and ends."""
        name, fields, _ = self._making.receive()
        if name == "failed":
            self._problem = handshake.to_error(fields)
            self._tell(name, *fields)
        elif name:
            self._tell(name)
        self._loop.forget(self._making.fd)

    def _ended(self, _events: int) -> None:
        """The first process has ended: read what is left to read, then record the end."""
        if self._making.fd in self._loop:
            self._making.send("end")
            self._made(0)
        os.waitpid(self._maker.pid, 0)  # now the container is our own child
        ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | container.WALL)
        status = container.exit_status(ended)
        for fd in list(self._outputs):
            while self._read(fd):
                pass
        self._journal.close()
        if self._problem is not None:
            status = getattr(self._problem, "exit_status", 1)
        self._end = {
            "status": status,
            "oom": self._oom_kills() > 0,
            "time": state.now(),
            "error": str(self._problem or ""),
        }

    def _oom_kills(self) -> int:
        try:
            group = cgroups.reopen(
                state.Directory(self.request.root, self.request.id).load().cgroup
            )
        except NotFoundError:
            return 0
        return group.oom_kills() if group is not None else 0

    def _finish(self) -> None:
        self._forget_container()
        text = jsontext.dumps(self._end)
        try:
            files.write_atomically(f"{self.request.home}/exit.json", text.encode())
        except OSError:
            pass  # a full disk: who listens hears of the end, and nobody can be told later
        for name in ("attach", "control"):
            os.unlink(f"{self.request.home}/{name}")
        self._tell("ended", text)
        self._loop.forget(self._pidfd)
        for fd in [self._control, *self._channels]:
            self._loop.forget(fd)
        while not self._attach.drained() and self._loop.turn(STALLED):
            pass
        self._attach.close()

    def _forget_container(self) -> None:
        if self.request.remove or not self._started:
            ending.delete(self.request.root, self.request.id, force=True)

    def _requester_is_gone(self) -> None:
        """Nobody else would start it, nor know of it."""
        os.kill(self._pid, signal.SIGKILL)

    # --- its output ------------------------------------------------------------------------------

    def _watch_output(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._loop.watch(fd, lambda _: self._pass_on(fd))

    def _pass_on(self, fd: int) -> None:
        self._read(fd)

    def _read(self, fd: int) -> bool:
        """Pass on a piece of output; false when there is none now."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        stream = self._outputs[fd]
        if not data:
            self._loop.forget(fd)
            if fd != self._master:
                os.close(fd)
                del self._outputs[fd]
            return False
        self._journal.write(stream, data)
        self._attach.say(stream, data)
        return True

    # --- who asks --------------------------------------------------------------------------------

    def _accept(self, _events: int) -> None:
        try:
            fd = sockets.accept(self._control)
        except BlockingIOError:
            return
        self._channels[fd] = handshake.Channel(fd)
        self._watch_channel(fd)

    def _watch_channel(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._loop.watch(fd, lambda _: self._hear(fd))

    def _hear(self, fd: int) -> None:
        try:
            name, fields, descriptors = self._channels[fd].receive()
        except BlockingIOError:
            return
        for extra in descriptors:
            os.close(extra)
        if name == "start":
            self._start()
        elif name == "resize" and self._master >= 0 and len(fields) == 2:
            terminal.set_size(self._master, *(int(field) & 0xFFFF for field in fields))
        elif name == "close input":
            self._attach.close_input()
        elif not name:
            self._loop.forget(fd)
            self._channels.pop(fd).close()
            if fd == self._requester and not self._started:
                self._requester_is_gone()

    def _tell(self, name: str, *fields: str, descriptors: tuple[int, ...] = ()) -> None:
        self._tell_raw(handshake.encode(name, *fields), descriptors)

    def _tell_raw(self, message: bytes, descriptors: tuple[int, ...] = ()) -> None:
        for channel in self._channels.values():
            try:
                channel.send_raw(message, descriptors)
            except OSError:
                pass  # it does not read what it is told


def _kind(request: Request) -> type[Monitor]:
    """A container's monitor, or that of one more process in one."""
    if not request.process:
        return Monitor
    from labcontainer.runtime.added import AddedMonitor

    return AddedMonitor


def main(zygote: int) -> NoReturn:
    """Be a monitor, in a fork of the zygote: wait for a request, with a maker at hand.

    Never returns. `zygote` is the descriptor that the request comes from, with the requester's.
    """
    status, requester = 1, -1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        syscalls.prctl(PR.SET_CHILD_SUBREAPER, 1)
        maker = Maker()
        data, descriptors = sockets.receive(zygote, LIMIT)
        os.close(zygote)
        if descriptors:
            requester = descriptors[0]
            request = read_request(data)
            _kind(request)(request, requester, maker).run(data)
        status = 0
    except BaseException as error:  # a fork must not go on as the zygote
        known = isinstance(error, (LabError, OSError))
        shown = error if known else StepError("monitor", repr(error))
        handshake.Channel(requester).send_raw(handshake.failure("", shown))
    finally:
        os._exit(status)
