"""`labcontainer run -it` in a terminal of the test's own: size, keys, raw mode given back."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from labcontainer.kernel import terminal
from tests.system import lab_home
from tests.system.lab_home import LabHome

pytestmark = pytest.mark.requires("root", "mount", "busybox")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    yield from lab_home.home()


def until(master: int, mark: bytes) -> bytes:
    """What the terminal shows, up to `mark`."""
    shown, ends = b"", time.monotonic() + lab_home.PATIENCE
    while mark not in shown:
        assert time.monotonic() < ends, shown
        if select.select([master], [], [], 0.2)[0]:
            shown += os.read(master, 4096)
    return shown


def test_a_session_at_a_terminal(lab: LabHome) -> None:
    master, slave = pty.openpty()
    terminal.set_size(slave, 33, 99)
    before = termios.tcgetattr(slave)
    words = lab.words("run", "--network", "none", "-it", "busybox", "sh")
    program = subprocess.Popen(
        words, stdin=slave, stdout=slave, stderr=slave, env=lab.env, cwd=lab.home
    )
    try:
        until(master, b"# ")
        os.write(master, b"stty size; tty\n")
        shown = until(master, b"/dev/pts/0")
        assert b"33 99" in shown
        terminal.set_size(master, 40, 120)
        program.send_signal(28)  # SIGWINCH: the kernel sends it to the terminal's session only
        os.write(master, b"sleep 78901\n")
        assert lab_home.eventually(lambda: lab_home.processes_with("78901") != [])
        os.write(master, b"\x03")  # Ctrl-C goes to the program inside
        until(master, b"# ")
        os.write(master, b"stty size; exit 7\n")
        until(master, b"40 120")
        assert program.wait(lab_home.PATIENCE) == 7
        assert termios.tcgetattr(slave) == before
    finally:
        program.kill()
        program.wait()
        os.close(master)
        os.close(slave)


def test_without_a_terminal_of_its_own_the_container_never_gets_ours(lab: LabHome) -> None:
    master, slave = pty.openpty()
    words = lab.words("run", "--network", "none", "busybox", "sh", "-c", "test -t 1; echo tty=$?")
    program = subprocess.Popen(words, stdin=slave, stdout=slave, env=lab.env, cwd=lab.home)
    try:
        assert b"tty=1" in until(master, b"tty=1")
        assert program.wait(lab_home.PATIENCE) == 0
    finally:
        program.kill()
        program.wait()
        os.close(master)
        os.close(slave)
