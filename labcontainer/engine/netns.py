"""The network namespace of an ordinary user's daemon: there the user may do what root does here.

    the host's                          the daemon's                          a container's
    +--------------------------+       +----------------------------+       +------------------+
    | slirp4netns, pasta ======|= tap =| eth0 --- NAT --- lcbr0, … -|= veth =| eth0 10.231.0.2 |
    | published ports ---------|-------| forwarder.py --------------|------>|                  |
    +--------------------------+       +----------------------------+       +------------------+

Bridges, cables and packet rules are those of network.py, made in here. One program is the way out
of all containers (usernet.py), another carries published ports in. Both end with the daemon.

The namespace itself is mounted on a file, in a mount namespace that the daemon and its containers'
monitors share: so it is there for as long as one of these is, and the next daemon finds it.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from labcontainer import errors, usernet
from labcontainer.engine import programs
from labcontainer.kernel import netlink, nsfs, sockets, syscalls
from labcontainer.kernel.flags import CLONE, MNT, MS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

SUBNET = f"{usernet.SLIRP_GATEWAY}/24"  # what no bridge may have


class NetworkNamespace:
    """The namespace, with its way out. It is made when it is first needed."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/netns"
        self._noted = f"{folder}/router"
        self._lock = threading.RLock()
        self._router: usernet.Running | None = None
        self._told = ""
        programs.end(self._noted)
        self._fd = self._find()

    def __bool__(self) -> bool:
        """Whether it is there."""
        return self._fd >= 0

    def _find(self) -> int:
        """A descriptor of the one that a daemon before this one made; -1 without one."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1
        if nsfs.is_namespace(fd):
            return fd
        os.close(fd)
        return -1

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns in there; it raises what the function raises.

        Raises:
            OSError: this user may make no network namespace.
        """
        return netlink.call_in(self.open(), lambda: function(*args, **kwargs))

    def open(self) -> int:
        """Its descriptor, which is not the caller's to close.

        Raises:
            OSError: this user may make no network namespace.
        """
        with self._lock:
            if self._fd < 0:
                self._fd = self._make()
            return self._fd

    def _make(self) -> int:
        """A new one, mounted on its file: a thread makes it and ends, the caller stays outside."""
        with open(self._path, "w"):
            pass

        def make() -> None:
            syscalls.unshare(CLONE.NEWNET)
            sockets.raise_loopback()
            syscalls.mount("/proc/thread-self/ns/net", self._path, None, MS.BIND)

        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(make).result()
        return self._find()

    # --- the way out ------------------------------------------------------------------------------

    @staticmethod
    def missing() -> str:
        """Why there can be no way out, and what to install; "" where there can."""
        try:
            usernet.choose()
        except errors.UnsupportedError as error:
            return f"containers reach one another, but not the outside: {error.why}; {error.fix}"
        return ""

    def lead_out(self, stands_there: int) -> int:
        """Give it a way out, if it has none; where no program for that is installed, say so.

        `stands_there` is the number of a process in it. Returns that of the program, if one was
        started, else 0.

        Raises:
            LabError: the program gave no network; shows its own words.
        """
        with self._lock:
            if self._router is not None and self._router.process.poll() is None:
                return 0
            self._end_router()
            if why := self.missing():
                if why != self._told:
                    print(f"labcontainer daemon: {why}", file=sys.stderr, flush=True)
                self._told = why
                return 0
            plan = usernet.plan(stands_there)
            self._router = usernet.start(plan, "", lambda pid: programs.note(self._noted, pid))
            return self._router.process.pid

    def _end_router(self) -> None:
        if self._router is not None:
            self._router.close()
        self._router = None
        programs.end(self._noted)

    # --- the end ----------------------------------------------------------------------------------

    def close(self, *, remove: bool) -> None:
        """End the way out; with `remove` the namespace too, else the next daemon finds it."""
        with self._lock:
            self._end_router()
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
                if remove:
                    syscalls.umount2(self._path, MNT.DETACH)
                    os.unlink(self._path)
