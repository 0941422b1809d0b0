"""Four ways out of a container: what it is given, and what it finds around it.

Every function takes the part of a runtime or an engine on which it depends (the learner's), and
the box that it is tried in. It looks from outside at what came of it: was the treasure read or the
host's file changed, and did the honest program get what it needs?
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from labcontainer.kernel import files
from labcontainer.lab import box as stage
from labcontainer.lab.box import HOST, NAIVE, Box, Tried, treasure

# --- 1: what the engine knows -------------------------------------------------------------------

Environment = Callable[[list[str], list[str], dict[str, str]], dict[str, str]]


def environment(give: Environment, box: Box = NAIVE) -> Tried:
    """A program looks at its variables: does it find the caller's password?"""
    caller = {"PATH": "/opt/engine:/bin", "LANG": "C.UTF-8", "REGISTRY_LOGIN": treasure()}
    variables = give(["MODE=image", "SIZE=3"], ["MODE=asked", "LANG"], caller)
    said = stage.inside(box, stage.execute(["/bin/cat", "/proc/self/environ"], variables))
    found = dict(line.partition("=")[::2] for line in said.split("\0") if line)
    wanted = {"MODE": "asked", "SIZE": "3", "LANG": "C.UTF-8"}
    honest = wanted.items() <= found.items() and "/bin" in found.get("PATH", "").split(":")
    return Tried(treasure() in said, honest, " ".join(sorted(found)), " ".join(sorted(found)))


# --- 2: what the runtime holds open -------------------------------------------------------------


def descriptor(close_others: Callable[[int], object], box: Box = NAIVE) -> Tried:
    """The image's working directory is one that the runtime forgot to close (CVE-2024-21626)."""

    def start(script: str, folder: str, keep: int) -> str:
        def hold() -> None:
            os.dup2(held, 9)
            os.dup2(greeting, 3)

        def program() -> object:
            close_others(keep)
            os.chdir(folder)
            return stage.execute(["/bin/sh", "-c", script])()

        return stage.inside(box, program, hold)

    held = os.open(HOST, os.O_RDONLY | os.O_DIRECTORY)
    greeting, say = os.pipe()
    os.write(say, b"socket\n")
    os.close(say)
    said = start("cat treasure /proc/self/fd/9/treasure 2>&1", "/proc/self/fd/9", 0)
    honest = start("read word <&3; echo $word", "/", 1)
    for fd in (held, greeting):
        os.close(fd)
    return Tried(treasure() in said, honest == "socket\n", said.strip(), honest.strip())


# --- 3: who else is there -----------------------------------------------------------------------

Start = Callable[[Callable[[], object], list[str]], int]
PRINT_OTHERS = "cat /proc/[0-9]*/root/mnt/host/treasure; echo /proc/[0-9]*"


def neighbour(start: Start, box: Box = NAIVE) -> Tried:
    """The root directory of every process that can be seen is a door, /proc/PID/root."""
    reads, writes = os.pipe()
    go_in = stage.entry(box)

    def enter() -> None:
        os.dup2(writes, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        go_in()

    pid = start(enter, ["/bin/sh", "-c", PRINT_OTHERS])
    os.close(writes)
    with open(reads) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    seen = [word.removeprefix("/proc/") for word in said.split() if word.startswith("/proc/")]
    honest = bool(seen) and all(map(str.isdecimal, seen))
    return Tried(treasure() in said, honest, said.strip(), f"sees the processes {seen}")


# --- 4: who takes orders ------------------------------------------------------------------------

Listen = Callable[[str], socket.socket]


@contextmanager
def serving(server: socket.socket, answer: Callable[[str], str]) -> Iterator[None]:
    """A process that answers every line that comes by a socket, until the block ends."""
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                line, _ = server.accept()
                with line:
                    line.settimeout(5)
                    line.sendall(answer(line.recv(4096).decode()).encode())
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def call(address: Any, words: str) -> str:
    """Say something to a server; its answer."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as line:
        line.settimeout(5)
        line.connect(address)
        line.sendall(words.encode())
        return line.recv(4096).decode()


def addresses() -> list[Any]:
    """Whom a process can find that listens: /proc/net/unix has all names, /proc/net/tcp all ports.

    A name that begins with @ is abstract: no file in any directory, but the network namespace's.
    """
    rows = [line.split() for line in files.read("/proc/net/unix").splitlines()[1:]]
    names = [row[7] for row in rows if len(row) > 7]
    found: list[Any] = [f"\0{name[1:]}" if name[0] == "@" else name for name in names]
    ports = [line.split() for line in files.read("/proc/net/tcp").splitlines()[1:]]
    return found + [("127.0.0.1", int(row[1].split(":")[1], 16)) for row in ports if row[3] == "0A"]


def order(listen: Listen, box: Box = NAIVE) -> Tried:
    """The engine's shim takes orders on a socket, and the box is in the host's network.

    CVE-2020-15257 was that in containerd. The honest program needs a service of the host's.
    """

    def everybody() -> str:
        answers = []
        for address in addresses():
            try:
                answers.append(call(address, "run: cat treasure"))
            except OSError:
                pass
        return " ".join(answers)

    folder = f"{HOST}/shim"
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    with socket.create_server(("127.0.0.1", 0)) as service, listen(folder) as shim:
        port, secret = service.getsockname()[1], treasure()
        with serving(service, lambda words: "welcome"), serving(shim, lambda words: secret):
            said = stage.inside(box, everybody)
            honest = stage.inside(box, lambda: call(("127.0.0.1", port), "hello"))
            engine = call(shim.getsockname(), "run: true")
    return Tried(secret in said, (honest, engine) == ("welcome", secret), said, honest)
