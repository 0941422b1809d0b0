"""`exec` and `attach`: the caller's terminal or pipes at a container of the daemon's."""

from __future__ import annotations

import os
import sys

from labcontainer import errors
from labcontainer.client import api, attach, daemon
from labcontainer.engine import streams
from labcontainer.engine import words as words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from typing import Any


# --- attach and start -a --------------------------------------------------------------------------


def configure_attach(parser: ArgumentParser) -> None:
    """The words of `labcontainer attach`."""
    parser.add_argument("--detach-keys", metavar="KEYS", help="instead of ctrl-p,ctrl-q")
    parser.add_argument("--no-stdin", action="store_true", help="leave its input alone")
    parser.add_argument("--sig-proxy", nargs="?", const="true", default="true", metavar="BOOL",
                        help="pass signals on (default)")  # fmt: skip
    parser.add_argument("container", metavar="CONTAINER", help="name or id")


def run_attach(args: Namespace) -> int:
    """Connect to a running container; its exit status when it ends meanwhile."""
    client = daemon.client()
    found = client.get(f"/containers/{args.container}/json")
    if not found["State"]["Running"]:
        raise errors.StateError("You cannot attach to a stopped container, start it first")
    if found["State"]["Paused"]:
        raise errors.StateError("You cannot attach to a paused container, unpause it first")
    tty = bool(found["Config"]["Tty"])
    stdin = not args.no_stdin and bool(found["Config"]["OpenStdin"])
    check_terminal(stdin, tty)
    identity = str(found["Id"])
    proxy = args.sig_proxy.lower() not in ("false", "0")
    with streams.Signals() as signals:
        ask = {"stream": True, "stdout": True, "stderr": True, "stdin": stdin}
        # Asked before its end: its output may end before the daemon knows how it has ended.
        waiting = client.send("POST", f"/containers/{identity}/wait", {})
        sock, early = client.hijack(
            f"/containers/{identity}/attach", None, detachKeys=args.detach_keys, **ask
        )
        on_signal = passing(client, identity) if proxy and not tty else None
        resize = resizing(client, f"/containers/{identity}") if tty else None
        session = attach.Session(sock, early, tty=tty, stdin=stdin, resize=resize,
                                 on_signal=on_signal, keys=args.detach_keys)  # fmt: skip
        session.run(signals)
        sock.close()
        if session.detached:
            waiting.close()
            return 0
    return status_of(waiting)


def start_attached(name: str, *, stdin: bool, keys: str | None) -> int:
    """Attach to a container, start it, and stay until it ends; its exit status."""
    client = daemon.client()
    found = client.get(f"/containers/{name}/json")
    tty = bool(found["Config"]["Tty"])
    stdin = stdin and bool(found["Config"]["OpenStdin"])
    check_terminal(stdin, tty)
    return follow(client, str(found["Id"]), tty=tty, stdin=stdin, keys=keys, remove=False)


def follow(
    client: api.Client, identity: str, *, tty: bool, stdin: bool, keys: str | None, remove: bool
) -> int:
    """Attach, start, copy until the end, and tell the exit status: `run` in the foreground.

    The answer of `wait` is asked for before the start: a container that is removed when it ends
    could be gone before anybody asked how it ended.
    """
    with streams.Signals() as signals:
        sock, early = client.hijack(
            f"/containers/{identity}/attach", None, stream=True, stdout=True, stderr=True,
            stdin=stdin, detachKeys=keys,
        )  # fmt: skip
        condition = "removed" if remove else "next-exit"
        waiting = client.send("POST", f"/containers/{identity}/wait", {"condition": condition})
        client.post(f"/containers/{identity}/start")
        resize = resizing(client, f"/containers/{identity}") if tty else None
        on_signal = None if tty else passing(client, identity)
        session = attach.Session(sock, early, tty=tty, stdin=stdin, resize=resize,
                                 on_signal=on_signal, keys=keys)  # fmt: skip
        session.run(signals)
        sock.close()
        if session.detached:
            waiting.close()
            return 0
    return status_of(waiting)


def status_of(waiting: Any) -> int:
    """The exit status in the answer of `wait`.

    Raises:
        LabError: the daemon could not wait.
    """
    found = next(iter(api.objects(waiting)), None)
    waiting.close()
    if found is None:
        raise errors.LabError("the daemon ended before the container did")
    if (found.get("Error") or {}).get("Message"):
        raise errors.LabError(found["Error"]["Message"])
    return int(found["StatusCode"])


def check_terminal(stdin: bool, tty: bool) -> None:
    """Refuse a terminal's program whose input is a pipe.

    Raises:
        UsageError: there is no terminal here.
    """
    if stdin and tty and not os.isatty(0):
        raise errors.UsageError("the input device is not a TTY")


def passing(client: api.Client, identity: str) -> Callable[[int], None]:
    """What passes a signal of ours on to a container."""

    def pass_on(number: int) -> None:
        import signal

        try:
            client.post(f"/containers/{identity}/kill", signal=signal.Signals(number).name)
        except api.ApiError:
            pass  # it has just ended

    return pass_on


def resizing(client: api.Client, path: str) -> Callable[[int, int], None]:
    """What tells a terminal's size; a program that has just ended has none."""

    def resize(rows: int, columns: int) -> None:
        try:
            client.post(f"{path}/resize", h=rows, w=columns)
        except api.ApiError:
            pass

    return resize


# --- exec -----------------------------------------------------------------------------------------


def configure_exec(parser: ArgumentParser) -> None:
    """The words of `labcontainer exec`."""
    add = parser.add_argument
    add("-d", "--detach", action="store_true", help="do not wait for it")
    add("--detach-keys", metavar="KEYS", help="instead of ctrl-p,ctrl-q")
    add("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="a variable")
    add("--env-file", action="append", default=[], metavar="FILE", help="a file of variables")
    add("-i", "--interactive", action="store_true", help="connect standard input")
    add("--privileged", action="store_true", help="with all capabilities")
    add("-t", "--tty", action="store_true", help="a terminal of its own")
    add("-u", "--user", default="", metavar="USER[:GROUP]", help="who runs it")
    add("-w", "--workdir", default="", metavar="DIR", help="where it starts")
    add("container", metavar="CONTAINER", help="name or id")
    import argparse

    add("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the program and its words")


def run_exec(args: Namespace) -> int:
    """Run one more program in a running container; its exit status."""
    if not args.command:
        raise errors.UsageError("exec needs a container and a command")
    stdin = args.interactive and not args.detach
    check_terminal(stdin, args.tty)
    client = daemon.client()
    body = {
        "AttachStdin": stdin, "AttachStdout": not args.detach, "AttachStderr": not args.detach,
        "Cmd": args.command, "DetachKeys": args.detach_keys or "", "Tty": args.tty,
        "Env": list(words_of.environment(args.env, args.env_file)), "Privileged": args.privileged,
        "User": args.user, "WorkingDir": args.workdir,
    }  # fmt: skip
    identity = client.post(f"/containers/{args.container}/exec", body)["Id"]
    if args.detach:
        client.post(f"/exec/{identity}/start", {"Detach": True, "Tty": args.tty})
        return 0
    with streams.Signals() as signals:
        sock, early = client.hijack(f"/exec/{identity}/start", {"Detach": False, "Tty": args.tty})
        resize = resizing(client, f"/exec/{identity}") if args.tty else None
        attach.Session(sock, early, tty=args.tty, stdin=stdin, resize=resize).run(signals)
        sock.close()
    found = client.get(f"/exec/{identity}/json")
    return 0 if found["Running"] else int(found["ExitCode"] or 0)


# --- logs -----------------------------------------------------------------------------------------


def configure_logs(parser: ArgumentParser) -> None:
    """The words of `labcontainer logs`."""
    add = parser.add_argument
    add("--details", action="store_true", help="what --log-opt labels and env added")
    add("-f", "--follow", action="store_true", help="go on as it says more")
    add("--since", default="", metavar="TIME", help="from then on: 2026-01-02T13:00:00Z or 10m")
    add("--until", default="", metavar="TIME", help="up to then")
    add("-n", "--tail", default="all", metavar="LINES", help="only so many from the end")
    add("-t", "--timestamps", action="store_true", help="when each line was written")
    add("container", metavar="CONTAINER", help="name or id")


def run_logs(args: Namespace) -> int:
    """Print what a container has said."""
    from labcontainer.client.http import frames
    from labcontainer.engine import moments

    client = daemon.client()
    tty = client.get(f"/containers/{args.container}/json")["Config"]["Tty"]
    response = client.download(
        f"/containers/{args.container}/logs", stdout=True, stderr=True, follow=args.follow,
        since=moments.stamp(args.since), until=moments.stamp(args.until), tail=args.tail,
        timestamps=args.timestamps, details=args.details,
    )  # fmt: skip
    try:
        for stream, data in ((1, part) for part in response) if tty else frames(response):
            attach.write(2 if stream == 2 else 1, data)
    except KeyboardInterrupt:
        return 130
    finally:
        sys.stdout.flush()
        response.close()
    return 0
