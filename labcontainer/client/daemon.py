"""The daemon that commands talk to: one that speaks the Docker Engine API at LABCONTAINER_HOST.

This version has no daemon of its own. Docker's and Podman's (`podman system service`) serve.
"""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.client import address, api


def client() -> api.Client:
    """A client of the daemon that is named; its first call tells whether it answers.

    Raises:
        UnsupportedError: none is named, and there is no socket where one of this user's would be.
    """
    where = address.chosen()
    if "LABCONTAINER_HOST" not in os.environ and not os.path.exists(where.path):
        raise errors.UnsupportedError(
            "a container that must be remembered",
            "it needs a daemon, and this version has none of its own",
            "name one that speaks the Docker Engine API: LABCONTAINER_HOST=unix:///run/docker.sock",
        )
    return api.Client(where)
