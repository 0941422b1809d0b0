"""`labcontainer-oci`: the command line that engines call, with the verbs and words of runc.

Each verb imports what it needs when it is called: an engine starts this program anew for every
step, so `state` must not pay for what `create` imports. What engines ask, and which words of an
error they look for, is in docs/oci-command.md.
"""

from __future__ import annotations

import os
import sys

from labcontainer.errors import LabError, UsageError
from labcontainer.runtime import words
from labcontainer.runtime.words import FLAG, LIST, VALUE, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

GLOBAL = {
    "root": VALUE,
    "log": VALUE,
    "log-format": VALUE,
    "debug": FLAG,
    "systemd-cgroup": FLAG,
    "rootless": VALUE,
    "criu": VALUE,
    "version": FLAG,
    "help": FLAG,
}
_CREATE = {
    "bundle": VALUE,
    "console-socket": VALUE,
    "pid-file": VALUE,
    "preserve-fds": VALUE,
    "no-pivot": FLAG,
    "no-new-keyring": FLAG,
}
_LIMITS = {
    "memory": VALUE,
    "memory-reservation": VALUE,
    "memory-swap": VALUE,
    "cpu-period": VALUE,
    "cpu-quota": VALUE,
    "cpu-share": VALUE,
    "cpuset-cpus": VALUE,
    "cpuset-mems": VALUE,
    "pids-limit": VALUE,
    "blkio-weight": VALUE,
}
# Of each verb: its options, their letters, and the module below labcontainer.runtime that does it.
VERBS: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "create": (_CREATE, {"b": "bundle"}, "verbs"),
    "run": (
        {**_CREATE, "detach": FLAG, "keep": FLAG, "no-subreaper": FLAG},
        {"b": "bundle", "d": "detach"},
        "verbs",
    ),
    "start": ({}, {}, "verbs"),
    "state": ({}, {}, "verbs"),
    "kill": ({"all": FLAG}, {"a": "all"}, "verbs"),
    "delete": ({"force": FLAG}, {"f": "force"}, "verbs"),
    "exec": (
        {
            "process": VALUE,
            "detach": FLAG,
            "tty": FLAG,
            "pid-file": VALUE,
            "cwd": VALUE,
            "console-socket": VALUE,
            "env": LIST,
            "user": VALUE,
            "additional-gids": LIST,
            "cap": LIST,
            "no-new-privs": FLAG,
            "preserve-fds": VALUE,
            "ignore-paused": FLAG,
        },
        {"p": "process", "d": "detach", "t": "tty", "e": "env", "u": "user"}
        | {"g": "additional-gids", "c": "cap"},
        "execs",
    ),
    "ps": ({"format": VALUE}, {"f": "format"}, "watching"),
    "list": ({"format": VALUE, "quiet": FLAG}, {"f": "format", "q": "quiet"}, "watching"),
    "events": ({"stats": FLAG, "interval": VALUE}, {}, "watching"),
    "pause": ({}, {}, "changing"),
    "resume": ({}, {}, "changing"),
    "update": ({**_LIMITS, "resources": VALUE}, {"r": "resources"}, "changing"),
    "spec": ({"bundle": VALUE, "rootless": FLAG}, {"b": "bundle"}, "describing"),
    "features": ({}, {}, "describing"),
    "checkpoint": ({}, {}, "describing"),
    "restore": ({}, {}, "describing"),
}
_WITHOUT_ID = ("list", "spec", "features", "checkpoint", "restore")


class Call:
    """One call of the command: where containers are remembered, the verb's words, the id."""

    def __init__(self, verb: str, overall: Words, own: Words, rest: list[str]) -> None:
        self.verb, self.overall, self.own = verb, overall, own
        self.id = own.rest[0] if own.rest and verb not in _WITHOUT_ID else ""
        self.rest = rest
        if not self.id and verb not in _WITHOUT_ID:
            raise UsageError(f"{verb}: the container's ID is missing")

    @property
    def root(self) -> str:
        """The directory of all containers."""
        from labcontainer.runtime import state

        return self.overall.get("root") or state.default_root()

    def preserved(self) -> int:
        """How many descriptors from 3 on the program gets. What `run` has of systemd comes too.

        Raises:
            UsageError: they are not all open, or only we have them open.
        """
        count = self.own.number("preserve-fds")
        if count < 0:
            raise UsageError(f"--preserve-fds: {count} is below 0")
        ours = os.environ.get("LISTEN_PID") == str(os.getpid())  # sd_listen_fds(3)
        if self.verb == "run" and ours:
            passed = os.environ.get("LISTEN_FDS", "")
            count += int(passed) if passed.isdecimal() else 0
        for fd in range(3, 3 + count):
            try:
                if os.get_inheritable(fd):
                    continue
            except OSError:
                pass
            raise UsageError(f"--preserve-fds: descriptor {fd} of {count} is not open")
        return count


def main(argv: list[str] | None = None) -> int:
    """Run one verb; 0, the program's own status for `run` and `exec`, or 1 and a line on stderr."""
    overall = Words()
    try:
        overall, rest = words.parse(sys.argv[1:] if argv is None else argv, GLOBAL, {}, 0)
        if overall.has("version") or rest[:1] == ["--version"]:
            return _version()
        if overall.has("help") or not rest or rest[0] == "help":
            return _help()
        return _verb(rest[0], overall, rest[1:])
    except BrokenPipeError:
        return 1
    except (LabError, OSError, RecursionError) as error:
        if overall.has("debug"):
            raise
        _tell(overall, _line(error))
        return 255 if rest[:1] == ["exec"] else 1
    except KeyboardInterrupt:
        return 130


def _verb(verb: str, overall: Words, rest: list[str]) -> int:
    if verb not in VERBS:
        raise UsageError(f"no such command: {verb!r} (there are: {', '.join(VERBS)})")
    if overall.has("systemd-cgroup"):
        raise LabError(
            "--systemd-cgroup is not supported: this runtime makes cgroups itself; "
            "use the engine's cgroupfs manager (podman: --cgroup-manager=cgroupfs)"
        )
    options, short, module = VERBS[verb]
    most = 2 if verb == "kill" else 1
    own, left = words.parse(rest, options, short, most)
    call = Call(verb, overall, own, left)
    functions = __import__(f"labcontainer.runtime.{module}", fromlist=[module])
    function: Callable[[Call], int] = getattr(functions, f"{verb}_")
    return function(call)


def _line(error: BaseException) -> str:
    """An error and what was noted on it, on one line."""
    text = "; ".join([str(error), *getattr(error, "__notes__", ())])
    return " ".join(text.split("\n"))


def _tell(overall: Words, line: str) -> None:
    """The reason on stderr, and as the last line of --log."""
    os.write(2, f"labcontainer-oci: {line}\n".encode(errors="surrogateescape"))
    path = overall.get("log")
    if not path:
        return
    from labcontainer.runtime import jsontext, state

    time = state.now()
    if overall.get("log-format") == "json":
        entry = jsontext.dumps({"level": "error", "msg": line, "time": time})
    else:
        entry = f"time={time} level=error msg={jsontext.dumps(line)}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.write(fd, f"{entry}\n".encode(errors="replace"))
        os.close(fd)
    except OSError as error:
        os.write(2, f"labcontainer-oci: --log {path}: {os.strerror(error.errno or 0)}\n".encode())


def _version() -> int:
    from labcontainer.runtime import template, version

    print(f"labcontainer-oci version {version.VERSION}\nspec: {template.VERSION_MAX}")
    return 0


def _help() -> int:
    print("usage: labcontainer-oci [--root DIR] [--log FILE] [--log-format text|json] VERB …\n")
    for verb, (options, _, _) in VERBS.items():
        shown = " ".join(f"[--{name}]" for name in options)
        print(f"  {verb} {shown}".rstrip())
    return 0


def command() -> NoReturn:
    """Be the command: run the verb and end, without the 1 ms that Python takes to clean up."""
    status = main()
    try:
        sys.stdout.flush()
    except OSError:
        status = status or 1
    os._exit(status)


if __name__ == "__main__":
    command()
