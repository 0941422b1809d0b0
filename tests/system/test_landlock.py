"""Landlock in the kernel: what a process may still do after giving up the rest."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from labcontainer import landlock
from labcontainer.landlock import Ruleset
from tests.system import aside

pytestmark = pytest.mark.requires("landlock")


def under(ruleset: Ruleset, function: Any, *args: Any) -> aside.End:
    def confined() -> Any:
        landlock.apply(ruleset)
        return function(*args)

    return aside.run(confined)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "read").mkdir()
    (tmp_path / "read/file").write_text("here")
    (tmp_path / "write").mkdir()
    (tmp_path / "single").write_text("one")
    return tmp_path


def test_this_kernel_says_its_version() -> None:
    assert landlock.abi() >= 1


def test_reading_is_kept_to_the_named_paths(place: Path) -> None:
    rules = Ruleset(read=(f"{place}/read",))
    assert under(rules, (place / "read/file").read_text).value == "here"
    assert under(rules, (place / "single").read_text).error == errno.EACCES
    assert under(rules, (place / "read/file").write_text, "x").error == errno.EACCES


def test_a_single_file_can_be_named(place: Path) -> None:
    rules = Ruleset(read=(f"{place}/single",))
    assert under(rules, (place / "single").read_text).value == "one"


def test_writing_is_kept_to_the_named_paths(place: Path) -> None:
    rules = Ruleset(write=(f"{place}/write",))
    assert under(rules, (place / "write/new").write_text, "abc").value == 3
    assert under(rules, os.mkdir, place / "write/folder").error == 0
    assert under(rules, os.mkdir, place / "elsewhere").error == errno.EACCES


def test_running_is_a_right_of_its_own(place: Path) -> None:
    def true() -> int:
        return subprocess.run(["/bin/true"]).returncode

    everywhere = ("/",)
    assert under(Ruleset(read=everywhere), true).error == errno.EACCES
    assert under(Ruleset(execute=everywhere, write=("/dev",)), true).value == 0


def test_rules_add_up_to_less(place: Path) -> None:
    def again() -> str:
        landlock.apply(Ruleset(read=(f"{place}/write",)))
        return (place / "read/file").read_text()

    assert under(Ruleset(read=(f"{place}/read",)), again).error == errno.EACCES


def test_a_missing_path_is_an_error_and_nothing_is_confined(place: Path) -> None:
    def after() -> str:
        with pytest.raises(FileNotFoundError):
            landlock.apply(Ruleset(read=(f"{place}/missing",)))
        return (place / "single").read_text()

    assert aside.run(after).value == "one"


def bind(port: int) -> None:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", port))


def test_ports() -> None:
    if landlock.abi() < 4:
        pytest.skip("landlock: ports need version 4 of the interface")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    assert under(Ruleset(bind=(port,)), bind, port).error == 0
    assert under(Ruleset(bind=()), bind, port).error == errno.EACCES


def test_isolation() -> None:
    if landlock.abi() < 6:
        pytest.skip("landlock: isolation needs version 6 of the interface")
    assert under(Ruleset(), os.kill, os.getpid(), 0).error == 0
    assert under(Ruleset(isolated=True), os.kill, os.getpid(), 0).error == errno.EPERM
