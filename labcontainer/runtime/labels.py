"""Security labels: AppArmor's profile and SELinux's context, of a process and of its mounts.

A process asks for its label by writing it to a file of /proc/self/attr; it has it from its next
exec on. Sources: apparmor(7), setexeccon(3), runtime-spec config.md "Linux Process" and
config-linux.md "Mount Label".
"""

from __future__ import annotations

import os

from labcontainer.errors import SpecError
from labcontainer.kernel import confined, files, mounts
from labcontainer.mounts import Mount
from labcontainer.rootfs import Rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.runtime.spec import Process

APPARMOR = "/sys/module/apparmor/parameters/enabled"
SELINUX = "/sys/fs/selinux/enforce"
ATTRIBUTES = "/proc/self/attr"
# These show objects of the kernel's, which has labels for them, or have no place for one.
_WITHOUT_CONTEXT = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue", "overlay", "bind")


def apparmor_enabled() -> bool:
    """Whether this kernel has AppArmor, and it is on."""
    try:
        return files.read(APPARMOR) == "Y"
    except OSError:
        return False


def selinux_enabled() -> bool:
    """Whether this kernel has SELinux, and a policy is loaded."""
    return files.exists(SELINUX)


def wanted(process: Process) -> tuple[tuple[str, str], ...]:
    """The files that a process is to write its labels to before its program, and the labels.

    Asked on the host, before the container's own /proc and /sys are in their places.

    Raises:
        SpecError: a label is asked for, and this kernel has not the module that knows it.
    """
    found = []
    if process.apparmor_profile:
        if not apparmor_enabled():
            why = "apparmor failed to apply profile: AppArmor is not enabled on this machine"
            raise SpecError("process.apparmorProfile", why)
        # A directory of its own since Linux 5.1: with several modules the old file is the first's.
        own = "apparmor/" if files.exists(f"{ATTRIBUTES}/apparmor") else ""
        found.append((f"{ATTRIBUTES}/{own}exec", f"exec {process.apparmor_profile}"))
    if process.selinux_label:
        _need_selinux("process.selinuxLabel")
        found.append((f"{ATTRIBUTES}/exec", process.selinux_label))
    return tuple(found)


def _need_selinux(where: str) -> None:
    if not selinux_enabled():
        why = "selinux label is specified in config, but selinux is disabled or not supported"
        raise SpecError(where, why)


def check_proc() -> None:
    """Make sure that /proc is procfs, by whose files the label is asked for.

    Whatever else lies there would let the program start without it (CVE-2019-16884).

    Raises:
        SpecError: it is not.
    """
    fd = confined.open_in(confined.HERE, "/proc", os.O_PATH)
    try:
        if mounts.filesystem(fd) != mounts.PROC_SUPER_MAGIC:
            raise SpecError("/proc", "is not procfs in this container: no label can be set")
    finally:
        os.close(fd)


def with_mount_label(rootfs: Rootfs, label: str) -> Rootfs:
    """The same root file system, its new file systems with `linux.mountLabel` on all their files.

    Raises:
        SpecError: this kernel has no SELinux.
    """
    if not label:
        return rootfs
    _need_selinux("linux.mountLabel")
    return rootfs.replace(mounts=tuple(_labelled(entry, label) for entry in rootfs.mounts))


def _labelled(entry: Mount, label: str) -> Mount:
    if entry.is_bind or entry.fstype in _WITHOUT_CONTEXT:
        return entry
    context = f'context="{label}"'  # quoted: categories have commas
    return entry.replace(data=f"{entry.data},{context}" if entry.data else context)
