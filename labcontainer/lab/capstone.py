"""A box for a stranger's program: all layers of the course, one over the other, and a verdict.

    judge                              PID 1 of the box               the program
      │ clone3: user, pid, mount, … ─────▶ waits
      │ write_maps, group.add
      │ ── go ─────────────────────────────▶ furnish
      │                                      fork ──────────────────────▶ give_up, limit, execve
      │ ◀═══ output: `collect` takes no more than it may ══════════════════ prints
      │ ◀── report: status, time, peak ───── supervise                      ends
      │                                      ends, and the kernel kills what is left in the box

The five parts are exercises of notebook 21; `parts` puts the learner's own in their place, and
below them the functions of the ladder that the learner wrote in earlier notebooks.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from labcontainer import capabilities, cgroups, namespaces, rootfs, seccomp, seccomp_default, users
from labcontainer.errors import LabError
from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import AT, MOUNT_ATTR, MS, PR
from labcontainer.lab import student
from labcontainer.record import Record
from labcontainer.runtime import using

ROOM = "/mnt"  # where the box's root is built: an empty tmpfs in every sandbox of the lab
PYTHON = os.path.realpath(sys.executable)
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
STRANGER = 64_123  # the box's root outside, where the judge is the machine's root: nobody's number
KINDS = {  # the namespaces that a layer brings
    "namespaces": ("user", "pid", "ipc", "uts", "cgroup"),
    "root": ("mount",),
    "network": ("network",),
}
PARTS = ("limit", "furnish", "give_up", "supervise", "collect")
LAYERS = ("clean", "namespaces", "root", "network", "limits", "output", "capabilities", "seccomp")
LIMITS: dict[str, Any] = {
    "seconds": 2,  # of the processor
    "wall": 60.0,  # of the clock on the wall: for who sleeps
    "memory": 48 << 20,  # of each process
    "together": 128 << 20,  # of all of them, where a group counts it
    "processes": 8,  # at once, with the box's PID 1
    "files": 32,  # open ones
    "file": 8 << 20,  # the largest
    "disk": 16 << 20,  # all of /tmp
    "output": 64 << 10,
    "group": "",  # the name of a cgroup of the judge's, where there can be one
}


# --- the parts ------------------------------------------------------------------------------------


def limit(limits: dict[str, Any]) -> None:
    """Put this process, and all that it starts, under limits that none of them can lift.

    `memory` is counted in pages that were touched, RLIMIT_AS in addresses: it gets twice as much.
    """
    for kind, most in (
        (resource.RLIMIT_CPU, limits["seconds"]),
        (resource.RLIMIT_AS, 2 * limits["memory"]),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_NOFILE, limits["files"]),
        (resource.RLIMIT_FSIZE, limits["file"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def furnish(root: str, paths: Sequence[str], disk: int) -> None:
    """Make `root` a root directory of the box's own, and enter it: of the machine only `paths`."""
    syscalls.mount(None, "/", None, MS.REC | MS.PRIVATE)
    syscalls.mount("box", root, "tmpfs", MS.NOSUID | MS.NODEV, "mode=755,size=1m")
    for path in paths:
        show(path, root + path)
    for name, fstype, options in (("proc", "proc", None), ("tmp", "tmpfs", f"size={disk}")):
        os.mkdir(f"{root}/{name}")
        flags = MS.NOSUID | MS.NODEV | MS.NOEXEC
        syscalls.mount(name, f"{root}/{name}", fstype, flags, options)
    rootfs.pivot_root(root)
    syscalls.mount(None, "/", None, MS.REMOUNT | MS.BIND | MS.RDONLY | MS.NOSUID | MS.NODEV)
    os.chdir("/tmp")


def show(path: str, target: str) -> None:
    """One directory of the machine in the box, read-only with all mounts below it."""
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    os.makedirs(target)
    syscalls.mount(path, target, None, MS.BIND | MS.REC)
    closed = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV
    syscalls.mount_setattr(-1, target, AT.RECURSIVE, attr_set=closed)


def give_up(screen: seccomp.Program | None) -> None:
    """Let go of all that a stranger must not have: descriptors, capabilities, system calls."""
    syscalls.close_range(3)
    capabilities.apply_bounding(())
    capabilities.apply(capabilities.Sets(), no_new_privs=True)
    if screen is not None:
        seccomp.install(screen)


def supervise(pid: int) -> dict[str, Any]:
    """Be PID 1 until the program has ended; its status, processor seconds and peak of memory.

    Orphans of the program are children of PID 1: their ends are not the program's.
    """
    while True:
        ended, status, used = os.wait3(0)
        if ended == pid:
            seconds = used.ru_utime + used.ru_stime
            status = os.waitstatus_to_exitcode(status)
            return {"status": status, "seconds": seconds, "peak": used.ru_maxrss << 10}


def collect(fd: int, most: int, deadline: float) -> tuple[bytes, str]:
    """What comes out of a pipe, no more than `most` bytes and no later than the deadline.

    With it why it ended: "" (the pipe did), "output", "wall clock".
    """
    said = b""
    while len(said) <= most:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return said, "wall clock"
        part = os.read(fd, min(most + 1 - len(said), 1 << 16))
        if not part:
            return said, ""
        said += part
    return said[:most], "output"


def parts() -> dict[str, Callable[..., Any]]:
    """The five parts: the learner's where done, over their own ladder; else those of this file."""
    found: dict[str, Callable[..., Any]] = {name: globals()[name] for name in PARTS}
    folder = student.package()
    if not (folder / "replaces.json").exists():
        return found
    using.install(str(folder))
    if (folder / "capstone.py").exists():
        own = importlib.import_module("mycontainer.capstone")
        found |= {name: getattr(own, name) for name in PARTS if hasattr(own, name)}
    return found


# --- the judge ------------------------------------------------------------------------------------


class Box(Record):
    """What is to be run, in which layers, by which parts."""

    program: str
    limits: dict[str, Any]
    layers: Collection[str]
    part: dict[str, Callable[..., Any]]
    screen: seccomp.Program | None = None


def judge(
    program: str, limits: dict[str, Any] = LIMITS, layers: Collection[str] = LAYERS
) -> dict[str, Any]:
    """Run a stranger's Python program in a box with these layers; the verdict.

    The caller has one thread. Raises OSError where the kernel refuses a layer: nothing has run.
    """
    deadline = time.monotonic() + limits["wall"]
    screen = seccomp.compile(seccomp_default.default_profile(())) if "seccomp" in layers else None
    group = new_group(limits) if "limits" in layers else None
    pid, go, output, report = make(Box(program, limits, layers, parts(), screen))
    try:
        admit(pid, group, mapped="namespaces" in layers)
        os.write(go, b"go")
        most = limits["output"] if "output" in layers else 1 << 30
        said, taken = collect(output, most, deadline)
        told, late = (b"", "") if taken else collect(report, 4096, deadline)
        found = json.loads(told.partition(b"\n")[0] or b"{}")
        ended = taken or late or why(found, limits, group.oom_kills() if group else 0)
        return {"ended": ended, "output": said.decode(errors="replace"), **found}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (go, output, report):
            os.close(fd)
        if group:
            group.__exit__()


def make(box: Box) -> tuple[int, int, int, int]:
    """Start the box's PID 1, which waits: (pid, where to say go, its output, its report)."""
    names = [kind for layer in box.layers for kind in KINDS.get(layer, ())]
    ready, go = os.pipe()
    output, prints = os.pipe()
    report, tells = os.pipe()
    pid, _ = syscalls.clone3(namespaces.clone_flags(names))
    if pid == 0:
        try:
            syscalls.prctl(PR.SET_PDEATHSIG, signal.SIGKILL)
            os.close(go)
            if os.read(ready, 2) == b"go":
                inside(box, prints, tells)
        finally:
            os._exit(1)
    for fd in (ready, prints, tells):
        os.close(fd)
    return pid, go, output, report


def admit(pid: int, group: cgroups.Cgroup | None, *, mapped: bool = True) -> None:
    """The judge's half: who the box's root is outside, and the group that counts it."""
    if mapped:
        one = users.IdMap(0, STRANGER if is_machines_root() else 0, 1)
        users.write_maps(pid, [one], [one])
    if group:
        group.add(pid)


def inside(box: Box, prints: int, tells: int) -> None:
    """PID 1 of the box: furnish it, start the program, report how it ended."""
    null = os.open("/dev/null", os.O_RDWR)
    if "namespaces" in box.layers:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        syscalls.prctl(PR.SET_DUMPABLE, 0)  # the program is the same user: it may not look into us
    if "root" in box.layers:
        box.part["furnish"](ROOM, shown(), box.limits["disk"])
    child = os.fork()
    if child == 0:
        try:
            start(box, null, prints)
        finally:
            os._exit(126)
    os.close(prints)
    os.write(tells, json.dumps(box.part["supervise"](child)).encode() + b"\n")
    os._exit(0)


def start(box: Box, null: int, prints: int) -> None:
    """Become the program, with nothing of the judge's in its hands."""
    clean = "clean" in box.layers
    for fd, source in ((0, null if clean else 0), (1, prints), (2, prints)):
        os.dup2(source, fd)
    if "capabilities" in box.layers:
        box.part["give_up"](box.screen)
    elif clean:
        syscalls.close_range(3)
    if "limits" in box.layers:
        box.part["limit"](box.limits)
    environment = ENVIRONMENT if clean else dict(os.environ)
    os.execve(PYTHON, [PYTHON, "-I", "-S", "-c", box.program], environment)


def why(report: dict[str, Any], limits: dict[str, Any], kills: int) -> str:
    """What ended a program, in a word: a limit, a signal, or itself."""
    if not report:
        return "lost"
    if kills or report["peak"] > limits["memory"]:
        return "memory"
    status = report["status"]
    # Used time and the limit are counted by two clocks of the kernel, the latter a coarse one.
    if status == -signal.SIGKILL and report["seconds"] > limits["seconds"] / 2:
        return "processor time"
    return signal.Signals(-status).name if status < 0 else f"exit {status}"


def shown() -> tuple[str, ...]:
    """What a box shows of the machine: programs and libraries, and this Python where it lies."""
    usual = ("/usr", "/bin", "/lib", "/lib64")
    homes = () if sys.base_prefix.startswith("/usr") else (sys.base_prefix,)
    return tuple(path for path in (*usual, *homes) if os.path.exists(path))


def is_machines_root() -> bool:
    """Whether root of the caller's user namespace is root of the machine."""
    return files.read("/proc/self/uid_map").split()[:2] == ["0", "0"]


def new_group(limits: dict[str, Any]) -> cgroups.Cgroup | None:
    """The cgroup that `limits` names, with its limits set; None where this user can have none."""
    layout = cgroups.detect() if limits.get("group") else None
    if layout is None or layout.kind == "none":
        return None
    group = cgroups.Cgroup(limits["group"], layout)
    group.create()
    try:
        memory = limits["together"]
        group.apply(cgroups.Limits(memory=memory, memory_swap=memory, pids=limits["processes"]))
    except (LabError, OSError):
        group.delete()
        return None
    return group
