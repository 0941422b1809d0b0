"""The guest's first root: a cpio archive that its kernel unpacks into memory, and runs /init of.

What is in it comes from this machine: busybox with its commands, Python as far as the agent needs
it, each with the libraries that it is linked to (as base images are made, image/hostbase.py), the
kernel's modules, the agent, and the script /init. The script's steps can be printed without
booting.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import stat
import subprocess

from labcontainer.image import closure, hostbase
from labcontainer.image.entries import Entry
from labcontainer.record import Record
from labcontainer.vm import cpio, kernels
from labcontainer.vm.boot import CONTROLLERS, Step, line_of
from labcontainer.vm.guest import GUEST_ENV

LINE = "/dev/vport0p1"  # the first port of the first virtio console
ROOT = "/guest"
AGENT = ("agent.py", "frames.py")
DISK, TREE = "disk", "tree"
SHARE = "share"
# 9p: files by messages to QEMU, which answers them from the host's. What nobody else changes may
# be kept in memory (loose); of what is shared to be written only what is mapped.
_9P = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144"
_BELOW = {
    DISK: "mount -t ext4 -o ro /dev/vda /below",
    TREE: f"{_9P},ro,cache=loose root /below",
}
# What the agent loads at its start and later, and small programs like it: the interpreter tells.
_ASK = """
import agent, json, os, mmap, resource, signal, socket, struct, sys, time, warnings
names = ("__file__", "__cached__")
files = [getattr(module, name, None) for module in sys.modules.values() for name in names]
print(json.dumps(sorted({file for file in files if file and not file.startswith(sys.path[0])})))
"""


class Contents(Record):
    """What a guest is made of: the kernel whose modules go in, the name of the machine, where
    programs have their root ("" for this archive itself, DISK or TREE, which QEMU brings), whether
    there is a disk to write to, and directories of the host that are shared with it."""

    kernel: kernels.Kernel
    hostname: str = "vm"
    root: str = ""
    scratch: bool = False
    shares: tuple[str, ...] = ()


def plan(contents: Contents) -> tuple[Step, ...]:
    """The steps of /init, in their order."""
    mount = "mount -t"
    modules = [f"{number:02}-{name}" for number, name in enumerate(contents.kernel.modules)]
    return (
        Step("a path to find programs on", f"export PATH={GUEST_ENV['PATH']}"),
        Step("processes", f"{mount} proc proc /proc"),
        Step("the kernel's objects", f"{mount} sysfs sysfs /sys"),
        Step("devices", f"{mount} devtmpfs dev /dev"),
        Step("terminals' place", "mkdir -p /dev/pts /dev/shm"),
        Step("terminals", f"{mount} devpts -o mode=620,ptmxmode=666 devpts /dev/pts"),
        Step("shared memory", f"{mount} tmpfs -o mode=1777 shm /dev/shm"),
        Step("control groups, version 2", f"{mount} cgroup2 cgroup2 /sys/fs/cgroup"),
        *[
            Step(f"controller {one}", f"echo +{one} > /sys/fs/cgroup/cgroup.subtree_control", True)
            for one in CONTROLLERS
        ],
        *[Step(f"module {one[3:]}", f"insmod /modules/{one}.ko") for one in modules],
        Step("the loopback link", "ip link set lo up", True),
        *(_root(contents.root) if contents.root else ()),
        *(_scratch(contents.root) if contents.scratch else ()),
        *_shares(contents),
        *(_enter() if contents.root else ()),
        _agent(contents),
    )


def _root(kind: str) -> list[Step]:
    """The root of programs: shared and read-only below, an overlay in memory above."""
    layers = "lowerdir=/below,upperdir=/above/upper,workdir=/above/work"
    return [
        Step("places", f"mkdir -p /below /above {ROOT}"),
        Step("the root that is shared", _BELOW[kind]),
        Step("a file system that stays in memory", "mount -t tmpfs above /above"),
        Step("its layers", "mkdir /above/upper /above/work"),
        Step("shared below, memory above", f"mount -t overlay -o {layers} overlay {ROOT}"),
        *[
            Step(f"/{one} in there", f"mkdir -p {ROOT}/{one} && mount --rbind /{one} {ROOT}/{one}")
            for one in ("proc", "sys", "dev")
        ],
        Step("temporary files", f"mkdir -p {ROOT}/tmp && mount -t tmpfs tmp {ROOT}/tmp"),
        *(_own() if kind == TREE else ()),
    ]


def _own() -> list[Step]:
    """Of the host's tree, what speaks of the host's own processes is none of the guest's."""
    kept = f"{ROOT}/var/lib/labcontainer"
    return [
        Step("run-time files", f"mkdir -p {ROOT}/run && mount -t tmpfs -o mode=755 run {ROOT}/run"),
        # An overlay can't lie on the root, which is one itself.
        Step("images and containers", f"mkdir -p {kept} && mount -t tmpfs -o mode=755 kept {kept}"),
    ]


def _enter() -> list[Step]:
    """Make that root the mount namespace's (switch_root(8)).

    The archive's own root is the first mount of all: pivot_root(2) refuses it, so the other one is
    moved on top. This shell and the agent stay below, where their files are; a program that does
    chroot(".") from here is on top, and so is who enters the mount namespace later.
    """
    return [
        Step("stand in the new root", f"cd {ROOT}"),
        Step("move it on top of the first", "mount --move . /"),
        Step("mounts propagate", "mount --make-rshared ."),
    ]


def _scratch(root: str) -> list[Step]:
    """A disk to write to: the one whose serial number says so."""
    place = f"{ROOT if root else ''}/scratch"
    device = "/dev/$(basename $(dirname $(grep -l scratch /sys/block/vd*/serial)))"
    return [
        Step("a place to write to", f"mkdir -p {place}"),
        Step("the disk to write to", f"mount -t ext4 {device} {place}"),
        Step("everybody's", f"chmod 1777 {place}"),
    ]


def _shares(contents: Contents) -> list[Step]:
    steps = []
    for number, path in enumerate(contents.shares):
        place = shlex.quote(f"{ROOT if contents.root else ''}{path}")
        line = f"mkdir -p {place} && {_9P},cache=mmap {SHARE}{number} {place}"
        steps.append(Step(f"{path} of the host", line))
    return steps


def _agent(contents: Contents) -> Step:
    root = ["."] if contents.root else []
    words = shlex.join([python(), "-I", "-S", "-E", "/agent/agent.py", LINE, *root])
    return Step("the agent", f"hostname {shlex.quote(contents.hostname)}; exec {words}")


def script(contents: Contents) -> bytes:
    """/init."""
    lines = ["#!/bin/sh", *[line_of(step) for step in plan(contents)]]
    return "\n".join([*lines, ""]).encode()


def members(contents: Contents) -> list[cpio.Member]:
    """Everything in the archive, directories before what is in them."""
    found = [_member(entry) for entry in userland()]
    found += [cpio.directory("below"), cpio.directory("modules"), cpio.directory("agent")]
    found.append(cpio.device("dev/console", 5, 1))  # the first process's standard streams
    for number, (name, path) in enumerate(contents.kernel.modules.items()):
        data = kernels.read_module(path)
        found.append(cpio.file(f"modules/{number:02}-{name}.ko", data))
    here = os.path.dirname(os.path.abspath(__file__))
    for name in AGENT:
        with open(f"{here}/{name}", "rb") as file:
            found.append(cpio.file(f"agent/{name}", file.read()))
    found.append(cpio.file("init", script(contents), 0o755))
    return found


def build(contents: Contents) -> bytes:
    """The archive. Not compressed: the guest would take longer to unpack it than to read it."""
    return cpio.pack(members(contents))


def _member(entry: Entry) -> cpio.Member:
    if entry.kind == "dir":
        return cpio.directory(entry.path, entry.mode)
    if entry.kind == "link":
        return cpio.link(entry.path, entry.target)
    if not entry.source:
        return cpio.file(entry.path, entry.data, entry.mode)
    with open(entry.source, "rb") as file:
        moment = int(os.fstat(file.fileno()).st_mtime)
        return cpio.file(entry.path, file.read(), entry.mode, moment)


@functools.cache
def python() -> str:
    """The interpreter that goes into the archive: the system's, which needs no other place.

    Raises:
        NotFoundError: there is none.
    """
    return closure.find_program("python3")


@functools.cache
def userland() -> tuple[Entry, ...]:
    """busybox, the interpreter, and of its library what the agent loads: a small root."""
    planner = hostbase.Planner(hostbase.Recipe("guest", (python(),), busybox="busybox"))
    planner.entries()
    for path in _loaded():
        real = planner.add(path, "loaded by the agent")
        if path.endswith(".so"):
            for need in planner.closure.libraries_of(real):
                planner.add(need.path, need.why)
    return planner.entries()


def _loaded() -> list[str]:
    here = os.path.dirname(os.path.abspath(__file__))
    code = f"import sys; sys.path.insert(0, {here!r})\n{_ASK}"
    words = [python(), "-I", "-S", "-E", "-B", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/")
    files: list[str] = json.loads(done.stdout)
    return [path for path in files if os.path.exists(path) and stat.S_ISREG(os.stat(path).st_mode)]
