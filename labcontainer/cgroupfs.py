"""The container's /sys/fs/cgroup: mount type `cgroup` of a config.json, on either version.

Version 2 is one file system. Version 1 is one a hierarchy, so the container gets a small tmpfs with
a directory for each, and links for controllers that are mounted together. With a cgroup namespace
the kernel shows each from the container's own group on; without one that group's directory is
bound. Sources: cgroups(7), cgroup_namespaces(7), runtime-spec config.md "Mounts".
"""

from __future__ import annotations

import errno
import os

from labcontainer import mounts
from labcontainer.kernel import confined, files
from labcontainer.kernel import mounts as kernel_mounts
from labcontainer.kernel.flags import MS
from labcontainer.record import Record

HOST = "/sys/fs/cgroup"
CGROUP2_SUPER_MAGIC = 0x63677270


class Hierarchy(Record):
    """One version 1 hierarchy of the host: its directory and what is controlled there."""

    path: str
    root: str  # the group that the mount shows as its top
    controllers: tuple[str, ...]  # or ("name=systemd",) for one without controllers

    @property
    def folder(self) -> str:
        """The directory's name under /sys/fs/cgroup, such as `cpu,cpuacct`."""
        return os.path.basename(self.path)


def mount(entry: mounts.Mount, own_namespace: bool) -> None:
    """Make a mount of type `cgroup` or `cgroup2` in the root that is the working directory."""
    if entry.fstype == "cgroup2" or is_version_2():
        _mount_version_2(entry)
    else:
        _mount_version_1(entry, own_namespace)


def is_version_2() -> bool:
    """Whether the host's /sys/fs/cgroup is the one unified file system."""
    try:
        fd = os.open(HOST, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return kernel_mounts.filesystem(fd) == CGROUP2_SUPER_MAGIC
    finally:
        os.close(fd)


def _mount_version_2(entry: mounts.Mount) -> None:
    try:
        mounts.mount(entry.replace(fstype="cgroup2", source="cgroup"))
    except OSError as error:
        # A user namespace may mount it only together with a cgroup namespace of its own.
        if error.errno not in (errno.EPERM, errno.EBUSY):
            raise
        flags = int(entry.flags | MS.BIND | MS.REC)
        mounts.mount(mounts.Mount(entry.target, "bind", HOST, flags))


def _mount_version_1(entry: mounts.Mount, own_namespace: bool) -> None:
    safe = int(MS.NOSUID | MS.NODEV | MS.NOEXEC)
    mounts.mount(mounts.Mount(entry.target, "tmpfs", "tmpfs", safe, "mode=755"))
    groups = {} if own_namespace else own_groups()
    for hierarchy in hierarchies():
        place = f"{entry.target}/{hierarchy.folder}"
        if own_namespace:
            data = ",".join(hierarchy.controllers)
            data = f"none,{data}" if data.startswith("name=") else data
            flags = entry.flags & kernel_mounts.PER_MOUNT
            mounts.mount(mounts.Mount(place, "cgroup", "cgroup", flags, data))
        else:
            own = groups.get(hierarchy.controllers, "/")
            source = os.path.normpath(f"{hierarchy.path}/{os.path.relpath(own, hierarchy.root)}")
            mounts.mount(mounts.Mount(place, "bind", source, int(entry.flags | MS.BIND)))
    _link_controllers(entry.target)
    if entry.flags & MS.RDONLY:
        fd = confined.open_in(confined.HERE, entry.target)
        try:
            kernel_mounts.remount(fd, int(MS.RDONLY))
        finally:
            os.close(fd)


def _link_controllers(target: str) -> None:
    """`cpu -> cpu,cpuacct`: programs look for a controller under its own name."""
    fd = confined.open_in(confined.HERE, target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in os.listdir(fd):
            for controller in folder.split(",") if "," in folder else ():
                os.symlink(folder, controller, dir_fd=fd)
    finally:
        os.close(fd)


def hierarchies(*fstypes: str) -> tuple[Hierarchy, ...]:
    """What the host has mounted at and under /sys/fs/cgroup: version 1, or the types named.

    The one hierarchy of version 2 (`cgroup2`) has no controllers of its own here.
    """
    found = []
    for line in files.read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        root, path = before.split(" ")[3:5]
        fstype, _, options = after.split(" ", 2)
        if fstype not in (fstypes or ("cgroup",)) or not f"{path}/".startswith(HOST + "/"):
            continue
        words = [word for word in options.split(",") if _is_controller(word)]
        words = words if fstype == "cgroup" else []
        found.append(Hierarchy(path, root, tuple(words)))
    return tuple(found)


_FLAG_WORDS = ("rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "none")


def _is_controller(word: str) -> bool:
    return word not in _FLAG_WORDS and not word.startswith("release_agent")


def own_groups() -> dict[tuple[str, ...], str]:
    """The group of this process in each hierarchy, by the names of its controllers."""
    groups = {}
    for line in files.read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        groups[tuple(controllers.split(","))] = path
    return groups
