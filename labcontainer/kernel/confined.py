"""Paths inside a directory that plays root, resolved so that nothing in it can lead out.

A container's files are its own to arrange: a symbolic link `/dev -> /etc` in an image, or one that
is swapped in while a mount is on its way (CVE-2021-30465), must not make the runtime touch the
host. So no target is ever named by a joined string. The kernel walks it with openat2(2)
RESOLVE_IN_ROOT, and what comes back is a descriptor that stays what it is. Kernels before 5.6
get the same walk done here, one descriptor at a time.

`root` is a directory's descriptor, or AT.FDCWD for the working directory.
"""

from __future__ import annotations

import errno
import os
import stat

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import AT, RESOLVE

HERE = int(AT.FDCWD)
_TRIES = 32
_LINKS = 40  # the kernel's own limit of symbolic links in one walk (path_resolution(7))


class _Kernel:
    """What was found out about this kernel, once."""

    has_openat2 = True


def open_in(root: int, path: str, flags: int = os.O_PATH, resolve: int = 0) -> int:
    """A descriptor of `path` taken inside `root`: `/` and `..` end at `root`, links too.

    Args:
        root: descriptor of the directory that plays root, or `HERE`.
        flags: as of open(2); O_CLOEXEC is always added.
        resolve: more RESOLVE flags, such as NO_SYMLINKS or NO_MAGICLINKS.

    Raises:
        OSError: as open(2); ELOOP for a link that `resolve` refuses.
    """
    for _ in range(_TRIES if _Kernel.has_openat2 else 0):
        try:
            return syscalls.openat2(root, path, flags, 0, RESOLVE.IN_ROOT | resolve)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                _Kernel.has_openat2 = False
                break
            # EAGAIN: a rename or mount somewhere on the machine, while the path has a `..`, and the
            # kernel can't be sure that it did not lead out. openat2(2): try again.
            if error.errno != errno.EAGAIN:
                raise
    return walk(root, path, flags, resolve)


def walk(root: int, path: str, flags: int = os.O_PATH, resolve: int = 0) -> int:
    """What RESOLVE_IN_ROOT does, by hand: one descriptor a component, links followed here."""
    stack = [os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)]
    todo, links = path.split("/")[::-1], 0
    try:
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack[-1])
            stack.append(fd)
            if not stat.S_ISLNK(os.fstat(fd).st_mode) or (flags & os.O_NOFOLLOW and not todo):
                continue
            links += 1
            if links > _LINKS or resolve & RESOLVE.NO_SYMLINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            text = os.readlink("", dir_fd=fd)
            os.close(stack.pop())
            if text.startswith("/"):
                while len(stack) > 1:
                    os.close(stack.pop())
            todo += text.split("/")[::-1]
        return _reopened(stack[-1], flags)
    finally:
        for fd in stack:
            os.close(fd)


def _reopened(fd: int, flags: int) -> int:
    """A second descriptor of what `fd` stands for, opened as `flags` ask."""
    if flags & os.O_DIRECTORY and not stat.S_ISDIR(os.fstat(fd).st_mode):
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if flags & os.O_PATH:
        return os.dup(fd)
    return os.open(f"/proc/self/fd/{fd}", (flags & ~os.O_NOFOLLOW) | os.O_CLOEXEC)


def open_or_make(
    root: int, path: str, *, directory: bool, resolve: int = 0, links: int = _LINKS
) -> int:
    """As `open_in` with O_PATH; what is missing on the way is made, by descriptor.

    Missing directories get mode 0755; the last component becomes an empty file (0644) where
    `directory` is false. A link that leads to nothing has its target made, inside `root`.
    """
    try:
        return open_in(root, path, os.O_PATH, resolve)
    except FileNotFoundError:
        pass
    parent, _, name = path.rstrip("/").rpartition("/")
    above = open_or_make(root, parent or "/", directory=True, resolve=resolve, links=links)
    try:
        if name in (".", ".."):
            return open_in(root, path, os.O_PATH, resolve)
        if text := _make(above, name, directory):
            if not links or resolve & RESOLVE.NO_SYMLINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = text if text.startswith("/") else f"{parent}/{text}"
            return open_or_make(root, target, directory=directory, resolve=resolve, links=links - 1)
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    finally:
        os.close(above)


def _make(above: int, name: str, directory: bool) -> str:
    """Make one entry. Where there is one already: the text of the link that it is, else ``."""
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=above)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=above))
    except FileExistsError:
        try:
            return os.readlink(name, dir_fd=above)
        except OSError:
            return ""  # somebody else made it just now
    return ""
