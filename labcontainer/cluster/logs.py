"""The logs of a service: those of its tasks' containers, from all nodes, in one stream.

Each line says whose it is in Docker's way: a list of labels before it, which `docker service logs`
turns into `web.1.kx3…@node`.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from collections.abc import Callable, Iterator

from labcontainer import errors
from labcontainer.client import http
from labcontainer.cluster import placement
from labcontainer.cluster.manager import Manager
from labcontainer.cluster.nodes import Agent
from labcontainer.cluster.state import TaskRecord
from labcontainer.daemon.call import Call, Stream

BEFORE = (placement.PENDING, placement.ASSIGNED, placement.PREPARING)
ASKED = ("stdout", "stderr", "follow", "since", "tail", "timestamps")  # passed on as they are


class _Output:
    """The client's stream; one line at a time, whichever task it is of."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock:
            self._stream.write(data)


def tell(
    call: Call, manager: Manager, wanted: Callable[[TaskRecord], bool], *, tty: bool
) -> None:  # fmt: skip
    """Send what the wanted tasks have said; with `follow` what they and new ones say, too.

    Raises:
        UsageError: no stream was chosen.
    """
    if not (call.flag("stdout") or call.flag("stderr")):
        raise errors.UsageError("Bad parameters: you must choose at least one stream")
    bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    with manager.lock:
        manager.bells.add(bell)
    try:
        with call.answer_stream(call.stream_type(tty)) as stream:
            _tell(call, manager, wanted, _Output(stream), bell, tty)
    finally:
        with manager.lock:
            manager.bells.discard(bell)
        os.close(bell)


def _tell(
    call: Call, manager: Manager, wanted: Callable[[TaskRecord], bool], out: _Output, bell: int,
    tty: bool,
) -> None:  # fmt: skip
    followed: set[str] = set()
    readers: list[_Reader] = []
    try:
        while True:
            with manager.lock:
                found = [
                    record
                    for record in manager.state.tasks.values()
                    if wanted(record) and _speaks(record) and record.id not in followed
                ]
            new = [_Reader(call, manager.agents[record.node], record, out, tty)
                   for record in found]  # fmt: skip
            followed |= {record.id for record in found}
            readers += new
            for reader in new:
                reader.start()
            if not call.flag("follow"):
                break
            if call.fileno() in _wait(call, bell):
                return
        for reader in readers:
            reader.join()
    finally:
        for reader in readers:
            reader.close()


def _speaks(record: TaskRecord) -> bool:
    """Whether its container was started: the log of one that was not yet ends at once."""
    return bool(record.container) and record.task.state not in BEFORE


def _wait(call: Call, bell: int) -> set[int]:
    """Wait until something changes, or the client hangs up."""
    poll = select.poll()
    poll.register(bell, select.POLLIN)
    poll.register(call.fileno(), select.POLLRDHUP)
    ready = {fd for fd, _ in poll.poll()}
    if bell in ready:
        os.eventfd_read(bell)
    return ready


class _Reader(threading.Thread):
    """One task's log, read from its node as long as there is some."""

    def __init__(
        self, call: Call, agent: Agent, record: TaskRecord, out: _Output, tty: bool
    ) -> None:  # fmt: skip
        super().__init__(daemon=True)
        self._agent, self._record, self._out, self._tty = agent, record, out, tty
        self._words = {name: call.text(name) for name in ASKED if call.has(name)}
        self._timestamps = call.flag("timestamps")
        self._details = self._labels() if call.flag("details") else b""
        self._response: http.Response | None = None

    def _labels(self) -> bytes:
        """The task's names as the docker command reads them: `key=value,key=value `."""
        record = self._record
        return (
            f"com.docker.swarm.node.id={record.node},"
            f"com.docker.swarm.service.id={record.service},"
            f"com.docker.swarm.task.id={record.id} "
        ).encode()

    def run(self) -> None:
        """Read and send; a node or a client that goes away is the end of it."""
        try:
            client = self._agent.client()
            path = f"/containers/{self._record.container}/logs"
            self._response = client.send("GET", path, dict(self._words))
            client_socket = self._response.sock
            client_socket.settimeout(None)  # a container may be silent as long as it likes
            for data in self._response if self._tty else self._marked(self._response):
                self._out.write(data)
        except (errors.LabError, OSError, ValueError):
            pass

    def _marked(self, response: http.Response) -> Iterator[bytes]:
        """The frames, each line with the task's names; after the time, if there is one."""
        for stream, data in http.frames(response):
            time, space, rest = data.partition(b" ") if self._timestamps else (b"", b"", data)
            line = time + space + self._details + rest
            yield struct.pack(">BxxxL", stream, len(line)) + line

    def close(self) -> None:
        """Read no more: the connection is shut, which wakes who reads from it."""
        if self._response is not None and self.is_alive():
            import socket

            with socket.socket(fileno=os.dup(self._response.sock.fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)
            self.join()
        if self._response is not None:
            self._response.close()
