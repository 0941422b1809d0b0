"""`start stop restart kill pause unpause rm rename wait update`: what a container goes through.

Each takes several containers; one that can't be done is told and does not keep the others from it.
"""

from __future__ import annotations

import sys

from labcontainer import errors
from labcontainer.client import api, daemon
from labcontainer.engine import words as words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from typing import Any


def for_each(names: list[str], act: Callable[[str], object]) -> int:
    """Do it to each and print the name; errors go to standard error. 1 if there were any."""
    status = 0
    for name in names:
        try:
            answer = act(name)
        except api.ApiError as error:
            print(f"Error response from daemon: {error}", file=sys.stderr)
            status = 1
        else:
            print(name if answer is None else answer)
    return status


def _containers(parser: ArgumentParser) -> None:
    parser.add_argument("containers", nargs="+", metavar="CONTAINER", help="names or ids")


def _signal(parser: ArgumentParser, help: str) -> None:
    parser.add_argument("-s", "--signal", metavar="SIGNAL", help=help)


def _timeout(parser: ArgumentParser) -> None:
    _signal(parser, "instead of the image's stop signal")
    parser.add_argument("-t", "--timeout", "--time", type=int, metavar="SECONDS",
                        help="before it is killed; -1 is for ever, default 10")  # fmt: skip


def configure_start(parser: ArgumentParser) -> None:
    """The words of `labcontainer start`."""
    parser.add_argument("-a", "--attach", action="store_true", help="show its output")
    parser.add_argument("-i", "--interactive", action="store_true", help="connect its input too")
    parser.add_argument("--detach-keys", metavar="KEYS", help="instead of ctrl-p,ctrl-q")
    _containers(parser)


def run_start(args: Namespace) -> int:
    """Start containers that were created or have ended."""
    if args.attach or args.interactive:
        if len(args.containers) != 1:
            raise errors.UsageError("you cannot start and attach multiple containers at once")
        from labcontainer.cli import sessions

        return sessions.start_attached(
            args.containers[0], stdin=args.interactive, keys=args.detach_keys
        )
    client = daemon.client()
    return for_each(args.containers, lambda name: client.post(f"/containers/{name}/start"))


def configure_stop(parser: ArgumentParser) -> None:
    """The words of `labcontainer stop`."""
    _timeout(parser)
    _containers(parser)


def run_stop(args: Namespace) -> int:
    """Ask containers to end, and kill those that do not in time."""
    return _with_timeout(args, "stop")


def configure_restart(parser: ArgumentParser) -> None:
    """The words of `labcontainer restart`."""
    _timeout(parser)
    _containers(parser)


def run_restart(args: Namespace) -> int:
    """Stop and start containers."""
    return _with_timeout(args, "restart")


def _with_timeout(args: Namespace, verb: str) -> int:
    client = daemon.client()

    def act(name: str) -> object:
        return client.post(f"/containers/{name}/{verb}", t=args.timeout, signal=args.signal)

    return for_each(args.containers, act)


def configure_kill(parser: ArgumentParser) -> None:
    """The words of `labcontainer kill`."""
    _signal(parser, "the signal to send, KILL by default")
    _containers(parser)


def run_kill(args: Namespace) -> int:
    """Send a signal to containers' first processes."""
    client = daemon.client()

    def act(name: str) -> object:
        return client.post(f"/containers/{name}/kill", signal=args.signal)

    return for_each(args.containers, act)


def configure_pause(parser: ArgumentParser) -> None:
    """The words of `labcontainer pause`."""
    _containers(parser)


def run_pause(args: Namespace) -> int:
    """Freeze all processes of containers."""
    client = daemon.client()
    return for_each(args.containers, lambda name: client.post(f"/containers/{name}/pause"))


def configure_unpause(parser: ArgumentParser) -> None:
    """The words of `labcontainer unpause`."""
    _containers(parser)


def run_unpause(args: Namespace) -> int:
    """Let the processes of frozen containers go on."""
    client = daemon.client()
    return for_each(args.containers, lambda name: client.post(f"/containers/{name}/unpause"))


def configure_rm(parser: ArgumentParser) -> None:
    """The words of `labcontainer rm`."""
    parser.add_argument("-f", "--force", action="store_true", help="kill a running one first")
    parser.add_argument("-v", "--volumes", action="store_true", help="its anonymous volumes too")
    parser.add_argument("-l", "--link", action="store_true", help="only the link of that name")
    _containers(parser)


def run_rm(args: Namespace) -> int:
    """Remove containers with what they wrote."""
    client = daemon.client()

    def act(name: str) -> object:
        path = f"/containers/{name.lstrip('/')}"
        return client.delete(path, force=args.force, v=args.volumes, link=args.link)

    return for_each(args.containers, act)


def configure_rename(parser: ArgumentParser) -> None:
    """The words of `labcontainer rename`."""
    parser.add_argument("container", metavar="CONTAINER", help="name or id")
    parser.add_argument("name", metavar="NEW_NAME", help="the name it gets")


def run_rename(args: Namespace) -> int:
    """Give a container another name."""
    daemon.client().post(f"/containers/{args.container}/rename", name=args.name)
    return 0


def configure_wait(parser: ArgumentParser) -> None:
    """The words of `labcontainer wait`."""
    _containers(parser)


def run_wait(args: Namespace) -> int:
    """Wait until containers have ended; prints their exit statuses."""
    client = daemon.client()
    return for_each(
        args.containers, lambda name: client.post(f"/containers/{name}/wait")["StatusCode"]
    )


# --- update -------------------------------------------------------------------------------------

UPDATES = (
    ("blkio-weight", "N", "weight in reading and writing of disks, 10 to 1000"),
    ("cpu-period", "USEC", "the period of --cpu-quota"),
    ("cpu-quota", "USEC", "processor time in each period"),
    ("cpu-rt-period", "USEC", "the period of --cpu-rt-runtime"),
    ("cpu-rt-runtime", "USEC", "real-time processor time in each period"),
    ("cpus", "N", "number of processors, such as 0.5"),
    ("cpuset-cpus", "LIST", "processors that may be used, such as 0-3"),
    ("cpuset-mems", "LIST", "memory nodes that may be used"),
    ("memory-reservation", "SIZE", "memory kept for it under pressure"),
    ("memory-swap", "SIZE", "memory and swap together; -1 is without limit"),
    ("pids-limit", "N", "most processes at once; -1 is without limit"),
    ("restart", "POLICY", "no, always, unless-stopped or on-failure[:N]"),
)


def configure_update(parser: ArgumentParser) -> None:
    """The words of `labcontainer update`."""
    for name, meta, help in UPDATES:
        parser.add_argument(f"--{name}", metavar=meta, help=help)
    parser.add_argument("-c", "--cpu-shares", metavar="N", help="relative weight, 1024 is usual")
    parser.add_argument("-m", "--memory", metavar="SIZE", help="memory limit, such as 64m")
    _containers(parser)


def run_update(args: Namespace) -> int:
    """Change the limits of containers, also while they run."""
    body = update_body(args)
    if not body:
        raise errors.UsageError("you must provide one or more flags when using this command")
    client = daemon.client()
    return for_each(args.containers, lambda name: _update(client, name, body))


def _update(client: api.Client, name: str, body: dict[str, Any]) -> None:
    answer = client.post(f"/containers/{name}/update", body)
    for warning in (answer or {}).get("Warnings") or []:
        print(f"WARNING: {warning}", file=sys.stderr)


def update_body(args: Namespace) -> dict[str, Any]:
    """The body of ContainerUpdate, of the words that were given.

    Raises:
        UsageError: a word is off.
    """
    body: dict[str, Any] = {}
    sizes = (("memory", "Memory"), ("memory_reservation", "MemoryReservation"))
    for word, field in sizes:
        if (given := getattr(args, word)) is not None:
            body[field] = words_of.size(f"--{word.replace('_', '-')}", given)
    if args.memory_swap is not None:
        swap = args.memory_swap
        body["MemorySwap"] = -1 if swap == "-1" else words_of.size("--memory-swap", swap)
    numbers = (("cpu_period", "CpuPeriod"), ("cpu_quota", "CpuQuota"), ("cpu_shares", "CpuShares"),
               ("pids_limit", "PidsLimit"), ("blkio_weight", "BlkioWeight"),
               ("cpu_rt_period", "CpuRealtimePeriod"),
               ("cpu_rt_runtime", "CpuRealtimeRuntime"))  # fmt: skip
    for word, field in numbers:
        if (given := getattr(args, word)) is not None:
            body[field] = words_of.whole(f"--{word.replace('_', '-')}", given, -1)
    for word, field in (("cpuset_cpus", "CpusetCpus"), ("cpuset_mems", "CpusetMems")):
        if (given := getattr(args, word)) is not None:
            body[field] = words_of.number_list(f"--{word.replace('_', '-')}", given)
    if args.cpus is not None:
        body["NanoCpus"] = words_of.cpus(args.cpus) * 10_000  # of a period of 100 ms
    if args.restart is not None:
        body["RestartPolicy"] = restart_policy(args.restart)
    return body


def restart_policy(word: str) -> dict[str, Any]:
    """A HostConfig's RestartPolicy from `on-failure:3`.

    Raises:
        UsageError: there is no such policy.
    """
    name, colon, count = word.partition(":")
    if name not in ("no", "always", "unless-stopped", "on-failure") or (
        colon and (name != "on-failure" or not count.isdecimal())
    ):
        why = "it is no, always, unless-stopped or on-failure[:N]"
        raise errors.UsageError(f"invalid value {word!r} for --restart: {why}")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}
