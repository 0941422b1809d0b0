"""User-mode Linux: Debian's kernel as an ordinary process, with the verbs of a container.

No privilege is asked for: not root, no capability, no KVM. The guest sees the host's file tree as
the user sees it, read-only, with an overlay in its own memory on top.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from labcontainer.errors import UnsupportedError
from labcontainer.record import Record
from labcontainer.vm import boot, guest
from labcontainer.vm.guest import BootError as BootError
from labcontainer.vm.guest import Program as Program
from labcontainer.vm.guest import ProgramTimeoutError as ProgramTimeoutError

OWN = ("/tmp", "/run", "/dev")  # directories that a guest has in its memory


class Machine(Record):
    """What to boot. `memory` as the kernel spells it (512M); `uid` is who the kernel runs as on
    the host, None for the caller; `share_rw` are directories that the guest may write to."""

    memory: str = "512M"
    share_rw: tuple[str, ...] = ()
    uid: int | None = None
    hostname: str = "uml"
    tmpdir: str = ""


def kernel() -> str:
    """The user-mode kernel's path. Raises UnsupportedError where there is none."""
    if platform.machine() != "x86_64":
        raise UnsupportedError("user-mode Linux", f"Debian has it for x86-64 only, this machine "
                               f"is {platform.machine()}")  # fmt: skip
    path = shutil.which("linux.uml")
    if path is None or not os.path.isdir(boot.MODULE_TREE):
        raise UnsupportedError("user-mode Linux", "it is not installed",
                               "on Debian: apt install user-mode-linux")  # fmt: skip
    return path


def boot_of(machine: Machine) -> boot.Boot:
    """What this machine has to boot with. Raises UnsupportedError where it can't."""
    busybox = shutil.which("busybox", path=guest.GUEST_ENV["PATH"])
    shell = (busybox, "sh") if busybox else ("/bin/sh",)
    if own := next((one for one in OWN if boot.AGENT.startswith(f"{one}/")), ""):
        why = f"labcontainer lies in {boot.AGENT}, and the guest has a {own} of its own"
        raise UnsupportedError("user-mode Linux", why, "install it elsewhere")
    python = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    if not _reachable(python) and os.path.exists("/usr/bin/python3"):
        python = "/usr/bin/python3"
    return boot.Boot(kernel(), shell, python, machine.memory, machine.share_rw, machine.hostname)


def _reachable(path: str) -> bool:
    """Whether every user may run a program: the guest's kernel may be another user's process."""
    above = path
    while above != "/":
        if not os.stat(above).st_mode & 0o001:
            return False
        above = os.path.dirname(above)
    return True


def _check_space(folder: str, memory: str) -> None:
    """A guest whose memory file finds no room later dies of SIGBUS, without a word."""
    unit = {"K": 10, "M": 20, "G": 30}.get(memory[-1:].upper())
    wanted = int(memory[:-1]) << unit if unit and memory[:-1].isdigit() else 0
    system = os.statvfs(folder)
    free = system.f_bavail * system.f_frsize
    if free < wanted:
        raise BootError(
            f"the guest's memory of {memory} does not fit into {folder}, where {free >> 20} MB are "
            "free; make room, take less, or set TMPDIR"
        )


@contextmanager
def _on_one_processor() -> Iterator[None]:
    """What begins inside the block stays on the processor where we are: sched_setaffinity(2).

    The guest has one processor. Each of its system calls goes from the process that makes it to the
    kernel that traces it and back, and to wake a process on another processor takes ten times as
    long as on one's own.
    """
    with open("/proc/thread-self/stat") as file:
        here = int(file.read().rpartition(")")[2].split()[36])  # field 39 of proc(5): processor
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {here})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class Guest(guest.Guest):
    """A user-mode kernel."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    @property
    def tmpdir(self) -> str:
        """Where its memory is."""
        return self.machine.tmpdir or os.environ.get("TMPDIR") or "/tmp"

    def _launch(self, line: socket.socket) -> subprocess.Popen[bytes]:
        plan = boot_of(self.machine)
        guest.check_shares(self.machine.share_rw)
        _check_space(self.tmpdir, self.machine.memory)
        script = os.memfd_create("labcontainer-boot", 0)
        try:
            os.write(script, boot.script(plan))
            inherited = (line.fileno(), script)
            argv = boot.command_line(plan, *inherited)
            with _on_one_processor():
                return guest.launch(argv, inherited, self.machine.uid, {"TMPDIR": self.tmpdir})
        finally:
            os.close(script)


def run(
    argv: Sequence[str],
    uid: int = 0,
    memory: str = "512M",
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    share_rw: Sequence[str] = (),
    timeout: float | None = None,
    host_uid: int | None = None,
) -> int:
    """Boot a guest, run one program in it as `uid`, pass its output on; its exit status.

    Raises BootError when the guest's kernel ends, ProgramTimeoutError after `timeout` seconds.
    """
    program = Program(tuple(argv), uid, cwd, guest.GUEST_ENV if env is None else env)
    machine = Machine(memory, tuple(os.path.abspath(one) for one in share_rw), host_uid)
    with Guest(machine) as running:
        number = running.exec(program, guest.printer(1), guest.printer(2))
        return running.wait(number, timeout)
