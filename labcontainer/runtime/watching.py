"""`ps`, `list`, `events`: what goes on in containers."""

from __future__ import annotations

import os
import select

from labcontainer import cgroups
from labcontainer.errors import LabError, NotFoundError, UsageError
from labcontainer.kernel import syscalls
from labcontainer.runtime import jsontext, lifecycle, state
from labcontainer.runtime.oci import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def _format(call: Call) -> str:
    chosen = call.own.get("format", "table")
    if chosen not in ("table", "json"):
        raise UsageError(f"--format: {chosen!r} is neither table nor json")
    return chosen


def _group(remembered: state.State) -> cgroups.Cgroup:
    group = cgroups.reopen(remembered.cgroup)
    if group is None:
        raise LabError(f"container {remembered.id} has no cgroup: nothing counts its processes")
    return group


def ps_(call: Call) -> int:
    """The processes of a container, as numbers of the host."""
    remembered = state.Directory(call.root, call.id).load()
    pids = sorted(_group(remembered).procs())
    if _format(call) == "json":
        print(jsontext.dumps(pids))
        return 0
    import subprocess

    words = call.rest or ["-ef"]
    shown = subprocess.run(["ps", *words], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise LabError(f"ps {' '.join(words)}: {shown.stderr.strip()}")
    head, *lines = shown.stdout.splitlines()
    if "PID" not in head.split():
        raise UsageError("ps: the chosen columns have no PID")
    column = head.split().index("PID")
    chosen = [line for line in lines if line.split()[column] in map(str, pids)]
    print("\n".join([head, *chosen]))
    return 0


def _all(root: str) -> Iterator[tuple[state.Directory, state.State]]:
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return
    for name in names:
        try:
            directory = state.Directory(root, name)
            yield directory, directory.load()
        except (NotFoundError, UsageError, NotADirectoryError):
            continue  # being created, or not one of ours


def list_(call: Call) -> int:
    """Every container under the root."""
    found = [state.to_oci(directory, one) for directory, one in _all(call.root)]
    if call.own.has("quiet"):
        print("".join(f"{one['id']}\n" for one in found), end="")
    elif _format(call) == "json":
        print(jsontext.dumps(found))
    else:
        rows: list[tuple[str, ...]] = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        names = ("id", "pid", "status", "bundle", "created", "owner")
        rows += [tuple(str(one[name]) for name in names) for one in found]
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        for row in rows:
            print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)))
    return 0


def events_(call: Call) -> int:
    """What the container uses, once with --stats or every --interval; and its OOM kills."""
    directory = state.Directory(call.root, call.id)
    remembered = directory.load()
    if directory.status(remembered) == lifecycle.STOPPED:
        raise LabError(f"container with id {call.id} is not running")
    group = _group(remembered)
    if call.own.has("stats"):
        _print("stats", call.id, group.stats())
        return 0
    _follow(call, remembered.pid, group)
    return 0


def _follow(call: Call, pid: int, group: cgroups.Cgroup) -> None:
    seconds = _seconds(call.own.get("interval", "5s"))
    pidfd, watch = syscalls.pidfd_open(pid), group.watch_oom()
    poll, kills = select.poll(), group.oom_kills()
    poll.register(pidfd, select.POLLIN)
    poll.register(watch.fileno(), select.POLLIN | select.POLLPRI)
    while True:
        events = dict(poll.poll(seconds * 1000))
        if watch.fileno() in events:
            watch.wait(0)
            now = group.oom_kills()
            for _ in range(now - kills):
                _print("oom", call.id, None)
            kills = now
        if pidfd in events:
            return
        if not events:
            _print("stats", call.id, group.stats())


def _seconds(text: str) -> float:
    """A time as Go writes it, with one unit: 5s, 500ms, 2m."""
    for unit, length in (("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)):
        if text.endswith(unit):
            try:
                seconds = float(text.removesuffix(unit)) * length
            except ValueError:
                break
            if 0 < seconds < 1e6:
                return seconds
            break
    raise UsageError(f"--interval: {text!r} is no time such as 5s")


def _print(kind: str, container_id: str, data: Any) -> None:
    event = {"type": kind, "id": container_id} | ({"data": data} if data is not None else {})
    print(jsontext.dumps(event), flush=True)
