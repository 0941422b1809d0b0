"""The monitor of one more process in a running container (`exec`): the same, but for its beginning.

    requester ── start ──> monitor ──> maker ── joins the container ──> process
              <── ready, started (its number, its pidfd), ended ──

The sockets are there before the process is, so that whoever attaches in time misses nothing. The
process has no log: what nobody watches is lost, as it is with Docker.
"""

from __future__ import annotations

import os

from labcontainer.kernel.signals import signal
from labcontainer.runtime import container, handshake, state
from labcontainer.runtime.monitor import Monitor
from labcontainer.undo import Undo


class AddedMonitor(Monitor):
    """One process from the first word about it to the last byte of its output."""

    _asked = b""
    _given: tuple[int, ...] = ()

    def run(self, asked: bytes) -> None:
        """The whole of its life."""
        self._asked = asked
        with Undo() as undo:
            if not self.request.terminal:
                self._given = self._pipes()
            self._open(undo)
            undo.commit()
        self._watch_channel(self._requester)
        self._tell("ready")
        self._serve()

    def _start(self) -> None:
        """Have the process made; it runs when the maker answers."""
        if self._started:
            return
        self._started = True
        self._maker.make(self._asked, self._given)
        for fd in self._given:
            os.close(fd)
        self._loop.watch(self._making.fd, self._made)

    def _made(self, _events: int) -> None:
        """The maker says that it runs, or why it does not, and ends."""
        name, fields, descriptors = self._making.receive()
        self._loop.forget(self._making.fd)
        os.waitpid(self._maker.pid, 0)  # now the process is our own child
        if name != "started":
            self._problem = handshake.to_error(fields)
            self._fail(fields)
            return
        self._pid = int(fields[0])
        self._pidfd, *masters = descriptors
        if masters:
            self._master = masters[0]
            self._outputs = {self._master: "stdout"}
            self._attach.stdin = os.dup(self._master)
        for fd in self._outputs:
            self._watch_output(fd)
        self._loop.watch(self._pidfd, self._ended)
        self._tell("started", str(self._pid), descriptors=(self._pidfd,))

    def _fail(self, fields: list[str]) -> None:
        self._tell("failed", *fields)
        status = getattr(self._problem, "exit_status", 1)
        self._end = {"status": status, "oom": False, "time": state.now(),
                     "error": str(self._problem)}  # fmt: skip

    def _ended(self, _events: int) -> None:
        ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | container.WALL)
        for fd in list(self._outputs):
            while self._read(fd):
                pass
        self._end = {"status": container.exit_status(ended), "oom": False, "time": state.now(),
                     "error": ""}  # fmt: skip

    def _forget_container(self) -> None:
        """The container is not ours."""

    def _requester_is_gone(self) -> None:
        """Nobody will start it: there is nothing to end but this."""
        self._end = {"status": 128 + signal.SIGKILL, "oom": False, "time": state.now(),
                     "error": ""}  # fmt: skip
