"""The daemon that commands talk to: the one that is named, else one of this user's own.

LABCONTAINER_HOST names any that speaks the Docker Engine API. Without it, a daemon of ours is
started when none runs; it ends itself when nothing runs and nobody asks (IDLE).
"""

from __future__ import annotations

import os
import sys

from labcontainer import errors
from labcontainer.client import address, api, http

IDLE = 60  # seconds


def client() -> api.Client:
    """A client of the daemon.

    Raises:
        LabError: it does not answer, and none could be started.
    """
    where = address.chosen()
    if "LABCONTAINER_HOST" not in os.environ and not is_there(where.path):
        start(where.path)
    return api.Client(where)


def is_there(path: str) -> bool:
    """Whether somebody listens at a socket's path."""
    try:
        http.connect_unix(path).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def start(path: str) -> None:
    """Start a daemon of this user's own and wait until it listens.

    Raises:
        LabError: it ended at once; says what it said.
    """
    from labcontainer.image import roots

    log = f"{roots.home()}/daemon.log"
    os.makedirs(os.path.dirname(log), mode=roots.closed_mode(), exist_ok=True)
    ready, theirs = os.pipe()
    words = [sys.executable, "-m", "labcontainer.cli.main", "daemon", "--host", f"unix://{path}",
             "--idle", str(IDLE), "--ready-fd", str(theirs)]  # fmt: skip
    os.set_inheritable(theirs, True)
    with open(log, "wb") as file, open(os.devnull, "rb") as nothing:
        given = [(os.POSIX_SPAWN_DUP2, source.fileno(), fd)
                 for fd, source in enumerate((nothing, file, file))]  # fmt: skip
        os.posix_spawn(sys.executable, words, os.environ, file_actions=given, setsid=True)
    os.close(theirs)
    told = os.read(ready, 1)
    os.close(ready)
    if told or is_there(path):  # another command's may have been quicker
        return
    with open(log, errors="replace") as file:
        said = file.read().strip().splitlines()
    raise errors.LabError(f"no daemon could be started: {said[-1] if said else log}")
