"""The files of a container, running or not, as one directory that only its descriptor leads to.

A running container's root is at /proc/PID/root. That of one that does not run is an overlay that
nobody has mounted: a thread of ours steps into a mount namespace of its own, mounts it there with
the container's volumes, takes a detached copy of the mounts (open_tree(2)) along and ends. So the
machine's own mount table never has an entry of ours, whatever becomes of this process.
"""

from __future__ import annotations

import os
import threading
import time

from labcontainer import errors, namespaces, overlay
from labcontainer.image import inside
from labcontainer.kernel import confined, syscalls
from labcontainer.kernel.flags import AT, CLONE, MS, OPEN_TREE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self, TypeVar

    from labcontainer.engine.container import Container

    Found = TypeVar("Found")

RECURSIVE = 0x8000  # AT_RECURSIVE: open_tree(2)
PATIENCE = 10  # seconds that the end of a container may take to be told


class JustEndedError(errors.StateError):
    """Its process is gone, and its monitor is about to tell."""


def patiently(look: Callable[[], Found]) -> Found:
    """What `look` finds; it looks again where the container had just ended.

    Not to be called with the container's lock: who is to tell of its end waits for that.

    Raises:
        JustEndedError: the end is not told for long.
    """
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            return look()
        except JustEndedError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.01)


def fields(container: Container) -> dict[str, Any]:
    """The container's overlay: the fields of an Overlay, and where it is mounted."""
    home = container.home
    return {
        "lowers": (f"{home}/init", *container.lowers),
        "upper": f"{home}/upper",
        "work": f"{home}/work",
        "user_xattr": inside.in_user_namespace(),
    }


def is_copied(container: Container) -> bool:
    """Whether the root is a copy of the image's files, since no overlay can be mounted here."""
    return os.path.isdir(f"{container.home}/before")


class View:
    """The root directory as the descriptor `fd`, until its block ends.

    Args:
        volumes: (source, target) of directories that are to be seen in it too, where the container
            is not running.
        alone: without what is mounted in it.
    """

    def __init__(
        self,
        container: Container,
        volumes: tuple[tuple[str, str], ...] = (),
        *,
        alone: bool = False,
    ) -> None:
        if container.state.running:
            self.fd = _running(container.state.pid, alone)
            return
        if is_copied(container) and not volumes:
            self.fd = _directory(f"{container.home}/root")
        else:
            self.fd = _in_own_thread(lambda: _detached(container, volumes))

    @property
    def path(self) -> str:
        """A path by which other processes reach it while it is open."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Let go of it; what was mounted for it goes."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Layer:
    """The directory of one layer as the descriptor `fd`, until its block ends."""

    def __init__(self, path: str) -> None:
        self.fd = _directory(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _running(pid: int, alone: bool) -> int:
    """The root of a running container's first process.

    Raises:
        JustEndedError: it has, and perhaps a process of the host has its number: it shows the
            host's.
    """
    try:
        return _running_alone(pid) if alone else _running_with_all(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise JustEndedError("the container has just ended") from None


def _running_with_all(pid: int) -> int:
    root = _directory(f"/proc/{pid}/root")
    try:
        if namespaces.same(pid, "self", "mount"):
            raise JustEndedError("the container has just ended")
    except BaseException:
        os.close(root)
        raise
    return root


def _running_alone(pid: int) -> int:
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    if os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/mnt")):
        os.close(namespace)
        raise JustEndedError("the container has just ended")

    def root() -> int:
        syscalls.setns(namespace, CLONE.NEWNS)
        return syscalls.open_tree(AT.FDCWD, "/", OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC)

    try:
        return _in_own_thread(root)
    finally:
        os.close(namespace)


def _directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _in_own_thread(work: Callable[[], int]) -> int:
    """Do it in a thread that ends then, and its mount namespace with it."""
    found: list[int | BaseException] = []

    def run() -> None:
        try:
            # In a process of several threads this one leaves alone: unshare(2), CLONE_NEWNS.
            syscalls.unshare(CLONE.NEWNS)
            syscalls.mount(None, "/", None, MS.REC | MS.SLAVE)
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (result,) = found
    if isinstance(result, BaseException):
        raise result
    return result


def _detached(container: Container, volumes: tuple[tuple[str, str], ...]) -> int:
    target = f"{container.home}/root"
    if not is_copied(container):
        overlay.mount(overlay.Overlay(**fields(container)), target)
    root = _directory(target)
    try:
        for source, place in volumes:
            _show(root, source, place)
        return syscalls.open_tree(AT.FDCWD, target, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | RECURSIVE)
    finally:
        os.close(root)


def _show(root: int, source: str, place: str) -> None:
    """Bind a volume to its place inside the root; one whose place is not there yet is left out."""
    try:
        there = confined.open_in(root, place)
    except FileNotFoundError:
        return
    try:
        syscalls.mount(source, f"/proc/self/fd/{there}", None, MS.BIND | MS.REC)
    except NotADirectoryError:
        pass  # a file on a directory, or the other way: the start will tell
    finally:
        os.close(there)


def probe(container: Container) -> bool:
    """Whether the container's overlay can be mounted here."""
    try:
        View(container).close()
    except (OSError, errors.UnsupportedError):
        return False
    return True
