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
from labcontainer.hierarchy import HOST, hierarchies, own_groups
from labcontainer.kernel import confined
from labcontainer.kernel import mounts as kernel_mounts
from labcontainer.kernel.flags import MS

CGROUP2_SUPER_MAGIC = 0x63677270


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
