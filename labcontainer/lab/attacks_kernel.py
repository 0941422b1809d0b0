"""Three ways out of a container: by what it shares with all others, the disk and the kernel.

Every function takes the part of a runtime or an engine on which it depends (the learner's), and
the box that it is tried in. It looks from outside at what came of it: was the treasure read or the
host's file changed, and did the honest program get what it needs?
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from labcontainer import seccomp, seccomp_profile
from labcontainer.kernel import files, foreign, netlink, rtnetlink, syscall_numbers, syscalls
from labcontainer.kernel.flags import CLONE, MNT, MS
from labcontainer.lab import box as stage
from labcontainer.lab.box import BOX, NAIVE, PROC, Box, Tried

# --- 5: what all share --------------------------------------------------------------------------

DISK = "/mnt/disk"
MIB = 1 << 20


def fill(folder: str, most: int = 8 * MIB) -> str:
    """Write until nothing goes any more, bytes first, then files without a byte."""
    written = made = 0
    try:
        with open(f"{folder}/big", "wb", buffering=0) as file:
            while written < most:
                written += file.write(bytes(64 << 10))
    except OSError:
        pass
    try:
        for made in range(2000):
            os.close(os.open(f"{folder}/{made}", os.O_CREAT))
    except OSError:
        pass
    return f"{written >> 10} KiB, {made} files"


def hog(give_disk: Callable[[str], object], box: Box = NAIVE) -> Tried:
    """The box writes until the disk is full, and then the engine can't write its journal."""

    def honest() -> str:
        with open("/data/result", "wb") as file:
            file.write(bytes(512 << 10))
        for number in range(40):
            with open(f"/data/part{number}", "w") as part:
                part.write("kept")
        return "kept"

    def journal() -> bool:
        try:
            with open(f"{DISK}/journal", "wb", buffering=0) as file:
                return file.write(bytes(256 << 10)) == 256 << 10
        except OSError:
            return False

    os.makedirs(DISK, exist_ok=True)
    syscalls.mount("disk", DISK, "tmpfs", 0, "size=4m,nr_inodes=500")
    os.mkdir(f"{DISK}/data")
    give_disk(f"{DISK}/data")
    syscalls.mount(f"{DISK}/data", f"{BOX}/data", None, MS.BIND)
    try:
        answer = stage.inside(box, honest)
        said = stage.inside(box, lambda: fill("/data"))
        return Tried(not journal(), answer == "kept", said, answer)
    finally:
        syscalls.umount2(f"{BOX}/data", MNT.DETACH)
        syscalls.umount2(DISK, MNT.DETACH)


# --- 6: the kernel's settings -------------------------------------------------------------------

# How many routers a packet may pass: each network namespace's own. CAP_NET_ADMIN may write it.
SETTING = "/proc/sys/net/ipv4/ip_default_ttl"


def setting(close_settings: Callable[[], object], box: Box = NAIVE) -> Tried:
    """The box writes to /proc/sys, and takes off what lies over it.

    The honest program is a VPN: it was given CAP_NET_ADMIN, to set up a network.
    """
    ways: dict[str, Callable[[], object]] = {
        "as it is": lambda: None,
        "remount": lambda: syscalls.mount(None, "/proc/sys", None, MS.REMOUNT | MS.BIND),
        "umount": lambda: syscalls.umount2("/proc/sys", MNT.DETACH),
        "another /proc": lambda: syscalls.mount("proc", "/proc", "proc", PROC),
    }

    def attack() -> str:
        close_settings()
        said = []
        for name, take_off in ways.items():
            try:
                take_off()
                files.write(SETTING, "1")
                said.append(f"{name}: written")
            except OSError as error:
                said.append(f"{name}: {os.strerror(error.errno or 0)}")
        return ", ".join(said)

    def honest() -> str:
        close_settings()
        files.read(SETTING)
        files.write("/proc/self/comm", "honest")
        with netlink.Netlink() as kernel:
            kernel.do(rtnetlink.set_link("lo", up=True))
        return files.read("/proc/self/comm")

    if box.capabilities is not None:
        box = box.replace(capabilities=(*box.capabilities, "CAP_NET_ADMIN"))
    files.write(SETTING, "64")
    said = stage.inside(box, attack)
    worked = files.read(SETTING).strip() == "1"
    files.write(SETTING, "64")
    answer = stage.inside(box, honest).strip()
    return Tried(worked, answer == "honest", said, answer)


# --- 7: root again ------------------------------------------------------------------------------


def _clone(flags: int) -> int:
    """clone(2), the old one: flags are its first argument. As fork otherwise."""
    number = syscall_numbers.numbers(syscalls.MACHINE)["clone"]
    raw = foreign.function("syscall", foreign.c_long, *[foreign.c_ulong] * 6)
    pid = raw(number, flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid < 0:
        raise OSError(foreign.get_errno(), "clone")
    return pid


def _unshare(flags: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.unshare(flags)
        except OSError as error:
            os._exit(error.errno or 1)
    return pid


WAYS: dict[str, Callable[[int], int]] = {
    "unshare": _unshare,
    "clone": _clone,
    "clone3": lambda flags: syscalls.clone3(flags)[0],
}


def root_again(rules: Callable[[], list[dict[str, Any]]], box: Box = NAIVE) -> Tried:
    """A process without any right makes a user namespace, and has them all in there."""
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules(),
               "architectures": [seccomp_profile.native()]}  # fmt: skip
    if box.capabilities is None:
        box = box.replace(capabilities=())
    if box.filter is None:
        box = box.replace(filter=seccomp.compile(profile))
    said = stage.inside(box, lambda: ", ".join(f"{name}: {_try_way(name)}" for name in WAYS))
    answer = stage.inside(box, _everyday)
    return Tried("all rights" in said, answer == "lives", said, answer)


def _try_way(name: str) -> str:
    """One way into a new user namespace: what rights does a process have in there?"""
    try:
        pid = WAYS[name](int(CLONE.NEWUSER))
        if pid == 0:
            os._exit(100 if syscalls.capget()[0] else 101)
    except OSError as error:
        return os.strerror(error.errno or 0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "all rights" if status == 100 else "none" if status == 101 else os.strerror(status)


def _everyday() -> str:
    """What a program does all day: a thread, a child, descriptors of its own, and a new call that
    may be missing but not forbidden."""
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    syscalls.unshare(CLONE.FILES)
    try:
        child, _ = syscalls.clone3(0)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    except OSError as error:
        if os.strerror(error.errno or 0) != "Function not implemented":
            raise
    return "lives"
