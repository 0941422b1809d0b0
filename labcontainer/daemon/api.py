"""The whole table of routes, and what every answer says of this daemon."""

from __future__ import annotations

import importlib

from labcontainer.daemon.routing import Route
from labcontainer.runtime.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = f"labcontainer/{VERSION} (linux)"
OLDEST, NEWEST = (1, 24), (1, 44)  # versions of the API
OLDEST_WORD, NEWEST_WORD = "1.24", "1.44"
HEADERS = {
    "Api-Version": NEWEST_WORD,
    "Docker-Experimental": "false",
    "Ostype": "linux",
}
# A module for each of Docker's nouns, each with its ROUTES. `off` has what Docker answers where
# swarm, plugins and sessions are off; it comes last.
NOUNS = ("system", "containers", "streams", "execs", "files", "images", "builds", "networks",
         "volumes", "off")  # fmt: skip


def routes() -> Iterator[Route]:
    """All routes."""
    for noun in NOUNS:
        yield from importlib.import_module(f"labcontainer.daemon.{noun}").ROUTES
