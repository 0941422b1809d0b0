"""The notebook kernel's end of the helper process: start it, send jobs, print one transcript.

A kernel has a dozen threads, so namespaces, mounts, chroot and forks are not for it (EINVAL at
best). Everything goes to `lab.helper_process`, which ends when the kernel ends: it is started by a
thread that lives as long as the kernel, since PR_SET_PDEATHSIG watches the starting thread. Where
this machine allows no namespaces, it runs in a user-mode kernel (`lab.where`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from typing import Any

from labcontainer.errors import LabError, UsageError
from labcontainer.lab import shipping, student, where
from labcontainer.lab.child import Result

Target = Callable[..., Any] | str


class HelperHere:
    """The helper process on this machine: a socket to it, and the thread that it dies with."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self._lines = self.socket.makefile("rb")
        started = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None

        def keep() -> None:
            line = [sys.executable, "-m", "labcontainer.lab.helper_process"]
            try:
                self.process = subprocess.Popen(
                    [*line, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            finally:
                started.set()
            self.process.wait()

        threading.Thread(target=keep, name="lab-helper-keeper", daemon=True).start()
        started.wait()
        theirs.close()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def readline(self) -> bytes:
        """The next line that it sends."""
        return self._lines.readline()

    def close(self) -> None:
        """End the helper, and with it all that runs in it."""
        self._lines.close()
        self.socket.close()
        if self.process is not None:
            self.process.kill()  # the starter; PID 1 in the sandbox follows (PDEATHSIG)
            self.process.wait()


class HelperInGuest(where.Line):
    """The helper process in the user-mode kernel: its standard input and output."""

    def __init__(self) -> None:
        program = "labcontainer.lab.helper_process"
        super().__init__([sys.executable, "-m", program, "-", str(where.parent())])

    def close(self) -> None:
        """End the helper; the guest stays."""
        self.kill()


class Connection:
    """One helper process, and requests to it."""

    def __init__(self) -> None:
        self._helper = HelperInGuest() if where.current() == where.UML else HelperHere()

    def request(self, **fields: Any) -> dict[str, Any]:
        """Send one request and wait for its reply."""
        try:
            self._helper.write(json.dumps(fields).encode() + b"\n")
            line = self._helper.readline()
        except OSError as error:
            raise LabError(f"the helper process is gone: {error}") from error
        if not line:
            raise LabError("the helper process ended; the next call starts a new one")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """End the helper, and with it all that runs in it."""
        self._helper.close()


class Status(int):
    """An exit status that a cell does not show when it is its last value: the transcript has it."""

    def _ipython_display_(self) -> None:
        """Show nothing."""


class _State:
    connection: Connection | None = None
    lock = threading.Lock()
    aliases: dict[str, dict[str, int]] = {}


def _request(**fields: Any) -> dict[str, Any]:
    with _State.lock:
        if _State.connection is None:
            _State.connection = Connection()
        try:
            return _State.connection.request(**fields)
        except (LabError, KeyboardInterrupt):
            _drop()
            raise


def _drop() -> None:
    connection, _State.connection = _State.connection, None
    if connection is not None:
        connection.close()


def restart() -> None:
    """A new helper at the next call: mounts, files in /mnt and processes of the old one go."""
    with _State.lock:
        _drop()


def begin() -> None:
    """What a notebook's first cell finds: nothing that was built before, and no number named."""
    restart()
    _State.aliases.clear()


def mode() -> str:
    """How the helper got its namespaces: "root", "user" (a user namespace) or "none"."""
    return str(_request(verb="hello")["value"])


# --- stable names for unstable numbers ----------------------------------------------------------


def alias(kind: str, number: int | str) -> str:
    """A name for a number that differs from run to run: the first one of a kind is `kind#1`."""
    seen = _State.aliases.setdefault(kind, {})
    return f"{kind}#{seen.setdefault(str(number), len(seen) + 1)}"


def stable(text: str) -> str:
    """Text with namespace inodes as `mnt#2` and memory addresses as `0x…`."""
    text = re.sub(
        r"\b(mnt|pid|uts|ipc|net|user|cgroup|time)(?:_for_children)?:\[(\d+)\]",
        lambda found: alias(found[1], found[2]),
        text,
    )
    return re.sub(r"\b0x[0-9a-f]{8,16}\b", "0x…", text)


# --- running ------------------------------------------------------------------------------------


def _job(
    target: Target, args: tuple[Any, ...], namespaces: Sequence[str], as_user: bool
) -> dict[str, Any]:
    if isinstance(namespaces, str):
        raise UsageError('namespaces is a tuple of names, such as ("mnt", "pid")')
    if isinstance(target, str):
        source, call = textwrap.dedent(target), ""
    else:
        source, call = shipping.source_of(target)
    return {
        "source": source,
        "call": call,
        "args": list(args),
        "namespaces": list(namespaces),
        "as_user": as_user,
        "path": [str(student.home())],
    }


def attempt(
    target: Target,
    *args: Any,
    namespaces: tuple[str, ...] = (),
    as_user: bool = False,
    timeout: float = 20,
) -> Result:
    """Run a function or code in a fresh child of the helper; print nothing.

    Args:
        target: a function (its source is sent, with what it refers to) or Python source.
        args: JSON values.
        namespaces: kinds of new namespaces for that child: "mnt", "pid", "uts", …
        as_user: as user 1000 without capabilities, on every machine.
        timeout: seconds, after which the child is killed.
    """
    job = _job(target, args, namespaces, as_user)
    return Result(**_request(verb="run", job=job, timeout=where.patience(timeout)))


def run(
    target: Target,
    *args: Any,
    namespaces: tuple[str, ...] = (),
    as_user: bool = False,
    timeout: float = 20,
) -> Any:
    """As `attempt`, and print one transcript: the output, then the error if there was one.

    Returns the function's value; None after an error.
    """
    result = attempt(target, *args, namespaces=namespaces, as_user=as_user, timeout=timeout)
    _print(_transcript(result, timeout))
    return result.value


def shell(
    script: str,
    in_root: str | None = None,
    namespaces: tuple[str, ...] = (),
    as_user: bool = False,
    timeout: float = 20,
) -> Status:
    """Run `/bin/sh -c script` in the helper, in the root directory `in_root`; print it all.

    Returns the exit status; minus the number of the signal that ended it.
    """
    job = _job("", (), namespaces, as_user)
    job |= {"argv": ["/bin/sh", "-c", textwrap.dedent(script).strip()], "root": in_root or ""}
    result = Result(**_request(verb="run", job=job, timeout=where.patience(timeout)))
    prompt = "\n".join(f"$ {line}" for line in textwrap.dedent(script).strip().splitlines())
    _print(f"{prompt}\n{_transcript(result, timeout)}")
    return Status(result.status)


def command(*argv: str, timeout: float = 60) -> Status:
    """Run a program outside the helper as the learner would in a terminal; print it all.

    Its words, or all of them as one text that is taken apart as a shell does. It dies with the
    kernel. Returns the exit status.
    """
    result = _outside(words(argv), timeout)
    _print(f"$ {shlex.join(words(argv))}\n{_transcript(result, timeout)}")
    return Status(result.status)


def output(*argv: str, timeout: float = 60) -> str:
    """What a program outside the helper prints; for a cell that draws or compares it.

    Its words, as for `command`.

    Raises:
        LabError: it did not end with status 0; the text is what it printed.
    """
    result = _outside(words(argv), timeout)
    if not result.ok:
        raise LabError(f"{shlex.join(words(argv))}: {_transcript(result, timeout)}")
    return str(result.output)


def words(argv: Sequence[str]) -> list[str]:
    """The words of a command line that was given as words, or as one text."""
    return shlex.split(argv[0]) if len(argv) == 1 else list(argv)


def _outside(argv: Sequence[str], timeout: float) -> Result:
    """Run a program tied to this kernel; the environment's own programs are found first."""
    line = [sys.executable, "-m", "labcontainer.lab.tether", str(where.parent()), *argv]
    path = f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', os.defpath)}"
    env = {**os.environ, "PATH": path} if where.current() == where.HERE else None
    ended = where.run(line, timeout=where.patience(timeout), merged=True, env=env)
    status = 0 if ended.late else ended.status
    output = ended.output.decode(errors="replace")
    return Result(output=output, status=status, timed_out=ended.late)


class Process:
    """A process that goes on in the helper while other cells look at it. A context manager."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def wait(self, timeout: float = 10) -> Result:
        """Wait for its end."""
        return Result(**_request(verb="finish", pid=self.pid, timeout=where.patience(timeout)))

    def kill(self) -> Result:
        """Kill it; with `pid` among its namespaces, all its children go too."""
        return Result(**_request(verb="finish", pid=self.pid, timeout=0))

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()


def spawn(
    target: Target, *args: Any, namespaces: tuple[str, ...] = (), as_user: bool = False
) -> Process:
    """Start a function in the helper and let it run on; `.pid` is its number there.

    Raises:
        LabError: it could not be started; the text is the kernel's answer.
    """
    job = _job(target, args, namespaces, as_user)
    reply = _request(verb="spawn", job=job, timeout=where.patience(10))
    if reply.get("error") or not reply.get("value"):
        raise LabError(reply.get("error") or "the process could not be started")
    return Process(int(reply["value"]))


def _transcript(result: Result, timeout: float) -> str:
    """What was printed, then the error or how it ended."""
    lines = [result.output.rstrip("\n")] if result.output else []
    if result.timed_out:
        lines.append(f"[stopped after {timeout:g} s]")
    elif result.error:
        lines.append(result.error)
    elif result.status < 0:
        lines.append(f"[killed by {signal.Signals(-result.status).name}]")
    elif result.status:
        lines.append(f"[exit status {result.status}]")
    return stable("\n".join(lines))


def _print(text: str) -> None:
    if text.strip():
        print(text.rstrip("\n"))
