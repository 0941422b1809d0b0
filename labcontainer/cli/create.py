"""`labcontainer create`, and `run` by the daemon: the words of a command line as ContainerCreate.

The daemon remembers a container, so it can have more than one that runs alone: a restart policy,
labels, a log, health checks, named volumes, networks of one's own.
"""

from __future__ import annotations

import os
import sys

from labcontainer import errors
from labcontainer.cli import run as alone
from labcontainer.cli.run import Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any

    from labcontainer.client import api

    Given = dict[str, Any]

# The flags beside those of a container that runs alone. Whoever asks for one needs the daemon.
FLAGS = (
    Flag("annotation", "list", "KEY=VALUE", "an annotation for the runtime"),
    Flag("attach", "list", "STREAM", "stdin, stdout or stderr: only these", "a"),
    Flag("blkio-weight", "text", "N", "weight in reading and writing of disks, 10 to 1000"),
    Flag("blkio-weight-device", "list", "DEV:N", "the same for one disk"),
    Flag("cgroup-parent", "text", "PATH", "the group in which its own is made"),
    Flag("cidfile", "text", "FILE", "write the container's id there"),
    Flag("cpu-rt-period", "text", "USEC", "the period of --cpu-rt-runtime"),
    Flag("cpu-rt-runtime", "text", "USEC", "real-time processor time in each period"),
    Flag("detach", "switch", "", "in the background; prints the id", "d"),
    Flag("detach-keys", "text", "KEYS", "instead of ctrl-p,ctrl-q"),
    Flag("device-cgroup-rule", "list", "RULE", "a rule such as 'c 1:3 rwm'"),
    Flag("device-read-bps", "list", "DEV:SIZE", "most bytes read from a disk in a second"),
    Flag("device-read-iops", "list", "DEV:N", "most reads from a disk in a second"),
    Flag("device-write-bps", "list", "DEV:SIZE", "most bytes written to a disk in a second"),
    Flag("device-write-iops", "list", "DEV:N", "most writes to a disk in a second"),
    Flag("disable-content-trust", "switch", "", "taken for Docker's sake"),
    Flag("expose", "list", "PORT", "a port that others may want, without publishing it"),
    Flag("health-cmd", "text", "COMMAND", "is it healthy? Status 0 says yes"),
    Flag("health-interval", "text", "TIME", "between two checks, such as 30s"),
    Flag("health-retries", "text", "N", "failures in a row that make it unhealthy"),
    Flag("health-start-interval", "text", "TIME", "between two checks in the start period"),
    Flag("health-start-period", "text", "TIME", "failures that early do not count"),
    Flag("health-timeout", "text", "TIME", "a check that takes longer has failed"),
    Flag("ip", "text", "IP", "its address in the network"),
    Flag("ip6", "text", "IP", "its IPv6 address in the network"),
    Flag("label", "list", "KEY[=VALUE]", "a label", "l"),
    Flag("label-file", "list", "FILE", "a file of labels"),
    Flag("link", "list", "NAME[:ALIAS]", "another container's address by a name"),
    Flag("log-driver", "text", "NAME", "json-file, local or none"),
    Flag("log-opt", "list", "KEY=VALUE", "max-size=10m, max-file=3"),
    Flag("mac-address", "text", "MAC", "its link's address"),
    Flag("memory-swappiness", "text", "N", "0 to 100: how early memory goes to swap (version 1)"),
    Flag("network-alias", "list", "NAME", "one more name in the network"),
    Flag("no-healthcheck", "switch", "", "not the image's check either"),
    Flag("oom-kill-disable", "switch", "", "wait instead, when memory runs out (version 1)"),
    Flag("platform", "text", "OS/ARCH", "of an image for several"),
    Flag("publish-all", "switch", "", "publish all ports that the image exposes", "P"),
    Flag("quiet", "switch", "", "say nothing of pulls", "q"),
    Flag("restart", "text", "POLICY", "no, always, unless-stopped or on-failure[:N]"),
    Flag("runtime", "text", "NAME", "an OCI runtime other than our own"),
    Flag("sig-proxy", "switch", "", "pass signals on (default)"),
    Flag("stop-timeout", "text", "SECONDS", "before a stop becomes a kill, 10 by default"),
    Flag("volume-driver", "text", "NAME", "local"),
    Flag("volumes-from", "list", "CONTAINER[:ro]", "the volumes of another container"),
)  # fmt: skip
BY_NAME = alone.by_name(FLAGS)


def configure(parser: ArgumentParser) -> None:
    """The words of `labcontainer create`, for `--help`."""
    parser.usage = "labcontainer create [FLAG …] IMAGE [COMMAND …]"
    alone.describe(parser, (*alone.FLAGS, *FLAGS))


def parse(given_words: list[str]) -> tuple[Given, list[str]] | None:
    """(flags, [image, command …]); None when help is asked for.

    Raises:
        UsageError: an unknown flag, a missing value, no image.
    """
    given, rest = alone.cut(given_words)
    if "help" in given:
        return None
    if not rest:
        raise errors.UsageError("create needs the name of an image")
    return given, rest


def run(args: tuple[Given, list[str]]) -> int:
    """Make a container that can be started; prints its id."""
    from labcontainer.client import daemon

    print(create(daemon.client(), *args))
    return 0


def run_remembered(given: Given, rest: list[str]) -> int:
    """`labcontainer run` by the daemon; the exit status of the program."""
    from labcontainer.cli import sessions
    from labcontainer.client import daemon

    detach = bool(given.get("detach"))
    if detach and given.get("attach"):
        raise errors.UsageError("conflicting options: cannot specify both --attach and --detach")
    stdin, tty = bool(given.get("interactive")), bool(given.get("tty"))
    if not detach:
        sessions.check_terminal(stdin, tty)
    client = daemon.client()
    identity = create(client, given, rest)
    try:
        if not detach:
            return sessions.follow(
                client, identity, tty=tty, stdin=stdin, keys=given.get("detach-keys"),
                remove=bool(given.get("rm")),
            )  # fmt: skip
        client.post(f"/containers/{identity}/start")
    except errors.LabError as error:
        error.exit_status = _status_of(str(error))
        raise
    print(identity)
    return 0


def _status_of(problem: str) -> int:
    """The exit status for a program that was not started, told by the daemon's words as docker
    does: 127 where it is not there, 126 where it may not be run, 125 for all else."""
    if "executable file not found" in problem or "no such file or directory" in problem.lower():
        return 127
    cannot = ("permission denied", "is a directory")
    return 126 if any(word in problem.lower() for word in cannot) else alone.FAILURE


def create(client: api.Client, given: Given, rest: list[str]) -> str:
    """Create the container, pulling its image when it is missing; its id.

    Raises:
        ApiError, UsageError: it was not created.
    """
    from labcontainer.cli import creation
    from labcontainer.client.api import ApiError

    cidfile = given.get("cidfile", "")
    if cidfile and os.path.exists(cidfile):
        raise errors.ExistsError(f"container ID file {cidfile} exists: is another using it?")
    body = creation.body(given, rest[0], rest[1:])
    name, platform, when = given.get("name"), given.get("platform"), given.get("pull", "missing")
    if when not in ("always", "missing", "never"):
        raise errors.UsageError(f"invalid value {when!r} for --pull: always, missing or never")
    quiet = bool(given.get("quiet"))
    if when == "always":
        pull(client, rest[0], platform, quiet=quiet)
    try:
        made = client.post("/containers/create", body, name=name, platform=platform)
    except ApiError as error:
        if error.status != 404 or when != "missing" or "image" not in str(error).lower():
            raise
        if not quiet:
            print(f"Unable to find image '{rest[0]}' locally", file=sys.stderr)
        pull(client, rest[0], platform, quiet=quiet)
        made = client.post("/containers/create", body, name=name, platform=platform)
    for warning in made.get("Warnings") or []:
        print(f"WARNING: {warning}", file=sys.stderr)
    if cidfile:
        with open(cidfile, "x") as file:
            file.write(made["Id"])
    return str(made["Id"])


def pull(client: api.Client, image: str, platform: str | None, *, quiet: bool = False) -> None:
    """Have the daemon pull an image; its progress goes to standard error.

    Raises:
        LabError: it could not.
    """
    from labcontainer.client import progress
    from labcontainer.image import reference

    asked = reference.parse(image)
    tag = asked.digest or asked.tag or reference.DEFAULT_TAG
    stream = client.stream(
        "POST", "/images/create", platform=platform, fromImage=asked.name, tag=tag
    )
    with open(os.devnull, "w") as nothing:
        progress.show(stream, nothing if quiet else sys.stderr)
