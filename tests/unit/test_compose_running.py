"""Compose's events, output, watched files and words, with a daemon of a few lines."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer.cli import compose as words
from labcontainer.cli import main
from labcontainer.client.address import Address
from labcontainer.client.api import Client
from labcontainer.compose import output
from labcontainer.compose.happenings import (
    Happenings,
    InterruptedWaitError,
    WaitTimeoutError,
)
from labcontainer.compose.notify import Notify
from labcontainer.kernel import syscalls
from tests.unit.compose_files import write

# --- events ---------------------------------------------------------------------------------------


class Events:
    """Answers one request with a stream of events, as they are told to it."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "s")
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen()
        self.request = b""
        self._sock: socket.socket | None = None
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        sock, _ = self._server.accept()
        self.request = sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        self._sock = sock

    def tell(self, identity: str, action: str = "start") -> None:
        while self._sock is None:
            time.sleep(0.01)
        event = {"Type": "container", "Action": action, "Actor": {"ID": identity}}
        self._sock.sendall(json.dumps(event).encode() + b"\n")

    def close(self) -> None:
        self._server.close()
        if self._sock is not None:
            self._sock.close()
            self._sock = None


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Events]:
    found = Events(tmp_path)
    yield found
    found.close()


@pytest.fixture
def happenings(events: Events) -> Iterator[Happenings]:
    with Happenings(Client(Address(events.path)), "p") as found:
        yield found


def test_only_the_projects_containers_are_asked_for(events: Events, happenings: Happenings) -> None:
    events.tell("a")
    assert b"GET /v1.41/events?filters=" in events.request
    assert b"com.docker.compose.project%3Dp" in events.request


def test_who_waits_looks_first_and_after_each_event_of_its_own(
    events: Events, happenings: Happenings
) -> None:
    looks: list[int] = []

    def look() -> str | None:
        if not looks:  # who looks has subscribed
            for identity in ("other", "mine", "other", "mine"):
                events.tell(identity)
        looks.append(1)
        return "there" if len(looks) == 3 else None

    assert happenings.wait(look, {"mine"}, 60) == "there"
    assert len(looks) == 3


def test_what_is_so_already_needs_no_event(happenings: Happenings) -> None:
    assert happenings.wait(lambda: 7, {"mine"}) == 7


def test_waiting_has_an_end(happenings: Happenings) -> None:
    with pytest.raises(WaitTimeoutError):
        happenings.wait(lambda: None, {"mine"}, 0.05)


def test_an_interrupt_and_a_daemon_that_goes_wake_all_who_wait(
    events: Events, happenings: Happenings
) -> None:
    for end in (happenings.interrupt, events.close):
        threading.Timer(0.05, end).start()
        with pytest.raises(InterruptedWaitError):
            happenings.wait(lambda: None, {"mine"}, 60)


def test_closing_ends_the_thread(events: Events) -> None:
    before = threading.active_count()
    with Happenings(Client(Address(events.path)), "p"):
        events.tell("a")
    assert threading.active_count() <= before


# --- output ---------------------------------------------------------------------------------------


def printed(pieces: list[tuple[str, list[tuple[int, bytes]]]], **options: Any) -> str:
    out = io.StringIO()
    printer = output.Printer(out, **options)
    printer.know(name for name, _ in pieces)
    for name, parts in pieces:
        output.follow(printer, name, parts)
    return out.getvalue()


def test_lines_are_cut_by_stream_and_named() -> None:
    parts = [(1, b"on"), (2, b"err\n"), (1, b"e\r\ntw"), (1, b"o")]
    text = printed([("a", parts), ("longer", [(1, b"x\n")])], colour=False)
    assert text == "a       | err\na       | one\na       | two\nlonger  | x\n"


def test_names_have_colours_or_are_left_out() -> None:
    assert printed([("a", [(1, b"x\n")])]) == "\x1b[36ma  | \x1b[0mx\n"
    assert printed([("a", [(1, b"x\n")])], prefix=False) == "x\n"


def test_a_line_of_a_log_is_shown_once() -> None:
    first = [(1, b"2026-01-01T00:00:00.1Z one\n2026-01-01T00:00:00.2Z t"), (1, b"wo\n")]
    second = [(1, b"2026-01-01T00:00:00.2Z two\n2026-01-01T00:00:00.3Z three")]
    last = [b""]
    assert list(output.unseen(first, last)) == [(1, b"one\n"), (1, b"two\n")]
    assert list(output.unseen(second, last)) == [(1, b"three")]


# --- watched files --------------------------------------------------------------------------------


def test_changes_below_a_directory(tmp_path: Path) -> None:
    write(tmp_path, {"a": "", "sub/b": "", "sub/c": ""})
    notify = Notify([str(tmp_path)])

    def change() -> None:
        write(tmp_path, {"a": "new", "fresh/deep/d": "in a new directory"})
        os.unlink(tmp_path / "sub/b")
        os.rename(tmp_path / "sub/c", tmp_path / "sub/e")

    try:
        change()  # all of it is in the kernel's queue: a pause between would part the changes
        found = {os.path.relpath(path, tmp_path) for path in notify.changes()}
        assert found == {"a", "fresh/deep/d", "sub/b", "sub/c", "sub/e"}
        threading.Timer(0.05, lambda: write(tmp_path, {"fresh/deep/f": ""})).start()
        assert notify.changes() == {f"{tmp_path}/fresh/deep/f"}
    finally:
        notify.close()


def test_a_file_made_while_its_new_directory_is_being_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = Notify([str(tmp_path)])
    add = syscalls.inotify_add_watch

    def slowly(fd: int, path: str, mask: int) -> int:
        Path(path, "made-meanwhile").touch()
        return add(fd, path, mask)

    monkeypatch.setattr(syscalls, "inotify_add_watch", slowly)
    try:
        (tmp_path / "new/deep").mkdir(parents=True)
        found = {os.path.relpath(path, tmp_path) for path in notify.changes()}
        assert found == {"new/made-meanwhile", "new/deep/made-meanwhile"}
    finally:
        notify.close()


def test_a_directory_that_is_gone_again_is_none(tmp_path: Path) -> None:
    notify = Notify([str(tmp_path)])
    try:
        (tmp_path / "new").mkdir()
        (tmp_path / "new").rmdir()
        (tmp_path / "kept").touch()
        assert f"{tmp_path}/kept" in notify.changes()
        assert notify._add(f"{tmp_path}/new") == []
    finally:
        notify.close()


# --- words ----------------------------------------------------------------------------------------


def test_scale_is_a_service_and_a_number() -> None:
    assert words.numbers(["a=2", "b=0"]) == {"a": 2, "b": 0}
    with pytest.raises(Exception, match="invalid value 'a' for --scale"):
        words.numbers(["a"])


def test_every_verb_has_its_function() -> None:
    import argparse

    from labcontainer.cli import compose_doing, compose_running, compose_showing

    parser = main.parser_of("compose")
    actions = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    for verb in actions[0].choices:
        module = (
            compose_showing if verb in words.SHOWING
            else compose_running if verb in words.RUNNING else compose_doing
        )  # fmt: skip
        assert hasattr(module, f"run_{verb}"), verb


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (("up", "--force-recreate", "--no-recreate"), "are incompatible"),
        (("up", "--build", "--no-build"), "are incompatible"),
        (("up", "--detach", "--exit-code-from", "web"), "are incompatible"),
        (("up", "--scale", "web"), "it is SERVICE=N"),
        (("up", "gone"), "no such service: gone"),
        (("config", "--hash", "gone"), "no such service: gone"),
    ],
)
def test_words_that_do_not_go_together(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: tuple[str, ...],
    problem: str,
) -> None:
    write(tmp_path, {"compose.yaml": "services: {web: {image: x}}"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABCONTAINER_HOST", f"unix://{tmp_path}/none")
    assert main.main(["compose", *given]) == 1
    said = capsys.readouterr().err
    assert problem in said and said.count("\n") == 1


def test_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
name: p
services:
  web: {image: "x:${TAG:-1}", depends_on: [db]}
  db: {build: ., volumes: ["data:/d"]}
  debug: {image: y, profiles: [tools]}
volumes: {data: }
"""
    write(tmp_path, {"compose.yaml": text})
    monkeypatch.chdir(tmp_path)

    def said(*given: str) -> str:
        assert main.main(["compose", *given]) == 0
        return capsys.readouterr().out

    assert said("config", "--services") == "db\nweb\n"
    assert said("--profile", "tools", "config", "--services") == "db\ndebug\nweb\n"
    assert said("config", "--images").split() == ["p-db", "x:1"]
    assert said("config", "--volumes") == "data\n"
    assert said("config", "--profiles") == "tools\n"
    assert said("config", "--quiet") == ""
    assert json.loads(said("config", "--format", "json", "db"))["services"].keys() == {"db"}
    assert said("config", "--variables").splitlines()[1].split() == ["TAG", "false", "1"]
    assert said("config", "--output", "out") == ""
    assert (tmp_path / "out").read_text() == said("config")


def test_config_with_its_variables_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = """
name: p
services:
  web:
    image: "x:${TAG:-1}"
    ports: ["${PORT}:80", "81:81"]
    environment: ["A=$$B", "C=${D}"]
    mem_limit: ${MEMORY}
    extends: {file: base.yaml, service: base}
"""
    second = "services: {web: {ports: ['${PORT}:80', '82:82'], mem_limit: 1m}}"
    base = "services: {base: {labels: {who: '${WHO}'}}}"
    write(tmp_path, {"compose.yaml": first, "over.yaml": second, "base.yaml": base})
    monkeypatch.chdir(tmp_path)
    words_given = ["compose", "-f", "compose.yaml", "-f", "over.yaml", "config"]
    assert main.main([*words_given, "--no-interpolate", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    web = found["services"]["web"]
    assert (web["image"], web["mem_limit"]) == ("x:${TAG:-1}", 1 << 20)
    assert web["environment"] == {"A": "$$B", "C": "${D}"} and web["labels"] == {"who": "${WHO}"}
    assert web["ports"] == ["${PORT}:80", "81:81", "82:82"]
