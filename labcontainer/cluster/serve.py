"""The manager's process: sockets, the manager, and its end by a signal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    with (
        _alone(options.home),
        daemon.listening(options.places, options.group, options.certificates) as listeners,
    ):
        manager = Manager(f"{options.home}/state.db", options.nodes, options.grace)
        engine = cast(Any, manager)  # the server hands it to the routes, which know what it is
        servers = [server.Server(one, engine, debug=options.debug, routes=api.ROUTES)
                   for one in listeners]  # fmt: skip
        with daemon.Ends() as ends:
            manager.start()
            daemon.begin("labcontainer cluster", servers, options.places, options.ready)
            ends.wait(0, lambda: 0)
            for one in servers:
                one.ending = True
        manager.close()
        return 0


@contextmanager
def _alone(home: str) -> Iterator[None]:
    """Inside the block a directory is ours: two managers would undo each other's work.

    Raises:
        ExistsError: another one has it.
    """
    try:
        fd = locks.hold_file(f"{home}/lock")
    except BlockingIOError:
        raise errors.ExistsError(f"a manager works in {home} already") from None
    try:
        yield
    finally:
        os.close(fd)
