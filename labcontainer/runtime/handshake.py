"""What the runtime and the container's first process say to each other.

    runtime                                          init (forked from it, in new namespaces)
       │                                                │
       │  writes id maps, or says so before the fork    │  enters its cgroups, waits
       │ ─── mapped ──────────────────────────────────> │
       │  sets limits, writes the state,                │  mounts, devices
       │  compiles the system call filter               │
       │ <───────────────────────────────── mounted ─── │  only where hooks are to run now
       │  prestart and createRuntime hooks              │  waits
       │ ─── hooked ──────────────────────────────────> │
       │                                                │  createContainer hooks, pivot_root,
       │                                                │  masks, user, rights; finds the program
       │ <─────────────────────────────────── ready ─── │
       │ ─── filter ──────────────────────────────────> │  only where there is one; its code is
       │  writes the pid file                           │  a message of its own
       │ ─── created ─────────────────────────────────> │
       │                                                │  waits for `start` at the gate: a socket
       │                                                │  in the state directory, or this one

Until `created`, the end of the socket ends init: a runtime that dies leaves no container behind.
Instead of any of its messages init may say `failed` with a step, an errno and a text. `warning`
may come before `ready`, any number of times. Nothing is ever executed before `go`.
"""

from __future__ import annotations

import os

from labcontainer.errors import CommandNotExecutableError, CommandNotFoundError, StepError
from labcontainer.kernel import sockets

_KINDS: dict[str, type[StepError]] = {
    "": StepError,
    "not found": CommandNotFoundError,
    "not executable": CommandNotExecutableError,
}
LIMIT = 65536


def encode(name: str, *fields: str) -> bytes:
    """A message: its name and its fields, parted by NUL bytes."""
    text = "\0".join((name, *(field.replace("\0", " ") for field in fields)))
    return text.encode(errors="surrogateescape")[:LIMIT]


def decode(data: bytes) -> tuple[str, list[str]]:
    """The name and the fields of a message."""
    name, *fields = data.decode(errors="surrogateescape").split("\0")
    return name, fields


def failure(step: str, error: BaseException) -> bytes:
    """The `failed` message for an error met at a step."""
    kind = next((word for word, of in _KINDS.items() if word and isinstance(error, of)), "")
    if isinstance(error, StepError):
        step = error.step or step
    text = str(error.problem if isinstance(error, StepError) else error)
    notes = "; ".join(getattr(error, "__notes__", ()))
    code = str(getattr(error, "errno", 0) or 0)
    return encode("failed", kind, step, code, f"{text} ({notes})" if notes else text)


def to_error(fields: list[str]) -> StepError:
    """The error that a `failed` message tells of."""
    kind, step, code, text = (fields + ["", "", "0", "torn message"])[:4]
    return _KINDS.get(kind, StepError)(step, text, int(code))


class Channel:
    """One end of the conversation: a socket that keeps messages apart."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two connected ends, for the runtime and for init."""
        one, other = sockets.pair()
        return cls(one), cls(other)

    def close(self) -> None:
        """Let go of this end; the other end reads the end of the conversation."""
        os.close(self.fd)

    def send(self, name: str, *fields: str, descriptors: tuple[int, ...] = ()) -> None:
        """Say one thing, and pass descriptors along. Who is gone is met at the next `receive`."""
        self.send_raw(encode(name, *fields), descriptors)

    def send_raw(self, message: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Say one thing that is encoded already."""
        try:
            sockets.send(self.fd, message, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self) -> tuple[str, list[str], tuple[int, ...]]:
        """The next message: name, fields, descriptors. The name is "" when the partner is gone."""
        for _ in range(2):
            try:
                data, descriptors = sockets.receive(self.fd, LIMIT)
                return (*decode(data), descriptors)
            except ConnectionResetError:
                # The partner ended with a message of ours unread. The error comes once, before
                # what it said last: that is still to be read.
                continue
        return "", [], ()

    def expect(self, *names: str) -> tuple[str, list[str], tuple[int, ...]]:
        """Wait until one of these messages comes. Warnings on the way go to `warn`.

        Raises:
            StepError: the partner failed, or ended without a word.
        """
        while True:
            name, fields, descriptors = self.receive()
            if name in names:
                return name, fields, descriptors
            if name == "failed":
                raise to_error(fields)
            if name == "warning":
                self.warn(fields[0])
            elif not name:
                raise StepError("", "the container's first process ended before it was set up")
            else:
                raise StepError("handshake", f"unexpected message {name!r}")

    def warn(self, text: str) -> None:
        """Tell the user of something that could not be granted."""
        os.write(2, f"warning: {text}\n".encode(errors="surrogateescape"))


def read_outcome(data: bytes) -> StepError | None:
    """What the status descriptor tells after `go`: nothing (it runs), or why it does not."""
    if not data:
        return None
    name, fields = decode(data)
    if name == "failed":
        return to_error(fields)
    code = -int.from_bytes(data[:8], "little", signed=True)
    return exec_error(code)


def exec_error(code: int, program: str = "") -> StepError:
    """A refusal of execve(2) in words that engines know."""
    where = f"exec {program}" if program else "exec"
    reason = {2: "no such file or directory", 13: "permission denied", 8: "exec format error"}
    text = reason.get(code, os.strerror(code))
    if code == 2:
        return CommandNotFoundError(where, text, code)
    return CommandNotExecutableError(where, text, code)
