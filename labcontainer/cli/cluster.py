"""`labcontainer cluster serve`: one manager above several daemons."""

from __future__ import annotations

import os

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from labcontainer.client.address import Address

SOCKET = "labcontainer-cluster.sock"  # beside the daemon's own


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer cluster`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    serve = verbs.add_parser("serve", allow_abbrev=False, help="keep services on several daemons")
    add = serve.add_argument
    add("--node", action="append", default=[], metavar="NAME=ADDRESS", required=True,
        help="a daemon, by unix:///PATH or tcp://HOST:PORT; once for each")  # fmt: skip
    add("-H", "--host", action="append", default=[], metavar="ADDRESS",
        help="where the manager listens, likewise; several may be given")  # fmt: skip
    add("--data-root", default="", metavar="DIR", help="where it keeps what is wanted")
    add("--grace", type=float, default=10.0, metavar="SECONDS",
        help="how long a node may be away before its tasks are started elsewhere")  # fmt: skip
    add("-G", "--group", default="", help="who may use the socket beside its owner")
    add("--tlsverify", action="store_true", help="let in only who has a certificate")
    add("--tlscacert", default="", metavar="FILE", help="the authority that signed theirs")
    add("--tlscert", default="", metavar="FILE", help="our own certificate")
    add("--tlskey", default="", metavar="FILE", help="its key")
    add("--ready-fd", type=int, default=-1, metavar="N",
        help="tell this descriptor when it listens")  # fmt: skip
    add("-D", "--debug", action="store_true", help="a line for each request")


def run(args: Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from labcontainer.client import address
    from labcontainer.cluster import serve
    from labcontainer.daemon import serve as daemon
    from labcontainer.image import roots

    usual = address.TLS_PORT if args.tlsverify else address.PORT
    beside = os.path.dirname(address.standard_path())
    hosts = args.host or [f"unix://{beside}/{SOCKET}"]
    return serve.serve(
        serve.Options(
            home=os.path.abspath(args.data_root or f"{roots.home()}/cluster"),
            places=tuple(daemon.Place(*address.split(word, usual)) for word in hosts),
            nodes=nodes(args.node),
            grace=args.grace,
            group=args.group,
            certificates=certificates(args),
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


def certificates(args: Namespace) -> tuple[str, str, str] | None:
    """The three files, if TLS is asked for.

    Raises:
        UsageError: one is missing.
    """
    if not args.tlsverify:
        return None
    if not (args.tlscacert and args.tlscert and args.tlskey):
        raise errors.UsageError("--tlsverify needs --tlscacert, --tlscert and --tlskey")
    ca, cert, key = map(os.path.abspath, (args.tlscacert, args.tlscert, args.tlskey))
    return ca, cert, key
