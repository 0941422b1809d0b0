"""Two who ask at once, one of them just in the moment in which a container's state changes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labcontainer.daemon import streams
from labcontainer.engine import container as states
from labcontainer.engine import leftovers
from labcontainer.engine.container import Container
from labcontainer.engine.events import Events
from labcontainer.engine.lives import Lives
from labcontainer.runtime.zygote import Exit

ENDED = Exit(status=3, oom=False, time="2026-01-01T00:00:00Z", error="")
HOST = {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}, "AutoRemove": False}
CONFIG = {"StopSignal": "", "StopTimeout": None, "Healthcheck": None, "Tty": False,
          "OpenStdin": False}  # fmt: skip


@pytest.fixture
def box(tmp_path: Path) -> Container:
    """A container that runs, as far as is remembered, and is always to be started again."""
    made = Container(str(tmp_path), id="1" * 64, name="box", host=dict(HOST), config=dict(CONFIG))
    made.state = states.State(status=states.RUNNING, started_at="2026-01-01T00:00:00Z")
    return made


@pytest.fixture
def lives(box: Container) -> Iterator[Lives]:
    """Its life, in an engine that has nothing else."""
    engine: Any = SimpleNamespace(
        events=Events(), networks=SimpleNamespace(detach=lambda _: None), runtime_root=box.home,
        volumes=SimpleNamespace(unmount=lambda _: None),
    )  # fmt: skip
    made = Lives(engine, lambda _: None)
    engine.containers = SimpleNamespace(lives=made, find=lambda _: box, all=lambda: [box])
    yield made
    made.close()


class EndsMeanwhile(dict[str, Any]):
    """A configuration: when it is first asked for the stop signal, the container has just ended."""

    def __init__(self, lives: Lives, box: Container) -> None:
        super().__init__(box.config)
        self._lives, self._box = lives, box
        self._ending = threading.Thread(target=self._end)

    def _end(self) -> None:
        with self._box.lock:
            self._lives._has_ended(self._box, ENDED)

    def __getitem__(self, name: str) -> Any:
        if name == "StopSignal" and self._ending.ident is None:
            self._ending.start()
            self._ending.join(0.5)  # it is told now, or has to wait for a lock
        return super().__getitem__(name)

    def join(self) -> None:
        self._ending.join(60)


def test_a_stop_in_the_moment_of_an_end_is_no_restart(lives: Lives, box: Container) -> None:
    box.config = ends = EndsMeanwhile(lives, box)
    assert lives.stop(box) is True
    ends.join()
    assert (box.state.status, box.stopped_by_user) == (states.EXITED, True)


def test_a_kill_in_the_moment_of_an_end_is_no_restart(lives: Lives, box: Container) -> None:
    box.config = ends = EndsMeanwhile(lives, box)
    lives.kill(box)
    ends.join()
    assert (box.state.status, box.stopped_by_user) == (states.EXITED, True)


def test_nothing_is_started_again_while_the_daemon_ends(lives: Lives, box: Container) -> None:
    lives.shut_down([])
    with box.lock:
        lives._has_ended(box, ENDED)
    assert box.state.status == states.RESTARTING  # for the next daemon
    assert lives._restarts._timers == {}
    lives._start_again(box)
    assert box.restart_count == 0


def test_what_follows_from_an_end_is_done_before_the_daemon_ends(
    lives: Lives, box: Container
) -> None:
    """`docker run --rm`: its record is deleted while the file of records is still open."""
    removed: list[Container] = []

    def remove(container: Container) -> None:
        time.sleep(0.2)
        removed.append(container)

    lives.removed = remove
    box.host["AutoRemove"] = True
    box.config = EndsMeanwhile(lives, box)
    lives.shut_down([box])
    assert removed == [box]


# --- what is asked over HTTP ----------------------------------------------------------------------


class Call:
    """A request: `answering` is done when the client gets its answer."""

    def __init__(self, lives: Lives, query: dict[str, str], answering: Any) -> None:
        self.engine = lives._engine
        self.words = {"id": "box"}
        self.query, self.answering = query, answering
        self.client, self.ours = socket.socketpair()
        self.told: list[Any] = []

    def text(self, name: str, default: str = "") -> str:
        return self.query.get(name, default)

    def flag(self, name: str) -> bool:
        return name in self.query

    def fileno(self) -> int:
        return self.ours.fileno()

    def stream_type(self, _tty: bool) -> str:
        return ""

    def tell(self, document: Any) -> None:
        self.told.append(document)

    @contextlib.contextmanager
    def answer_stream(self) -> Iterator[Call]:
        self.answering()
        yield self

    def take_over(self, _kind: str) -> tuple[socket.socket, bytes]:
        self.answering()
        return self.ours, b""

    def close(self) -> None:
        self.client.close()
        self.ours.close()


def test_the_status_of_the_end_that_was_waited_for(lives: Lives, box: Container) -> None:
    """Whoever waits may be slow: by then it runs again, and has another status or none."""

    def ends_and_runs_again() -> None:
        with box.lock:
            lives._has_ended(box, ENDED)
            box.state = states.State(status=states.RUNNING)

    call: Any = Call(lives, {"condition": "next-exit"}, ends_and_runs_again)
    with contextlib.closing(call):
        streams.wait(call)
    assert call.told == [{"StatusCode": 3}]


def test_who_attaches_is_seated_before_the_answer(lives: Lives, box: Container) -> None:
    """The client starts the container as soon as it has its answer."""
    box.state.status = states.CREATED
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{box.home}/attach")
    listener.listen()

    def starts() -> None:
        with box.lock:
            lives.attachments.connect(box)
            lives.tell(box, "start")
        monitor, _ = listener.accept()
        monitor.sendall(b"\1\0\0\0\0\0\0\6line1\n")
        monitor.close()

    call: Any = Call(lives, {"stream": "1", "stdout": "1", "stderr": "1"}, starts)
    with contextlib.closing(call), contextlib.closing(listener):
        call.client.shutdown(socket.SHUT_WR)
        streams.attach(call)
        assert call.client.recv(100) == b"\1\0\0\0\0\0\0\6line1\n"
    past = [event["Action"] for event in lives._engine.events._past]
    assert past == ["attach", "start"]


def test_what_a_client_still_sends_does_not_reset_its_connection(
    lives: Lives, box: Container
) -> None:
    """`cat file | docker run -i busybox true`: nobody reads the file."""
    box.state.status = states.CREATED

    def fails_to_start() -> None:
        call.client.sendall(b"typed")
        lives.attachments.dismiss(box)

    call: Any = Call(lives, {"stream": "1", "stdout": "1"}, fails_to_start)
    closed = threading.Event()

    def serve() -> None:
        streams.attach(call)
        call.ours.close()
        closed.set()

    attaching = threading.Thread(target=serve)
    with contextlib.closing(call):
        attaching.start()
        call.client.settimeout(60)
        closed.wait(0.3)  # it may not be, with bytes unread
        assert call.client.recv(100) == b""  # and no ECONNRESET
        call.client.close()
        attaching.join(60)


# --- files ----------------------------------------------------------------------------------------


def test_a_file_that_is_written_while_a_directory_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the monitor of an exec, which ends with its container."""
    top = tmp_path / "home"
    (top / "execs").mkdir(parents=True)
    real = os.rmdir
    late = [top / "execs" / "exit.json"]

    def rmdir(path: str) -> None:
        if late and Path(path) == late[0].parent:
            late.pop().touch()
        real(path)

    monkeypatch.setattr(os, "rmdir", rmdir)
    leftovers.remove(str(top))
    assert late == [] and not top.exists()
