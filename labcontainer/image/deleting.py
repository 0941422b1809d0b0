"""Trees deleted by descriptors: no name in them is ever joined to a string or followed."""

from __future__ import annotations

import errno
import os
import stat


def remove(parent: int, name: str) -> bool:
    """Delete a file or a whole tree by the descriptor of its directory; nothing is no error.

    Whether it was a directory.
    """
    if _unlink(parent, name):
        return False
    stack = [(open_directory(parent, name), name)]
    try:
        while stack:
            fd, own = stack[-1]
            deeper = next((inner for inner in os.listdir(fd) if not _unlink(fd, inner)), None)
            if deeper is not None:
                stack.append((open_directory(fd, deeper), deeper))
                continue
            os.close(fd)
            stack.pop()
            os.rmdir(own, dir_fd=stack[-1][0] if stack else parent)
    finally:
        for fd, _ in stack:
            os.close(fd)
    return True


def open_directory(parent: int, name: str) -> int:
    """A directory that can be listed, by the descriptor of its parent; no link is followed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent)


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
