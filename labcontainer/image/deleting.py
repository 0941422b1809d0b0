"""Trees deleted by descriptors: no name in them is ever joined to a string or followed.

A tree is a stranger's: deeper than a process may have descriptors open, or with a mount in it that
leads to files that are not the tree's own.
"""

from __future__ import annotations

import errno
import os
import stat

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import RESOLVE

_DEEPEST = 200  # levels that are open at once; what lies deeper is moved up
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(parent: int, name: str) -> bool:
    """Delete a file or a whole tree by the descriptor of its directory; nothing is no error.

    Whether it was a directory.

    Raises:
        OSError: EXDEV, something is mounted in it: nothing of that is touched; or as unlink(2).
    """
    if _unlink(parent, name):
        return False
    stack: list[tuple[int, str, list[str]]] = []
    try:
        _enter(stack, parent, name)
        while stack:
            fd, own, left = stack[-1]
            if not left:
                os.rmdir(own, dir_fd=stack[-2][0] if len(stack) > 1 else parent)
                os.close(fd)
                stack.pop()
            elif not _unlink(fd, inner := left.pop()):
                if len(stack) < _DEEPEST:
                    _enter(stack, fd, inner)
                else:
                    top, _, waiting = stack[0]
                    waiting.append(os.urandom(16).hex())
                    os.rename(inner, waiting[-1], src_dir_fd=fd, dst_dir_fd=top)
    finally:
        for fd, _, _ in stack:
            os.close(fd)
    return True


def _enter(stack: list[tuple[int, str, list[str]]], parent: int, name: str) -> None:
    fd = _open_unmounted(parent, name)
    stack.append((fd, name, []))
    stack[-1][2].extend(os.listdir(fd))


def _open_unmounted(parent: int, name: str) -> int:
    """A directory, unless something is mounted on it."""
    try:
        return syscalls.openat2(parent, name, _FLAGS, 0, RESOLVE.NO_XDEV)
    except OSError as error:
        if error.errno != errno.ENOSYS:  # Linux before 5.6
            raise
    return open_directory(parent, name)


def open_directory(parent: int, name: str) -> int:
    """A directory that can be listed, by the descriptor of its parent; no link is followed."""
    return os.open(name, _FLAGS, dir_fd=parent)


def _unlink(parent: int, name: str) -> bool:
    """Whether the name is gone now; a directory's is not."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            raise
        return False
    return True
