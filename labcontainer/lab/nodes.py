"""Several machines for a lesson: a daemon each, with a home and a socket of its own, in the helper.

    nodes.start("one", "two")     they begin, each with the image `tools`
    nodes.docker("one", "ps")     a command line for one of them, with its transcript
    nodes.client("one")           its API, for a job in the helper
    nodes.signal("one", 9)        kill -9 of that daemon, and of it alone
    nodes.begin("one")            it is there again, and finds its containers
    nodes.manage("one", "two")    a manager above them, which is `client("manager")`

They share a kernel, and everything else is apart: images, containers, names. `lab.engine` has one.
"""

from __future__ import annotations

import os
import select
import shlex
import signal as signals
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from labcontainer.errors import LabError
from labcontainer.kernel import files
from labcontainer.lab import engine, helper
from labcontainer.lab.helper import Process, Status

HOME = "/mnt/nodes"
MANAGER = "manager"
SECONDS = 40  # that all of them have to begin; a user-mode kernel is slow

if TYPE_CHECKING:
    from labcontainer.client.api import Client

_running: dict[str, Process] = {}


def start(*names: str) -> None:
    """Start a daemon for each name, and give it an image of this machine's own programs.

    Raises:
        LabError: one did not begin; the text is its log.
    """
    _must(furnish)
    for name in names:
        _running[name] = helper.spawn(serve, name)
    _must(import_images, names)


def begin(name: str) -> None:
    """Start the daemon of a machine again."""
    _running[name] = helper.spawn(serve, name)
    _must(wait, name)


def signal(name: str, number: int) -> None:
    """Send its daemon a signal; one that ends it has done so when this returns."""
    _must(send, name, number)


def manage(*names: str) -> None:
    """Start a manager above machines (docs/cluster.md), as the machine `manager`."""
    _running[MANAGER] = helper.spawn(serve_manager, names)
    _must(wait_for_nodes, names)


def _must(target: object, *args: object) -> None:
    assert callable(target)
    result = helper.attempt(target, *args, timeout=2 * SECONDS)
    if not result.ok:
        raise LabError(result.error or result.output or f"status {result.status}")


def docker(name: str, *words: str, timeout: float = 40) -> Status:
    """One command of `labcontainer` for one of the machines; prints it all."""
    argv = helper.words(words)
    result = helper.attempt(command, name, argv, timeout=timeout)
    lines = [f"{name}$ labcontainer {shlex.join(argv)}", result.output, result.error]
    status = result.value or 0
    if status:
        lines.append(f"[exit status {status}]")
    print("\n".join(engine.stable(line).rstrip("\n") for line in lines if line.strip()))
    return Status(status)


# --- in the helper --------------------------------------------------------------------------------


def furnish() -> None:
    """Cover what is the host's, and pack the programs of the image."""
    engine.furnish()
    os.makedirs(HOME, exist_ok=True)
    root = f"{engine.HOME}-root"
    subprocess.run(["tar", "-C", root, "-cf", f"{HOME}/tools.tar", "."], check=True)


def socket_of(name: str) -> str:
    """Where a machine's daemon listens."""
    return f"{HOME}/{name}.sock"


def environment(name: str) -> dict[str, str]:
    """What makes a command speak to the daemon of a machine."""
    home = {"LABCONTAINER_HOME": f"{HOME}/{name}", "LABCONTAINER_HOST": f"unix://{socket_of(name)}"}
    return {**os.environ, **home}


def serve(name: str) -> None:
    """Become the daemon of a machine."""
    _become(name, ["daemon", "--host", f"unix://{socket_of(name)}"])


def _become(name: str, words: Sequence[str]) -> None:
    files.write_atomically(f"{HOME}/{name}.pid", str(os.getpid()).encode())
    log = os.open(f"{HOME}/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    argv = [*engine.LABCONTAINER, *words]
    os.execve(argv[0], argv, environment(name))


def serve_manager(names: Sequence[str]) -> None:
    """Become the manager."""
    above = [f"--node={name}=unix://{socket_of(name)}" for name in names]
    where = ["--host", f"unix://{socket_of(MANAGER)}", "--data-root", f"{HOME}/{MANAGER}"]
    _become(MANAGER, ["cluster", "serve", *above, *where])


def client(name: str, patience: float | None = None) -> Client:
    """A client of a machine's daemon, for a job in the helper; it waits so many seconds."""
    from labcontainer.client import address, api

    return api.Client(address.parse(f"unix://{socket_of(name)}"), patience)


def wait(name: str) -> None:
    """Wait until it answers.

    Raises:
        LabError: it does not; the text is its log.
    """
    _until(name, lambda: bool(client(name).get("/version")))


def wait_for_nodes(names: Sequence[str]) -> None:
    """Wait until the manager has heard all of its machines."""
    _until(MANAGER, lambda: [one["Status"]["State"] for one in client(MANAGER).get("/nodes")]
           == ["ready"] * len(names))  # fmt: skip


def _until(name: str, what: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not _is(what):
        if time.monotonic() > ends:
            log = files.read(f"{HOME}/{name}.log")[-2000:]
            raise LabError(f"the daemon of {name} did not begin: {log}")
        time.sleep(0.05)


def _is(what: Callable[[], bool]) -> bool:
    try:
        return what()
    except LabError:  # nobody is there yet
        return False


def import_images(names: Sequence[str]) -> None:
    """Make the image on each machine, on all at the same time."""
    importing = []
    for name in names:
        wait(name)
        words = [*engine.LABCONTAINER, "import", f"{HOME}/tools.tar", engine.IMAGE]
        importing.append(subprocess.Popen(words, env=environment(name), stdout=subprocess.DEVNULL))
    for name, process in zip(names, importing, strict=True):
        if process.wait():
            raise LabError(f"the machine {name} did not take the image")


def send(name: str, number: int) -> None:
    """Send the daemon a signal, and see it end where that ends it."""
    pid = int(files.read(f"{HOME}/{name}.pid"))
    process = os.pidfd_open(pid)
    os.kill(pid, number)
    ends = number in (signals.SIGKILL, signals.SIGTERM)
    if ends and not select.select([process], [], [], SECONDS)[0]:
        raise LabError(f"the daemon of {name} did not end")


def command(name: str, words: Sequence[str]) -> int:
    """One command of `labcontainer`; its exit status. What it says goes to standard output."""
    argv = [*engine.LABCONTAINER, *words]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, env=environment(name)).returncode
