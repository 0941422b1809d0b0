"""Connections through one line of bytes, and where lessons run, without booting anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer.errors import LabError, UnsupportedError, UsageError
from labcontainer.lab import guest_kernel, guest_kernel_inside, limits, tunnel, where
from labcontainer.vm import frames, uml


class Line:
    """Both ends of a tunnel in one process; the far one answers to OPEN as the guest's does."""

    def __init__(self) -> None:
        self.near_bytes, self.far_bytes = bytearray(), bytearray()
        self.near_watcher, self.far_watcher = tunnel.Watcher(), tunnel.Watcher()
        self.near = tunnel.End(self.near_watcher, self.far_bytes.extend)
        self.far = tunnel.End(self.far_watcher, self.near_bytes.extend)
        self.opened: dict[int, socket.socket] = {}

    def open(self, number: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.near.tell(tunnel.OPEN, number, b"5555")
        self.near.add(number, theirs)
        return ours

    def turn(self) -> None:
        """Whatever is under way arrives, all in one piece."""
        self.near_watcher.turn(0)
        for kind, number, _ in self.far.take(bytes(self.far_bytes)):
            assert kind == tunnel.OPEN
            self.opened[number], theirs = socket.socketpair()
            self.far.add(number, theirs)
        self.far_bytes.clear()
        self.far_watcher.turn(0)
        assert list(self.near.take(bytes(self.near_bytes))) == []
        self.near_bytes.clear()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    for number, connection in made.opened.items():
        connection.close()
        made.near.close(number)
        made.far.close(number)


def test_what_follows_an_opening_in_the_same_bytes_is_not_lost(line: Line) -> None:
    """A ZMQ greeting that is lost is waited for for 30 s."""
    with line.open(1) as client:
        client.sendall(b"greeting")
        line.turn()
        assert line.opened[1].recv(99) == b"greeting"


def test_bytes_go_both_ways_and_to_their_own_connection(line: Line) -> None:
    with line.open(1) as first, line.open(2) as second:
        first.sendall(b"one")
        second.sendall(b"two")
        line.turn()
        assert (line.opened[1].recv(9), line.opened[2].recv(9)) == (b"one", b"two")
        line.opened[2].sendall(b"x" * 100_000)
        got = b""
        while len(got) < 100_000:
            line.turn()
            got += second.recv(1 << 17)
        assert got == b"x" * 100_000


def test_an_end_is_passed_on(line: Line) -> None:
    with line.open(1) as client:
        line.turn()
        line.opened[1].shutdown(socket.SHUT_RDWR)
        line.turn()
        assert client.recv(9) == b""
    assert list(line.far.take(frames.pack(tunnel.DATA, 1, b"late"))) == [], "nobody is there"


def test_the_kernel_in_the_guest_listens_on_its_own_loopback() -> None:
    told = {"transport": "ipc", "ip": "/run/user/1000/kernel", "shell_port": 1, "key": "k"}
    assert guest_kernel_inside.connection_here(told) == {
        "transport": "tcp", "ip": "127.0.0.1", "shell_port": 1, "key": "k",
    }  # fmt: skip


def test_the_kernel_spec_says_what_jupyter_must_know() -> None:
    spec = guest_kernel.spec("768M")
    assert spec["argv"][-4:] == ["--memory", "768M", "-f", "{connection_file}"]
    assert spec["interrupt_mode"] == "message", "a signal would reach the host's process"


class Off:
    """A machine that is off, and may not come up."""

    def __init__(self, error: LabError | None) -> None:
        self.error = error

    def start(self) -> None:
        if self.error:
            raise self.error


def test_the_machine_is_the_first_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise UnsupportedError("user-mode Linux", "it is not installed", "install it")

    monkeypatch.setattr(uml, "kernel", lambda: "/usr/bin/linux.uml")
    monkeypatch.setattr(guest_kernel, "_need_qemu", lambda: None)
    assert guest_kernel.found() == ["uml", "qemu"]
    assert guest_kernel.found("qemu") == ["qemu"]
    monkeypatch.setattr(uml, "kernel", missing)
    assert guest_kernel.found() == ["qemu"]
    with pytest.raises(UnsupportedError, match="it is not installed; install it"):
        guest_kernel.found("uml")
    monkeypatch.setattr(guest_kernel, "_need_qemu", missing)
    with pytest.raises(UnsupportedError, match="not installed; it is not installed"):
        guest_kernel.found()


def test_a_machine_that_does_not_come_up_is_told_and_another_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machines: dict[str, Any] = {"uml": Off(LabError("no ptrace")), "qemu": Off(None)}
    monkeypatch.setattr(guest_kernel, "off", lambda kind, _memory: machines[kind])
    taken: Any = guest_kernel.boot("auto", "1G")
    assert taken is machines["qemu"]
    assert capsys.readouterr().err == "labcontainer: uml: no ptrace\n"
    machines["qemu"].error = LabError("no room")
    with pytest.raises(LabError, match="no room"):
        guest_kernel.boot("auto", "1G")
    with pytest.raises(LabError, match="no ptrace"):
        guest_kernel.boot("uml", "1G")


# --- where --------------------------------------------------------------------------------------


def test_lessons_run_here_unless_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCONTAINER_WHERE", raising=False)
    assert (where.current(), where.asked(), where.parent()) == ("here", False, os.getpid())
    monkeypatch.setenv("LABCONTAINER_WHERE", "uml")
    assert (where.current(), where.asked(), where.parent()) == ("uml", True, 1)
    monkeypatch.setattr(limits, "busy", lambda: 1.5)
    assert where.patience(10) == 120
    with pytest.raises(UsageError, match="'here' or 'uml', not 'moon'"):
        where.choose("moon")


@pytest.mark.parametrize(
    ("loadavg", "times"),
    [("3.50 0.40 0.30 4/200 4711", 1), ("12.00 2.00 1.00 3/200 4711", 3),
     ("0.10 0.10 0.10 9/200 4711", 2), ("99.0 99.0 99.0 90/200 4711", limits.BUSIEST)],
)  # fmt: skip
def test_limits_grow_with_what_else_wants_the_processors(
    loadavg: str, times: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loadavg").write_text(f"{loadavg}\n")
    monkeypatch.setattr(limits, "LOAD", str(tmp_path / "loadavg"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert limits.busy() == times


def test_the_guests_programs_find_the_work_and_not_the_hosts_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABCONTAINER_HOME", "/home/me/kept")
    monkeypatch.setenv("LABCONTAINER_SEED", "s")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    found = where.environment()
    assert found["LABCONTAINER_WORK"] == "/home/me/kept"
    assert found["LABCONTAINER_SEED"] == "s"
    assert found["LABCONTAINER_WHERE"] == "here"
    assert not {"LABCONTAINER_HOME", "SECRET_TOKEN"} & set(found)


def test_a_program_here_is_killed_at_its_time_limit() -> None:
    for limit in (0.5, 5, 50):  # on a busy machine it may not have come to say anything
        ended = where.run(["sh", "-c", "echo out; echo err >&2; exec sleep 90"], timeout=limit)
        assert ended.late
        if ended.error:
            break
    assert (ended.output, ended.error) == (b"out\n", b"err\n")
    merged = where.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in\n", merged=True)
    assert (merged.status, merged.output) == (3, b"in\nerr\n")
