"""The whole table of routes, and what every answer says of this daemon."""

from __future__ import annotations

import importlib

from labcontainer.daemon.routing import Route
from labcontainer.runtime.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgspec import Struct

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


def prepare_types() -> None:
    """Let msgspec work out the types of all bodies now, in one thread.

    It does that when it first meets a type, and a second thread that meets it meanwhile reads what
    is half written: the process ends by SIGSEGV (seen with msgspec 0.22, holding the GIL).
    """
    import msgspec

    for kind in _kinds(msgspec.Struct):
        msgspec.json.Decoder(kind)


def _kinds(above: type[Struct]) -> Iterator[type[Struct]]:
    for kind in above.__subclasses__():
        yield kind
        yield from _kinds(kind)
