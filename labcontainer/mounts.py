"""One mount of a container: its words, and the calls that make it.

A mount names a place in the container's root file system, and a container arranges its own files:
what looks like `/proc` in an image may be a link to anywhere. So the target is walked inside the
root by the kernel (`kernel.confined`), made where it is missing, and from then on named by its
descriptor only. Source: runtime-spec config.md "Mounts", mount(2), mount_setattr(2).

All here works on the root file system that is the working directory (`rootfs.prepare`).
"""

from __future__ import annotations

import errno
import os
import stat

from labcontainer.errors import SpecError, UnsupportedError
from labcontainer.kernel import confined, mounts, syscalls
from labcontainer.kernel.flags import MOUNT_ATTR, MS, RESOLVE
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_HERE = confined.HERE
_DATA_LIMIT = 4095  # mount(2) reads one page of them, and drops the rest without a word


class Mount(Record):
    """What to attach where. `flags` and `clear` are MS, the `attr_…` MOUNT_ATTR for the whole tree.

    `clear` holds what a word like `rw` takes off a bind mount. `idmap_fd` is a user namespace
    whose maps the mount is to show owners by. `source_fd` is a detached tree from `detach()`,
    made by a caller that may see the source while the container may not.
    """

    target: str
    fstype: str = ""
    source: str = ""
    flags: int = 0
    data: str = ""
    propagation: int = 0
    copy_up: bool = False
    attr_set: int = 0
    attr_clr: int = 0
    clear: int = 0
    idmap: str = ""  # "", "idmap" or "ridmap" (all mounts below too)
    idmap_fd: int = -1
    source_fd: int = -1

    @property
    def is_bind(self) -> bool:
        """Whether this shows files that are attached elsewhere already."""
        return bool(self.flags & MS.BIND) or self.fstype == "bind"

    def __str__(self) -> str:
        what = self.source or "a tree opened before" if self.is_bind else self.fstype
        words = [repr(MS(self.flags & ~MS.BIND))] if self.flags & ~MS.BIND else []
        words += [self.data] if self.data else []
        words += [repr(MS(self.propagation))] if self.propagation else []
        words += ["copy up"] if self.copy_up else []
        words += [f"all below: {MOUNT_ATTR(self.attr_set)!r}"] if self.attr_set else []
        words += [self.idmap] if self.idmap else []
        how = "bind" if self.is_bind else "mount"
        return f"{how} {what} on {self.target}" + (f" ({', '.join(words)})" if words else "")


# --- the words of a mount's options (mount(8), runtime-spec "Linux mount options") ----------------

_SET = {
    "ro": MS.RDONLY,
    "nosuid": MS.NOSUID,
    "nodev": MS.NODEV,
    "noexec": MS.NOEXEC,
    "sync": MS.SYNCHRONOUS,
    "dirsync": MS.DIRSYNC,
    "remount": MS.REMOUNT,
    "mand": MS.MANDLOCK,
    "noatime": MS.NOATIME,
    "nodiratime": MS.NODIRATIME,
    "relatime": MS.RELATIME,
    "strictatime": MS.STRICTATIME,
    "nosymfollow": MS.NOSYMFOLLOW,
    "iversion": MS.I_VERSION,
    "lazytime": MS.LAZYTIME,
    "silent": MS.SILENT,
    "bind": MS.BIND,
    "rbind": MS.BIND | MS.REC,
}
_CLEAR = {
    "rw": MS.RDONLY,
    "suid": MS.NOSUID,
    "dev": MS.NODEV,
    "exec": MS.NOEXEC,
    "async": MS.SYNCHRONOUS,
    "nomand": MS.MANDLOCK,
    "atime": MS.NOATIME,
    "diratime": MS.NODIRATIME,
    "norelatime": MS.RELATIME,
    "nostrictatime": MS.STRICTATIME,
    "symfollow": MS.NOSYMFOLLOW,
    "noiversion": MS.I_VERSION,
    "nolazytime": MS.LAZYTIME,
    "loud": MS.SILENT,
    "defaults": 0,
}
_PROPAGATION = {
    "private": MS.PRIVATE,
    "shared": MS.SHARED,
    "slave": MS.SLAVE,
    "unbindable": MS.UNBINDABLE,
    "rprivate": MS.PRIVATE | MS.REC,
    "rshared": MS.SHARED | MS.REC,
    "rslave": MS.SLAVE | MS.REC,
    "runbindable": MS.UNBINDABLE | MS.REC,
}
_ATIME = int(MOUNT_ATTR.ATIME_MASK)
_RECURSIVE = {  # word: (attr_set, attr_clr), for the mount and all below it
    "rro": (MOUNT_ATTR.RDONLY, 0),
    "rnosuid": (MOUNT_ATTR.NOSUID, 0),
    "rnodev": (MOUNT_ATTR.NODEV, 0),
    "rnoexec": (MOUNT_ATTR.NOEXEC, 0),
    "rnodiratime": (MOUNT_ATTR.NODIRATIME, 0),
    "rnosymfollow": (MOUNT_ATTR.NOSYMFOLLOW, 0),
    "rnoatime": (MOUNT_ATTR.NOATIME, _ATIME),
    "rrelatime": (0, _ATIME),
    "rstrictatime": (MOUNT_ATTR.STRICTATIME, _ATIME),
    "rrw": (0, MOUNT_ATTR.RDONLY),
    "rsuid": (0, MOUNT_ATTR.NOSUID),
    "rdev": (0, MOUNT_ATTR.NODEV),
    "rexec": (0, MOUNT_ATTR.NOEXEC),
    "rdiratime": (0, MOUNT_ATTR.NODIRATIME),
    "rsymfollow": (0, MOUNT_ATTR.NOSYMFOLLOW),
    "ratime": (0, _ATIME),
    "rnorelatime": (0, _ATIME),
    "rnostrictatime": (0, _ATIME),
}
OPTION_WORDS = (*_SET, *_CLEAR, *_PROPAGATION, *_RECURSIVE, "tmpcopyup", "idmap", "ridmap")


def parse_mount_options(options: Iterable[str]) -> dict[str, Any]:
    """The fields of a `Mount` that option words stand for; words of no other meaning are `data`.

    >>> parse_mount_options(("ro", "nosuid", "size=64k"))["data"]
    'size=64k'
    """
    flags = clear = propagation = attr_set = attr_clr = 0
    data, copy_up, idmap = [], False, ""
    for word in options:
        if word in _SET:
            flags |= _SET[word]
            clear &= ~_SET[word]
        elif word in _CLEAR:
            flags &= ~_CLEAR[word]
            clear |= _CLEAR[word]
        elif word in _PROPAGATION:
            propagation |= _PROPAGATION[word]
        elif word in _RECURSIVE:
            attr_set = (attr_set & ~_RECURSIVE[word][1]) | _RECURSIVE[word][0]
            attr_clr = (attr_clr & ~_RECURSIVE[word][0]) | _RECURSIVE[word][1]
        elif word == "tmpcopyup":
            copy_up = True
        elif word in ("idmap", "ridmap"):
            idmap = word
        elif word:
            data.append(word)
    return {
        "flags": int(flags),
        "clear": int(clear),
        "propagation": int(propagation),
        "attr_set": int(attr_set),
        "attr_clr": int(attr_clr),
        "data": ",".join(data),
        "copy_up": copy_up,
        "idmap": idmap,
    }


def option_words() -> tuple[str, ...]:
    """Every word that is an option of its own and not data for the file system."""
    return (*_SET, *_CLEAR, *_PROPAGATION, *_RECURSIVE, "tmpcopyup", "idmap", "ridmap")


# --- one mount -----------------------------------------------------------------------------------

# What runc lets a container's config put over files of procfs: tools like lxcfs do.
IN_PROC = (
    *("/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps"),
    *("/proc/uptime", "/proc/loadavg", "/proc/slabinfo", "/proc/net/dev"),
    *("/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"),
)
_MAGIC = {"proc": mounts.PROC_SUPER_MAGIC, "sysfs": mounts.SYSFS_MAGIC}
# A user namespace may mount these only if it owns the namespace they show; else bind the host's.
_INSTEAD = {"sysfs": "/sys", "mqueue": "/dev/mqueue"}


def mount(entry: Mount) -> None:
    """Make one mount in the root file system that is the working directory.

    Raises:
        SpecError: the target is a link where only a directory will do, or lies inside procfs.
        UnsupportedError: idmapped or recursive attributes on a kernel without mount_setattr(2).
        OSError: what the kernel said, with the call.
    """
    if entry.is_bind:
        _bind(entry)
    else:
        _new(entry)


def target(entry: Mount, *, directory: bool) -> int:
    """A descriptor of the mount's target, made where missing, and fit for this mount."""
    resolve = RESOLVE.NO_SYMLINKS if entry.fstype in _MAGIC else 0
    try:
        fd = confined.open_or_make(_HERE, entry.target, directory=directory, resolve=resolve)
    except OSError as error:
        if error.errno == errno.ELOOP and resolve:
            problem = f"{entry.fstype} must go on an ordinary directory, and a link leads there"
            raise SpecError(f"mount on {entry.target}", problem) from error
        raise
    if mounts.filesystem(fd) == mounts.PROC_SUPER_MAGIC and not _may_cover_proc(entry):
        os.close(fd)
        raise SpecError(f"mount on {entry.target}", "nothing may be mounted inside /proc")
    return fd


def _may_cover_proc(entry: Mount) -> bool:
    """A fake /proc/self would take what is written to /proc/self/attr/exec (CVE-2019-19921)."""
    if os.path.normpath(entry.target) in IN_PROC or entry.fstype == "proc":
        return True
    if not entry.is_bind:
        return False
    source = os.open(entry.source, os.O_PATH) if entry.source_fd < 0 else os.dup(entry.source_fd)
    try:  # procfs over procfs, as for a container that shares the host's processes
        return mounts.filesystem(source) == mounts.PROC_SUPER_MAGIC
    finally:
        os.close(source)


def _top(entry: Mount) -> int:
    """A descriptor of what is now mounted on the target (the one from before is beneath it)."""
    return confined.open_in(_HERE, entry.target, os.O_PATH)


def detach(entry: Mount) -> int:
    """A detached copy of a bind mount's source, its attributes set: ready to be put in place.

    Called before entering a user namespace for a source that is closed to it, and for idmapped
    mounts, which only the owner of the file system may make (mount_setattr(2), "ID-mapped").
    """
    if entry.idmap and entry.idmap_fd < 0:
        raise SpecError(f"mount on {entry.target}", f"{entry.idmap} needs id mappings")
    if not mounts.modern():
        _refuse_modern(entry)
        raise UnsupportedError("a detached mount", "mount_setattr(2) is missing", "use Linux 5.12")
    deep = bool(entry.flags & MS.REC)
    tree = mounts.copy(entry.source, recursive=deep)
    try:
        _set_attributes(entry, tree, deep)
    except OSError as error:
        os.close(tree)
        if error.errno == errno.EPERM and entry.clear:
            kept = "the flags that the source is mounted with are locked in a user namespace"
            raise OSError(error.errno, f"{error.strerror} ({kept})", error.filename) from error
        raise
    return tree


def _set_attributes(entry: Mount, tree: int, deep: bool) -> None:
    flags, userns = entry.flags & mounts.PER_MOUNT, entry.idmap_fd
    words = mounts.propagations(entry.propagation)
    if not deep:  # a single mount: one call does it all
        mounts.change(
            tree,
            flags=flags,
            clear=entry.clear,
            attr_set=entry.attr_set,
            attr_clr=entry.attr_clr,
            propagation=words.pop(0) & mounts.PROPAGATION if words else 0,
            userns_fd=userns,
        )
    else:
        own, all_below = (-1, userns) if entry.idmap == "ridmap" else (userns, -1)
        mounts.change(tree, flags=flags, clear=entry.clear, userns_fd=own)
        mounts.change(
            tree,
            attr_set=entry.attr_set,
            attr_clr=entry.attr_clr,
            recursive=True,
            userns_fd=all_below,
        )
    for word in words:
        recurse = bool(word & MS.REC) and deep
        mounts.change(tree, propagation=word & mounts.PROPAGATION, recursive=recurse)


def _refuse_modern(entry: Mount) -> None:
    why, fix = "this kernel has no mount_setattr(2)", "use Linux 5.12 or newer"
    if entry.idmap:
        raise UnsupportedError(f"id-mapped mount on {entry.target}", why, fix)
    if entry.attr_set or entry.attr_clr:
        raise UnsupportedError(f"recursive mount attributes on {entry.target}", why, fix)


def _bind(entry: Mount) -> None:
    if entry.source_fd < 0 and not mounts.modern():
        _bind_by_mount(entry)
        return
    tree = entry.source_fd if entry.source_fd >= 0 else detach(entry)
    try:
        fd = target(entry, directory=stat.S_ISDIR(os.fstat(tree).st_mode))
        try:
            mounts.attach(tree, fd)
        finally:
            os.close(fd)
    finally:
        if entry.source_fd < 0:
            os.close(tree)


def _bind_by_mount(entry: Mount) -> None:
    """The same on a kernel before 5.12: bind, then set the flags by a remount of what came."""
    _refuse_modern(entry)
    fd = target(entry, directory=os.path.isdir(entry.source))
    try:
        flags = MS.BIND | (entry.flags & MS.REC)
        syscalls.mount(entry.source, mounts.name(fd), None, flags)
    finally:
        os.close(fd)
    wanted = entry.flags & mounts.PER_MOUNT
    if wanted or entry.clear or entry.propagation:
        fd = _top(entry)
        try:
            if wanted or entry.clear:
                mounts.remount(fd, wanted, entry.clear)
            mounts.set_propagation(fd, entry.propagation)
        finally:
            os.close(fd)


def delays_readonly(entry: Mount) -> bool:
    """Whether a mount is made writable first: later mounts and device nodes need places in it."""
    on_dev = os.path.normpath(entry.target) == "/dev"
    return (
        bool(entry.flags & MS.RDONLY) and not entry.is_bind and (on_dev or entry.fstype == "tmpfs")
    )


def _new(entry: Mount) -> None:
    fd = target(entry, directory=True)
    covered = -1
    try:
        if entry.copy_up:
            covered = os.open(mounts.name(fd), os.O_RDONLY | os.O_DIRECTORY)
        _attach_new(entry, fd)
        if entry.copy_up or entry.propagation or entry.attr_set or entry.fstype in _MAGIC:
            _complete(entry, covered)
    finally:
        os.close(fd)
        if covered >= 0:
            os.close(covered)


def _attach_new(entry: Mount, fd: int) -> None:
    flags = entry.flags & ~MS.REC
    if delays_readonly(entry):
        flags &= ~MS.RDONLY
    data = entry.data
    if entry.fstype == "tmpfs" and "mode=" not in data:
        # A tmpfs takes the mode of the directory that it covers, not the kernel's 1777.
        mode = f"mode={stat.S_IMODE(os.fstat(fd).st_mode):o}"
        data = f"{data},{mode}" if data else mode
    if len(os.fsencode(data)) > _DATA_LIMIT:
        problem = f"has more options than the {_DATA_LIMIT} bytes that the kernel reads"
        raise SpecError(f"mount on {entry.target}", problem)
    try:
        syscalls.mount(entry.source or entry.fstype, mounts.name(fd), entry.fstype, flags, data)
        return
    except OSError as error:
        if error.errno == errno.EINVAL and entry.fstype == "devpts" and "gid=" in data:
            # The tty group (5) has no number in a user namespace of one id: do without.
            kept = ",".join(word for word in data.split(",") if not word.startswith("gid="))
            syscalls.mount("devpts", mounts.name(fd), "devpts", flags, kept)
            return
        if error.errno not in (errno.EPERM, errno.EBUSY) or entry.fstype not in _INSTEAD:
            raise
    flags = int(MS.BIND | MS.REC | entry.flags)
    _bind(Mount(entry.target, "bind", _INSTEAD[entry.fstype], flags))


def _complete(entry: Mount, covered: int) -> None:
    """What is done to a new file system once it is in place."""
    top = _top(entry)
    try:
        magic = _MAGIC.get(entry.fstype, 0)
        if magic and mounts.filesystem(top) != magic:
            raise SpecError(
                f"mount on {entry.target}", f"what stands there now is no {entry.fstype}"
            )
        if entry.copy_up:
            from labcontainer.kernel import trees

            written = confined.open_in(_HERE, entry.target, os.O_RDONLY | os.O_DIRECTORY)
            try:
                trees.copy(covered, written)
            finally:
                os.close(written)
        if entry.attr_set or entry.attr_clr:
            if not mounts.modern():
                _refuse_modern(entry)
            mounts.change(top, attr_set=entry.attr_set, attr_clr=entry.attr_clr, recursive=True)
        mounts.set_propagation(top, entry.propagation)
    finally:
        os.close(top)
