"""A place apart for what a lesson does: own namespaces, own `/mnt`, gone when its PID 1 ends.

    starter ── the process that calls `enter`: leaves its namespaces, forks, waits
      └─ PID 1 ── returns from `enter`; all that the lesson starts are its children

The starter dies with its parent (PR_SET_PDEATHSIG), PID 1 with the starter, and with PID 1 the
kernel kills every process of the PID namespace and drops every mount of the mount namespace.
"""

from __future__ import annotations

import errno
import os
import signal

from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import AT, CLONE, MOUNT_ATTR, MS, PR

ROOM = "/mnt"
HOST_NAME = "lab"
PLAIN = CLONE.NEWNS | CLONE.NEWPID | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWNET


def die_with_parent(parent: int) -> None:
    """End this process when the thread that started it ends; at once if that has happened.

    Must come after all changes of user: those clear the wish (PR_SET_PDEATHSIG(2const)).
    """
    syscalls.prctl(PR.SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def enter(
    parent: int,
    *,
    read_only: bool = False,
    writable: tuple[str, ...] = (),
    apart: bool = False,
) -> str:
    """Move into new namespaces and go on as PID 1 there; the caller's process waits outside.

    `parent` is the PID of the process that is to be outlived by nothing of this.

    With `read_only` every mount but /mnt, /proc and those in `writable` is read-only. With `apart`
    the user namespace is new for root, too, and what runs in it can't look into the starter or
    PID 1: neither trace them nor open their descriptors, until they call execve(2).
    Returns "root" (real root), "user" (root of an own user namespace) or "none": this machine
    allows neither, and the caller goes on as an ordinary process.
    """
    mode = _leave(apart)
    if apart:
        # This memory belongs to the outer user namespace: with 0 only its root may trace it
        # (ptrace(2), "Ptrace access mode checking"). A fork inherits it, a program does not.
        syscalls.prctl(PR.SET_DUMPABLE, 0)
    die_with_parent(parent)
    if mode == "none":
        return mode
    alive, ours = os.pipe()
    child = os.fork()
    if child:
        os.close(alive)
        _wait_and_exit(child)
    os.close(ours)
    syscalls.prctl(PR.SET_PDEATHSIG, signal.SIGKILL)
    _exit_if_closed(alive)  # getppid() is 0 here in any case, so a pipe tells of the starter
    _furnish(read_only, writable)
    return mode


def _leave(apart: bool) -> str:
    """Leave the namespaces; in what way it could be done."""
    if os.geteuid() == 0 and not apart:
        try:
            syscalls.unshare(PLAIN)
            return "root"
        except OSError as error:
            if error.errno != errno.EPERM:  # root in a container without CAP_SYS_ADMIN
                raise
    try:
        _new_user_namespace()
        syscalls.unshare(PLAIN)
    except OSError:
        return "none"
    return "user"


def _new_user_namespace() -> None:
    """Become root of a new user namespace, with the user's sub-ids mapped where there are some."""
    uid, gid = os.geteuid(), os.getegid()
    go_read, go_write = os.pipe()
    me, mapper = os.getpid(), os.fork()
    if mapper == 0:
        os.close(go_write)
        os.read(go_read, 1)
        os._exit(0 if _map_ranges(me, uid, gid) else 1)
    os.close(go_read)
    try:
        syscalls.unshare(CLONE.NEWUSER)
        os.write(go_write, b"g")
    finally:
        os.close(go_write)
        mapped = os.waitpid(mapper, 0)[1] == 0
    if not mapped:
        files.write("/proc/self/setgroups", "deny")
        files.write("/proc/self/gid_map", f"0 {gid} 1")
        files.write("/proc/self/uid_map", f"0 {uid} 1")
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _map_ranges(pid: int, uid: int, gid: int) -> bool:
    """Map 0 to the user and 1… to the user's sub-ids by the setuid programs, if all is there."""
    import shutil
    import subprocess

    programs = (("newuidmap", uid, "/etc/subuid"), ("newgidmap", gid, "/etc/subgid"))
    for program, own, path in programs:
        rows = _ranges(path, uid)
        if not rows or not shutil.which(program):
            return False
        start, size = rows[0]
        line = [program, str(pid), "0", str(own), "1", "1", str(start), str(size)]
        if subprocess.run(line, capture_output=True, check=False).returncode:
            return False
    return True


def _ranges(path: str, uid: int) -> list[tuple[int, int]]:
    """(start, size) of each sub-id range of a user in /etc/subuid or /etc/subgid (subuid(5))."""
    import pwd

    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        names = {str(uid)}
    try:
        rows = [line.split(":") for line in files.read(path).splitlines()]
    except OSError:
        return []
    return [(int(row[1]), int(row[2])) for row in rows if len(row) == 3 and row[0] in names]


def _wait_and_exit(child: int) -> None:
    """The starter's whole life: end as PID 1 ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _exit_if_closed(fd: int) -> None:
    """End if the other end of a pipe is closed already."""
    import select

    if select.select([fd], [], [], 0)[0]:
        os._exit(1)


def _furnish(read_only: bool, writable: tuple[str, ...]) -> None:
    """Private mounts, a /proc of the new PID namespace, an empty /mnt, a name, a loopback."""
    syscalls.mount(None, "/", None, MS.REC | MS.PRIVATE)
    if read_only:
        _make_read_only(writable)
    try:
        syscalls.mount("proc", "/proc", "proc", MS.NOSUID | MS.NODEV | MS.NOEXEC)
    except OSError:
        pass  # inside a container whose /proc is partly covered the kernel refuses (EPERM)
    syscalls.mount("lab", ROOM, "tmpfs", 0, "mode=1777,size=512m")
    syscalls.sethostname(HOST_NAME)
    os.chdir(ROOM)


def hide(folder: str) -> None:
    """Cover a directory with an empty one. Root of the machine could take that away again."""
    if os.path.isdir(folder):
        syscalls.mount("hidden", folder, "tmpfs", MS.RDONLY, "mode=0555,size=4k")


def _make_read_only(writable: tuple[str, ...]) -> None:
    """Every mount read-only but those below `writable`; without mount_setattr(2), none."""
    try:
        syscalls.mount_setattr(-1, "/", AT.RECURSIVE, attr_set=MOUNT_ATTR.RDONLY)
    except OSError:
        return
    for path in ("/dev", *writable):
        try:
            flags, clear = AT.RECURSIVE, MOUNT_ATTR.RDONLY
            syscalls.mount_setattr(-1, path, flags, attr_clr=clear)
        except OSError:
            pass  # not a mount, or locked read-only by an outer user namespace
