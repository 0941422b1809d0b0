"""The manager's process: sockets, the manager, and its end by a signal."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from labcontainer import errors
from labcontainer.client.address import Address
from labcontainer.cluster import api
from labcontainer.cluster.manager import GRACE, Manager
from labcontainer.daemon import serve as daemon
from labcontainer.daemon import server
from labcontainer.kernel import locks


@dataclass(frozen=True, slots=True)
class Options:
    """What the manager was asked to be. `nodes` are addresses by name; `grace` is in seconds.

    `certificates` are (authority, certificate, key) files; `ready` is a descriptor that is told,
    by one byte, when it listens; -1: nobody waits for that.
    """

    home: str
    places: tuple[daemon.Place, ...]
    nodes: Mapping[str, Address]
    grace: float = GRACE
    group: str = ""
    certificates: tuple[str, str, str] | None = None
    ready: int = -1
    debug: bool = False


def serve(options: Options) -> int:
    """Be the manager until a signal ends it; services go on.

    Raises:
        LabError, OSError: it could not begin; nothing is left.
    """
    os.makedirs(options.home, mode=0o700, exist_ok=True)
    lock = _alone(options.home)
    listeners = [daemon.listen(one, options.group, options.certificates) for one in options.places]
    try:
        manager = Manager(f"{options.home}/state.db", options.nodes, options.grace)
        engine = cast(Any, manager)  # the server hands it to the routes, which know what it is
        servers = [server.Server(one, engine, debug=options.debug, routes=api.ROUTES)
                   for one in listeners]  # fmt: skip
        with daemon.Ends() as ends:
            manager.start()
            for one in servers:
                threading.Thread(target=one.serve_forever, args=(3600,), daemon=True).start()
            for place in options.places:
                print(f"labcontainer cluster: listening on {place}", file=sys.stderr, flush=True)
            if options.ready >= 0:
                os.write(options.ready, b"x")
                os.close(options.ready)
            ends.wait(0, lambda: 0)
            for one in servers:
                one.ending = True
        manager.close()
        return 0
    finally:
        for listener, place in zip(listeners, options.places, strict=True):
            listener.close()
            if place.path:
                daemon.unlink(place.path)
        os.close(lock)


def _alone(home: str) -> int:
    """A descriptor with the lock of a directory: two managers would undo each other's work.

    Raises:
        ExistsError: another one has it.
    """
    fd = os.open(f"{home}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        locks.hold(fd)
    except BlockingIOError:
        os.close(fd)
        raise errors.ExistsError(f"a manager works in {home} already") from None
    return fd
