"""`labcontainer daemon`: the Docker Engine API, served."""

from __future__ import annotations

import os

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer daemon`."""
    add = parser.add_argument
    add("-H", "--host", action="append", default=[], metavar="ADDRESS",
        help="unix:///PATH or tcp://HOST:PORT; several may be given")  # fmt: skip
    add("--data-root", default="", metavar="DIR", help="where images and containers are kept")
    add("-G", "--group", default="", help="who may use the socket beside its owner")
    add("--tlsverify", action="store_true", help="let in only who has a certificate")
    add("--tlscacert", default="", metavar="FILE", help="the authority that signed theirs")
    add("--tlscert", default="", metavar="FILE", help="our own certificate")
    add("--tlskey", default="", metavar="FILE", help="its key")
    add("--live-restore", action="store_true", help="containers run on when the daemon ends")
    add("--idle", type=int, default=0, metavar="SECONDS",
        help="end after so long without a running container and without a client")  # fmt: skip
    add(
        "--ready-fd", type=int, default=-1, metavar="N", help="tell this descriptor when it listens"
    )
    add("--using", default="", metavar="DIR",
        help="make containers with the functions of your own package, as mycontainer")  # fmt: skip
    add("-D", "--debug", action="store_true", help="a line for each request")


def run(args: Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from labcontainer.client import address
    from labcontainer.daemon import serve
    from labcontainer.image import roots

    usual = address.TLS_PORT if args.tlsverify else address.PORT
    hosts = args.host or [f"unix://{address.standard_path()}"]
    places = [serve.Place(*address.split(word, usual)) for word in hosts]
    certificates = None
    if args.tlsverify:
        files = (args.tlscacert, args.tlscert, args.tlskey)
        if not all(files):
            raise errors.UsageError("--tlsverify needs --tlscacert, --tlscert and --tlskey")
        certificates = (os.path.abspath(files[0]), os.path.abspath(files[1]),
                        os.path.abspath(files[2]))  # fmt: skip
    return serve.serve(
        serve.Options(
            home=os.path.abspath(args.data_root or roots.home()),
            places=tuple(places),
            group=args.group,
            certificates=certificates,
            live_restore=args.live_restore,
            idle=args.idle,
            ready=args.ready_fd,
            debug=args.debug,
            using=os.path.abspath(args.using) if args.using else "",
        )
    )
