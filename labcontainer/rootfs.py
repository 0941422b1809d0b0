"""The root file system of a container: what is mounted in it, and how it becomes `/`.

    prepare       keep mount events in, make the root a mount of its own, stand in it
    mount_all     /proc, /dev, /sys, volumes … , each target walked inside the root
    make_devices  device nodes (or binds of the host's, in a user namespace), links in /dev
    pivot_root    the root becomes `/`, and the old root goes
    finish        masked and read-only paths, the read-only root

The functions run in this order in the container's first process, in its own mount namespace.
Between `prepare` and `pivot_root` the working directory is the new root: every path is walked from
there by the kernel and never leaves it. Sources: runtime-spec config.md and config-linux.md,
pivot_root(2), mount_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import stat

from labcontainer import devices
from labcontainer.devices import DEFAULT_DEVICES as DEFAULT_DEVICES
from labcontainer.devices import DEFAULT_LINKS as DEFAULT_LINKS
from labcontainer.devices import Device as Device
from labcontainer.devices import bind_console as bind_console
from labcontainer.errors import SpecError
from labcontainer.kernel import confined, mounts, syscalls
from labcontainer.kernel.flags import MNT, MS, RESOLVE
from labcontainer.mounts import Mount as Mount
from labcontainer.mounts import delays_readonly, detach, mount
from labcontainer.mounts import parse_mount_options as parse_mount_options
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = confined.HERE


def _mount(target: str, fstype: str, *options: str) -> Mount:
    return Mount(target, fstype, fstype, **parse_mount_options(options))


DEFAULT_MOUNTS = (  # Docker's
    _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
    _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
    _mount(
        *("/dev/pts", "devpts", "nosuid", "noexec"),
        *("newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    _mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
)
MASKED_PATHS = (  # Docker's: what tells about the host or can hurt it
    *("/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug"),
    *("/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"),
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Rootfs(Record):
    """A directory, and all that turns it into a container's `/`.

    `propagation` is how `/` and what is mounted below it later exchange mount events with the
    host (MS.SHARED, MS.SLAVE, MS.PRIVATE, with MS.REC); 0 is slave: events come in, none go out.
    """

    path: str
    readonly: bool = False
    mounts: tuple[Mount, ...] = DEFAULT_MOUNTS
    devices: tuple[Device, ...] = DEFAULT_DEVICES
    masked: tuple[str, ...] = MASKED_PATHS
    readonly_paths: tuple[str, ...] = READONLY_PATHS
    propagation: int = 0
    links: tuple[tuple[str, str], ...] = DEFAULT_LINKS
    cgroup_namespace: bool = True
    tree_fd: int = -1  # the root as a detached tree, from `open_sources`


class Step(Record):
    """One line of a plan: which function does what, and why."""

    stage: str
    action: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.stage:<13}{self.action}" + (f"  # {self.why}" if self.why else "")


def plan(rootfs: Rootfs) -> tuple[Step, ...]:
    """Everything that the five functions will do, in their order; no call is made."""
    return tuple(_planned(rootfs))


def _planned(rootfs: Rootfs) -> Iterator[Step]:
    first = MS(first_propagation(rootfs))
    yield Step("prepare", f"make / {first!r}", "no mount of ours may reach the host")
    yield Step("prepare", f"bind {rootfs.path} on itself", "pivot_root wants a mount point")
    for entry in rootfs.mounts:
        yield Step("mount_all", str(entry))
    if has_own_dev(rootfs):
        for device in rootfs.devices:
            yield Step("make_devices", str(device))
        for link, text in rootfs.links:
            yield Step("make_devices", f"link {link} -> {text}")
    yield Step("pivot_root", f"make {rootfs.path} the root, detach the old root")
    if rootfs.propagation:
        yield Step("finish", f"make / {MS(rootfs.propagation)!r}")
    for entry in rootfs.mounts:
        if delays_readonly(entry):
            yield Step("finish", f"make {entry.target} read-only", "nodes were made in it")
    for path in rootfs.readonly_paths:
        yield Step("finish", f"bind {path} on itself, read-only", "if it exists")
    for path in rootfs.masked:
        yield Step("finish", f"cover {path}", "if it exists")
    if rootfs.readonly:
        yield Step("finish", "make / read-only")


# --- before the root changes ---------------------------------------------------------------------


def prepare(rootfs: Rootfs, root_fd: int = -1) -> None:
    """Shut mount events in, bind the root directory on itself, and make it the working directory.

    Args:
        rootfs: what to prepare.
        root_fd: the root directory opened before; -1 opens `rootfs.path`; `confined.HERE` means
            that the caller stands in it. A process that enters a new mount namespace takes its
            working directory along, so a directory that its user may not reach by name still
            works that way.
    """
    if rootfs.tree_fd >= 0:
        syscalls.mount(None, "/", None, first_propagation(rootfs))
        _attach_tree(rootfs)
        return
    if root_fd >= 0:
        os.fchdir(root_fd)
    elif root_fd != _HERE:
        os.chdir(rootfs.path)
    syscalls.mount(None, "/", None, first_propagation(rootfs))
    if rootfs.propagation & MS.SHARED:
        _make_parent_private()
    try:
        _bind_working_directory()
    except OSError as error:
        if error.errno != errno.EINVAL or root_fd < 0:
            raise
        os.chdir(rootfs.path)  # the descriptor belongs to another mount namespace
        _bind_working_directory()


def _attach_tree(rootfs: Rootfs) -> None:
    """Put the detached root over `/` and stand in it.

    Any place will do, and `/` is the one that every user can reach. Nobody gets to see it there:
    an absolute path begins at the process's own root, which is the mount below.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mounts.attach(rootfs.tree_fd, root)
    finally:
        os.close(root)
    os.fchdir(rootfs.tree_fd)
    mounts.set_propagation(rootfs.tree_fd, first_propagation(rootfs))


def first_propagation(rootfs: Rootfs) -> int:
    """What every mount is made at first, whatever the root is to be at the end.

    Shared mounts must stay peers of the host's, and an unbindable root could not be bound.
    """
    if rootfs.propagation & MS.SHARED:
        return int(MS.SHARED | MS.REC)
    if rootfs.propagation & (MS.PRIVATE | MS.UNBINDABLE):
        return int(MS.PRIVATE | MS.REC)
    return int(MS.SLAVE | MS.REC)


def _bind_working_directory() -> None:
    """Make the working directory a mount, and stand on it, by no name at all."""
    if not mounts.modern():
        here = os.getcwd()
        syscalls.mount(here, here, None, MS.BIND | MS.REC)
        os.chdir(here)
        return
    tree = mounts.copy("", recursive=True)
    try:
        here_fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mounts.attach(tree, here_fd)
        os.close(here_fd)
        os.fchdir(tree)
    finally:
        os.close(tree)


def _make_parent_private() -> None:
    """pivot_root(2) refuses a parent mount that is shared, and the bind would reach the host."""
    where = os.getcwd()
    while True:
        try:
            syscalls.mount(None, where, None, MS.PRIVATE)
            return
        except OSError as error:
            if error.errno != errno.EINVAL or where == "/":  # EINVAL: not a mount point
                raise
        where = os.path.dirname(where)


def open_sources(rootfs: Rootfs) -> Rootfs:
    """The same root file system, its root and every bind mount's source opened as detached trees.

    Called before a user namespace is entered: there they may be out of reach, and id-mapped mounts
    are not allowed. The caller closes what `opened_sources` lists.
    """
    if not mounts.modern():
        return rootfs
    opened: list[Mount] = []
    tree = mounts.copy(rootfs.path, recursive=True)
    try:
        for entry in rootfs.mounts:
            opened.append(_opened(entry, rootfs) if entry.is_bind else entry)
    except BaseException:
        for fd in (tree, *(entry.source_fd for entry in opened)):
            if fd >= 0:
                os.close(fd)
        raise
    return rootfs.replace(mounts=tuple(opened), tree_fd=tree)


def _opened(entry: Mount, rootfs: Rootfs) -> Mount:
    """A bind mount with its source as a detached tree, which must not stay the host's peer."""
    propagation = entry.propagation or first_propagation(rootfs)
    return entry.replace(source_fd=detach(entry.replace(propagation=propagation)))


def opened_sources(rootfs: Rootfs) -> list[int]:
    """The descriptors that `open_sources` opened, for the caller to close."""
    found = [rootfs.tree_fd, *(entry.source_fd for entry in rootfs.mounts)]
    return [fd for fd in found if fd >= 0]


def mount_all(rootfs: Rootfs) -> None:
    """Make the mounts, in order, in the root that is the working directory.

    Raises:
        SpecError: a target that is refused (see `mounts.mount`).
        OSError: what the kernel said, and which mount it was about in a note.
    """
    for entry in rootfs.mounts:
        try:
            if entry.fstype in ("cgroup", "cgroup2") and not entry.is_bind:
                from labcontainer import cgroupfs

                cgroupfs.mount(entry, rootfs.cgroup_namespace)
            else:
                mount(entry)
        except OSError as error:
            error.add_note(f"while making the mount: {entry}")
            raise


def has_own_dev(rootfs: Rootfs) -> bool:
    """Whether the container has a /dev of its own to fill, and not the host's by a bind mount."""
    return not any(
        entry.is_bind and os.path.normpath(entry.target) == "/dev" for entry in rootfs.mounts
    )


def make_devices(rootfs: Rootfs) -> None:
    """Make the device nodes and the links in /dev, unless /dev is the host's own."""
    if has_own_dev(rootfs):
        devices.make(rootfs.devices, rootfs.links)


# --- the root changes ----------------------------------------------------------------------------


def pivot_root(path: str = ".") -> None:
    """Make `path`, a mount point, the root of this mount namespace and let go of the old root.

    The old root is stacked on the new one and taken off again, so no directory is needed to put
    it (pivot_root(2), "pivot_root(".", ".")").
    """
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(path)
        syscalls.pivot_root(".", ".")
        os.fchdir(old)
        # Not shared any more, or the unmount would be told to the host and done there too.
        syscalls.mount(None, ".", None, MS.SLAVE | MS.REC)
        syscalls.umount2(".", MNT.DETACH)
        os.chdir("/")
    finally:
        os.close(old)


def enter_chroot(path: str) -> None:
    """Make `path` this process's root and stand in it: no border for a process that is root."""
    os.chroot(path)
    os.chdir("/")


def move_root(path: str = ".") -> None:
    """Lay the mount `path` over `/` and chroot into it, where `/` is a ramfs and can't be pivoted.

    The old root is still there beneath: `labcontainer-oci --no-pivot` says so.
    """
    os.chdir(path)
    syscalls.mount(".", "/", None, MS.MOVE)
    enter_chroot(".")


# --- after the root changed ----------------------------------------------------------------------


def finish(rootfs: Rootfs) -> None:
    """Set what would have been in the way before: read-only mounts, masked paths, propagation."""
    if rootfs.propagation:
        for one in mounts.propagations(rootfs.propagation):
            syscalls.mount(None, "/", None, one)
    for entry in rootfs.mounts:
        if delays_readonly(entry):
            _make_readonly(entry.target)
    for path in rootfs.readonly_paths:
        _bind_readonly(path)
    _mask(rootfs.masked)
    if rootfs.readonly:
        _make_readonly("/")


def _make_readonly(path: str) -> None:
    fd = confined.open_in(_HERE, path)
    try:
        mounts.remount(fd, int(MS.RDONLY))
    finally:
        os.close(fd)


def _open_listed(path: str) -> int:
    """A path of the masked or read-only list: -1 where this kernel or container has none."""
    try:
        return confined.open_in(_HERE, path, os.O_PATH, RESOLVE.NO_MAGICLINKS)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _bind_readonly(path: str) -> None:
    fd = _open_listed(path)
    if fd < 0:
        return
    try:
        if mounts.modern():
            tree = mounts.copy("", dir_fd=fd, recursive=True)
            try:
                mounts.change(tree, flags=MS.RDONLY)
                mounts.attach(tree, fd)
            finally:
                os.close(tree)
        else:
            syscalls.mount(mounts.name(fd), mounts.name(fd), None, MS.BIND | MS.REC)
            _make_readonly(path)
    finally:
        os.close(fd)


def _mask(paths: tuple[str, ...]) -> None:
    """Cover directories by one empty read-only tmpfs and files by the null device."""
    null = empty = -1
    try:
        for path in paths:
            fd = _open_listed(path)
            if fd < 0:
                continue
            try:
                if not stat.S_ISDIR(os.fstat(fd).st_mode):
                    null = null if null >= 0 else _open_null()
                    mounts.bind_file("", fd, null)
                elif empty < 0:
                    flags = MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC
                    syscalls.mount("tmpfs", mounts.name(fd), "tmpfs", flags, "size=0,nr_inodes=2")
                    empty = confined.open_in(_HERE, path)
                else:
                    mounts.bind_file("", fd, empty)
            finally:
                os.close(fd)
    finally:
        for fd in (null, empty):
            if fd >= 0:
                os.close(fd)


def _open_null() -> int:
    """The container's null device: proved to be one, then used by descriptor.

    An image or a racing process may have put a link to another file there; bound over the masked
    path, that file would be open to the container (CVE-2025-31133).
    """
    fd = confined.open_in(_HERE, "/dev/null", os.O_PATH | os.O_NOFOLLOW)
    about = os.fstat(fd)
    if not stat.S_ISCHR(about.st_mode) or about.st_rdev != os.makedev(1, 3):
        os.close(fd)
        raise SpecError("masked paths", "/dev/null in the container is not the null device")
    return fd


# --- procfs that is procfs -----------------------------------------------------------------------


def write_proc(path: str, value: str) -> None:
    """Write below /proc, sure that the file is procfs's own and not something mounted over it.

    What sets a sysctl or a security label by a plain path can be led to write anywhere, and then
    the container starts without its label (CVE-2019-16884, CVE-2019-19921).
    """
    root = confined.open_in(_HERE, "/proc", os.O_PATH | os.O_DIRECTORY, RESOLVE.NO_SYMLINKS)
    try:
        if mounts.filesystem(root) != mounts.PROC_SUPER_MAGIC:
            raise SpecError("/proc", "is not procfs in this container")
        resolve = RESOLVE.NO_XDEV | RESOLVE.NO_MAGICLINKS
        fd = confined.open_in(root, path.removeprefix("/proc"), os.O_WRONLY, resolve)
        try:
            if mounts.filesystem(fd) != mounts.PROC_SUPER_MAGIC:
                raise SpecError(path, "is not procfs's own")
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        message = f"cannot write {value!r} to {path}: {os.strerror(error.errno or 0)}"
        raise OSError(error.errno, message) from None
    finally:
        os.close(root)
