"""`labcontainer cluster serve`: one manager above several daemons."""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.cli import listening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from labcontainer.client.address import Address

SOCKET = "labcontainer-cluster.sock"  # beside the daemon's own


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer cluster`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    serve = verbs.add_parser("serve", allow_abbrev=False, help="keep services on several daemons")
    listening.add_options(serve)
    add = serve.add_argument
    add("--node", action="append", default=[], metavar="NAME=ADDRESS", required=True,
        help="a daemon, by unix:///PATH or tcp://HOST:PORT; once for each")  # fmt: skip
    add("--data-root", default="", metavar="DIR", help="where it keeps what is wanted")
    add("--grace", type=float, default=10.0, metavar="SECONDS",
        help="how long a node may be away before its tasks are started elsewhere")  # fmt: skip


def run(args: Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from labcontainer.cluster import serve
    from labcontainer.image import roots

    return serve.serve(
        serve.Options(
            home=os.path.abspath(args.data_root or f"{roots.home()}/cluster"),
            places=listening.places(args, SOCKET),
            nodes=nodes(args.node),
            grace=args.grace,
            group=args.group,
            certificates=listening.certificates(args),
            ready=args.ready_fd,
            debug=args.debug,
        )
    )


def nodes(words: list[str]) -> dict[str, Address]:
    """The daemons by their names.

    Raises:
        UsageError: a word is no NAME=ADDRESS, or a name or a daemon is given twice.
    """
    from labcontainer.client import address

    found: dict[str, Address] = {}
    for word in words:
        name, equals, where = word.partition("=")
        if not (name and equals and where) or "/" in name:
            raise errors.UsageError(f"invalid value {word!r} for --node: it is NAME=ADDRESS")
        place = address.parse(where)
        if name in found or place in found.values():
            raise errors.UsageError(f"--node {word}: it is given twice")
        found[name] = place
    return found
