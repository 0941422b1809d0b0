"""`labcontainer builder prune`: what builds have remembered, and forgetting it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer builder`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    prune = verbs.add_parser("prune", allow_abbrev=False, help="forget what builds have remembered")
    prune.add_argument("-a", "--all", action="store_true", help="also what was used today")
    prune.add_argument("-f", "--force", action="store_true", help="do not ask")


def run(args: Namespace) -> int:
    """`labcontainer builder prune`: forget steps, all of them or those of yesterday and before."""
    from labcontainer.build.cache import Cache
    from labcontainer.image.store import Store

    if not args.force and sys.stdin.isatty():
        answer = input("Forget the build cache? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return 0
    steps, freed = Cache(Store()).prune(0 if args.all else 86400)
    print(f"{steps} steps forgotten, {freed / 1e6:.1f} MB freed")
    return 0
