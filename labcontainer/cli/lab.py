"""`labcontainer lab kernel install`: the Jupyter kernel that is root of a machine of its own."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the command's words and options."""
    parser.add_argument("what", choices=["kernel"], help="the Jupyter kernel in its own machine")
    parser.add_argument("verb", choices=["install", "remove"], help="add it, or take it away")
    parser.add_argument("--prefix", default=sys.prefix, metavar="DIR",
                        help="whose Jupyter; default: this Python environment's")  # fmt: skip
    parser.add_argument("--user", action="store_true", help="for this user, in ~/.local")
    parser.add_argument("--machine", choices=["auto", "uml", "qemu"], default="auto",
                        help="user-mode Linux, QEMU, or what there is")  # fmt: skip
    parser.add_argument("--memory", default="1G", metavar="SIZE", help="the guest's memory")


def run(args: Namespace) -> int:
    """Write or remove the kernel spec, and say where."""
    import site

    from labcontainer.lab import guest_kernel

    prefix = site.getuserbase() if args.user else args.prefix
    if args.verb == "install":
        folder, title = guest_kernel.install(prefix, args.memory, args.machine)
        print(f"{folder}: {title}")
    else:
        for folder in guest_kernel.remove(prefix):
            print(f"{folder}: removed")
    return 0
