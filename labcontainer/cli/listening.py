"""Where a server of ours listens, and who may come in: options that daemon and manager share."""

from __future__ import annotations

import os

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from labcontainer.daemon.serve import Place


def add_options(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("-H", "--host", action="append", default=[], metavar="ADDRESS",
        help="where it listens: unix:///PATH or tcp://HOST:PORT; several may be given")  # fmt: skip
    add("-G", "--group", default="", help="who may use the socket beside its owner")
    add("--tlsverify", action="store_true", help="let in only who has a certificate")
    add("--tlscacert", default="", metavar="FILE", help="the authority that signed theirs")
    add("--tlscert", default="", metavar="FILE", help="our own certificate")
    add("--tlskey", default="", metavar="FILE", help="its key")
    add("--ready-fd", type=int, default=-1, metavar="N",
        help="tell this descriptor when it listens")  # fmt: skip
    add("-D", "--debug", action="store_true", help="a line for each request")


def places(args: Namespace, name: str) -> tuple[Place, ...]:
    """Where to listen; where nothing is said, at the user's standard socket of that name."""
    from labcontainer.client import address
    from labcontainer.daemon import serve

    port = address.TLS_PORT if args.tlsverify else address.PORT
    hosts = args.host or [f"unix://{address.standard_path(name)}"]
    return tuple(serve.Place(*address.split(word, port)) for word in hosts)


def certificates(args: Namespace) -> tuple[str, str, str] | None:
    """The files of authority, certificate and key, if TLS is asked for.

    Raises:
        UsageError: one is missing.
    """
    if not args.tlsverify:
        return None
    if not (args.tlscacert and args.tlscert and args.tlskey):
        raise errors.UsageError("--tlsverify needs --tlscacert, --tlscert and --tlskey")
    ca, cert, key = map(os.path.abspath, (args.tlscacert, args.tlscert, args.tlskey))
    return ca, cert, key
