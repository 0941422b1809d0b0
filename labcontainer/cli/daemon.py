"""`labcontainer daemon`: the Docker Engine API, served."""

from __future__ import annotations

import os

from labcontainer.cli import listening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer daemon`."""
    listening.add_options(parser)
    add = parser.add_argument
    add("--data-root", default="", metavar="DIR", help="where images and containers are kept")
    add("--live-restore", action="store_true", help="containers run on when the daemon ends")
    add("--idle", type=int, default=0, metavar="SECONDS",
        help="end after so long without a running container and without a client")  # fmt: skip
    add("--using", default="", metavar="DIR",
        help="make containers with the functions of your own package, as mycontainer")  # fmt: skip


def run(args: Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from labcontainer.client import address
    from labcontainer.daemon import serve
    from labcontainer.image import roots

    return serve.serve(
        serve.Options(
            home=os.path.abspath(args.data_root or roots.home()),
            places=listening.places(args, address.SOCKET),
            group=args.group,
            certificates=listening.certificates(args),
            live_restore=args.live_restore,
            idle=args.idle,
            ready=args.ready_fd,
            debug=args.debug,
            using=os.path.abspath(args.using) if args.using else "",
        )
    )
