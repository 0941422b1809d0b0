"""Copies of directory trees, by descriptor: owners, modes, times, links, devices and xattrs kept.

No link in the source or in the copy is ever followed, and the data of a file is cloned where the
file system can (copy_file_range(2) shares blocks on btrfs and xfs).
"""

from __future__ import annotations

import errno
import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Attributes that not every file system or user may set; their loss is no failure.
_OPTIONAL = (errno.ENOTSUP, errno.EPERM, errno.EINVAL)


def copy(source: int, target: int) -> None:
    """Copy what is in directory `source` into directory `target`, and its own attributes too.

    Raises:
        OSError: with the name of the entry; ENOSPC when the target has a size and it is full.
    """
    _copy_directory(source, target, "", target, {})


def _copy_directory(
    source: int, target: int, prefix: str, top: int, seen: dict[tuple[int, int], str]
) -> None:
    for name in sorted(os.listdir(source)):
        try:
            copy_entry(source, target, name, prefix, top, seen)
        except OSError as error:
            if error.filename is None or error.filename == name:
                error.filename = prefix + name
            raise
    copy_attributes(source, target)


def copy_entry(
    source: int,
    target: int,
    name: str,
    prefix: str = "",
    top: int = -1,
    seen: dict[tuple[int, int], str] | None = None,
) -> None:
    """Copy one entry, a directory with all that is in it, from directory to directory.

    `seen` remembers, by device and inode, where files with several names went below `top`, so that
    they stay one file; `prefix` is the path of `target` below `top`, with its slash.
    """
    about = os.stat(name, dir_fd=source, follow_symlinks=False)
    key = (about.st_dev, about.st_ino)
    if seen is not None and about.st_nlink > 1 and not stat.S_ISDIR(about.st_mode):
        if key in seen:
            os.link(seen[key], name, src_dir_fd=top, dst_dir_fd=target, follow_symlinks=False)
            return
        seen[key] = prefix + name
    if stat.S_ISDIR(about.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        inner, copied = os.open(name, _DIRECTORY, dir_fd=source), -1
        try:
            copied = os.open(name, _DIRECTORY, dir_fd=target)
            _copy_directory(inner, copied, f"{prefix}{name}/", top, {} if seen is None else seen)
        finally:
            os.close(inner)
            if copied >= 0:
                os.close(copied)
    elif stat.S_ISREG(about.st_mode):
        copy_file(source, name, target, name)
    else:
        if stat.S_ISLNK(about.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:  # a device, FIFO or socket is its node; the umask took bits of its mode
            os.mknod(name, about.st_mode, about.st_rdev, dir_fd=target)
            node = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
            os.chmod(f"/proc/self/fd/{node}", stat.S_IMODE(about.st_mode))
            os.close(node)
        os.chown(name, about.st_uid, about.st_gid, dir_fd=target, follow_symlinks=False)
        times = (about.st_atime_ns, about.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def copy_file(source: int, name: str, target: int, new_name: str) -> None:
    """Copy one regular file from directory to directory; the new name must not exist yet."""
    read = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        write = os.open(new_name, flags, 0o600, dir_fd=target)
        try:
            _copy_data(read, write)
            copy_attributes(read, write)
        finally:
            os.close(write)
    finally:
        os.close(read)


def _copy_data(read: int, write: int) -> None:
    try:
        while os.copy_file_range(read, write, 1 << 30):
            pass
        if os.lseek(read, 0, os.SEEK_CUR) or not os.fstat(read).st_size:
            return  # pseudo-files claim a size of 0 and copy_file_range gives nothing
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    while part := os.read(read, 1 << 20):
        view = memoryview(part)
        while view:
            view = view[os.write(write, view) :]


def copy_attributes(source: int, target: int) -> None:
    """Owner, mode, extended attributes and times, from descriptor to descriptor."""
    about = os.fstat(source)
    os.fchown(target, about.st_uid, about.st_gid)
    os.fchmod(target, stat.S_IMODE(about.st_mode))  # after chown, which takes setuid off
    try:
        names = os.listxattr(source)
    except OSError:
        names = []
    for name in names:
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in _OPTIONAL:
                raise
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
