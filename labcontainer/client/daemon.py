"""The daemon that commands talk to: the one at LABCONTAINER_HOST, else this user's own, which is
started when none runs and ends by itself when nothing is left for it to do."""

from __future__ import annotations

import os
import select
import subprocess
import sys

from labcontainer import errors
from labcontainer.client import address, api, http

PATIENCE = 20  # seconds for a daemon to say that it is ready


def client() -> api.Client:
    """A client whose daemon answers; an own one is started on demand.

    Raises:
        LabError: it could not be started; the last line that it wrote says why.
    """
    found = api.Client()
    try:
        http.connect(found.address).close()
    except http.ConnectError:
        if "LABCONTAINER_HOST" in os.environ:
            raise
        start(found.address)
    return found


def start(where: address.Address) -> None:
    """Start this user's daemon in the background, and wait until it listens.

    It writes one byte to a pipe of ours when it does, and closes it when it fails.
    """
    ready, theirs = os.pipe()
    log = os.memfd_create("labcontainer-daemon-start")
    try:
        words = [sys.executable, "-m", "labcontainer.cli.main", "daemon"]
        subprocess.Popen(
            [*words, "--host", str(where), "--ready-fd", str(theirs)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs,),
            start_new_session=True, cwd="/",
        )  # fmt: skip
        os.close(theirs)
        if not select.select([ready], [], [], PATIENCE)[0]:
            raise errors.LabError(f"the daemon was not ready within {PATIENCE} s")
        if not os.read(ready, 1):
            os.lseek(log, 0, os.SEEK_SET)
            lines = os.read(log, 65536).decode(errors="replace").strip().splitlines()
            raise errors.LabError(f"the daemon did not start: {lines[-1] if lines else 'no word'}")
    finally:
        os.close(ready)
        os.close(log)
