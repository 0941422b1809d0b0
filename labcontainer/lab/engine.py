"""An engine for a lesson: labcontainer's daemon in the helper, an image in it, and its commands.

    lab.engine()                      the daemon begins, once a notebook
    lab.docker("run --rm …")          a command line for it, with its transcript

It lives in the helper's namespaces, its files in `/mnt`: it ends with the helper, and nothing of it
is left. The host's cgroups and `/run` are covered there, so containers have no limits in here.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labcontainer.errors import LabError
from labcontainer.kernel import files
from labcontainer.lab import helper
from labcontainer.lab.child import Result
from labcontainer.lab.helper import Process, Status

HOME = "/mnt/engine"
SOCKET, LOG, PID = f"{HOME}.sock", f"{HOME}.log", f"{HOME}.pid"
IMAGE = "tools"
_COMMAND = f"{os.path.dirname(sys.executable)}/labcontainer"
# The installed command starts in half the time, which counts in a user-mode kernel.
LABCONTAINER: tuple[str, ...] = (
    (_COMMAND,) if os.access(_COMMAND, os.X_OK) else (sys.executable, "-m", "labcontainer.cli.main")
)
PROGRAMS: tuple[str, ...] = (
    "sh",
    "cat",
    "cut",
    "dd",
    "echo",
    "false",
    "grep",
    "head",
    "hostname",
    "id",
    "ls",
)
PROGRAMS += ("mkdir", "rm", "seq", "sleep", "sort", "stat", "tar", "touch", "true", "wc")
PROGRESS = r"^[0-9a-f]{12}: (Pull|Download|Extract|Wait|Verif|Already|Push|Prepar).*\n"
# The helper has no outside, so a daemon that says it has none says nothing new.
NO_OUTSIDE = r"^WARNING: containers reach one another, but not the outside.*\n"
SECONDS = 20  # that the daemon has to begin; a user-mode kernel is slow

if TYPE_CHECKING:
    from labcontainer.client.api import Client


class _Running:
    process: Process | None = None
    read = 0  # bytes of the log that `requests` has told of


def start() -> None:
    """Start the daemon, if it does not run, and give it an image, `tools`, of this machine's own
    programs.

    Raises:
        LabError: it did not begin; the text is its log.
    """
    if _Running.process is not None and helper.attempt(os.path.exists, SOCKET).value:
        return
    _must(helper.attempt(furnish))
    _Running.process, _Running.read = helper.spawn(serve), 0
    _must(helper.attempt(import_image, timeout=60))


def restart(signal: int = 15) -> None:
    """End the daemon by a signal, and start another one: its containers are found again."""
    _must(helper.attempt(end, signal))
    _Running.process = helper.spawn(serve)
    _must(helper.attempt(wait))


def _must(result: Result) -> None:
    if not result.ok:
        raise LabError(result.error or result.output or f"status {result.status}")


def docker(*words: str, timeout: float = 40) -> Status:
    """One command of `labcontainer`, which are docker's, for that daemon; prints it all but the
    progress of layers, which comes in another order each time, and what only some users' daemons
    warn of.

    Its words, or all of them as one text that is taken apart as a shell does.
    """
    argv = helper.words(words)
    result = helper.attempt(command, argv, timeout=timeout)
    said = re.sub(f"{PROGRESS}|{NO_OUTSIDE}", "", result.output, flags=re.MULTILINE)
    lines = [f"$ labcontainer {shlex.join(argv)}", said, result.error]
    status = result.value or 0
    if status:
        lines.append(f"[exit status {status}]")
    print("\n".join(stable(line).rstrip("\n") for line in lines if line.strip()))
    return Status(status)


def stable(text: str) -> str:
    """Text with `id#1` for the first container, volume or image id in it, long or short."""
    named = re.sub(
        r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", lambda found: helper.alias("id", found[0][:12]), text
    )
    return helper.stable(named)


def requests() -> list[tuple[str, str, int]]:
    """What the daemon was asked since the last call: (method, path, status) each, ids as `id#1`."""
    text = str(helper.attempt(files.read, LOG).value or "")
    news, _Running.read = text[_Running.read :], len(text)
    found = re.findall(r'"([A-Z]+) (?:/v[0-9.]+)?(/[^ ?]*)[^ ]* HTTP/1.1" (\d+)', news)
    return [(method, stable(path), int(status)) for method, path, status in found]


# --- in the helper --------------------------------------------------------------------------------


def furnish() -> None:
    """Cover what is the host's, and make the programs of the image."""
    from labcontainer.image import hostbase
    from labcontainer.kernel import netlink, rtnetlink, syscalls
    from labcontainer.kernel.flags import MS

    for place, flags in (("/sys/fs/cgroup", MS.RDONLY), ("/run", 0)):
        syscalls.mount("lab", place, "tmpfs", flags)
    with netlink.Netlink() as kernel:  # a fresh namespace's loopback is down
        kernel.do(rtnetlink.set_link("lo", up=True))
    if not os.path.isdir(f"{HOME}-root"):
        found = tuple(name for name in PROGRAMS if shutil.which(name))
        hostbase.build(hostbase.recipe(IMAGE, found), f"{HOME}-root")


def environment() -> dict[str, str]:
    """What makes a command speak to that daemon."""
    return {**os.environ, "LABCONTAINER_HOME": HOME, "LABCONTAINER_HOST": f"unix://{SOCKET}"}


def serve() -> None:
    """Become the daemon: a program of its own, as a lesson's child hears signals otherwise."""
    files.write_atomically(PID, str(os.getpid()).encode())
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    argv = [*LABCONTAINER, "daemon", "--host", f"unix://{SOCKET}", "--debug"]
    os.execve(argv[0], argv, environment())


def client() -> Client:
    """A client of that daemon, for a job in the helper."""
    from labcontainer.client import address, api

    return api.Client(address.parse(f"unix://{SOCKET}"))


def wait() -> None:
    """Wait until it answers.

    Raises:
        LabError: it does not; the text is its log.
    """
    ends = time.monotonic() + SECONDS
    while True:
        try:
            client().get("/version")
            return
        except LabError:
            if time.monotonic() > ends:
                raise LabError(f"the daemon did not begin: {files.read(LOG)[-2000:]}") from None
            time.sleep(0.05)


def end(signal: int) -> None:
    """End the daemon, and it alone: what its containers do then is theirs."""
    process = os.pidfd_open(int(files.read(PID)))
    os.kill(int(files.read(PID)), signal)
    if not select.select([process], [], [], SECONDS)[0]:
        raise LabError("the daemon did not end")


def import_image() -> None:
    """Make an image of the programs."""
    wait()
    tar = subprocess.run(["tar", "-C", f"{HOME}-root", "-c", "."], capture_output=True, check=True)
    _run(["import", "-", IMAGE], tar.stdout)


def command(words: Sequence[str]) -> int:
    """One command of `labcontainer`; its exit status. What it says goes to standard output."""
    return _run(words, b"")


def _run(words: Sequence[str], stdin: bytes) -> int:
    argv = [*LABCONTAINER, *words]
    return subprocess.run(argv, input=stdin, env=environment(), check=False).returncode
