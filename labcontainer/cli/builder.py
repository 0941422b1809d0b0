"""`labcontainer builder prune`: what builds have remembered, and forgetting it."""

from __future__ import annotations

import sys

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer builder`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    prune = verbs.add_parser("prune", allow_abbrev=False, help="forget what builds have remembered")
    prune.add_argument("-a", "--all", action="store_true", help="also what was used today")
    prune.add_argument("-f", "--force", action="store_true", help="do not ask")
    prune.add_argument("--filter", action="append", default=[], metavar="until=TIME",
                       help="what was not used for so long, 24h by default")  # fmt: skip


def run(args: Namespace) -> int:
    """`labcontainer builder prune`: forget steps, all of them or those of yesterday and before."""
    from labcontainer.build.cache import Cache
    from labcontainer.cli import format as form
    from labcontainer.cli import looking
    from labcontainer.engine import moments
    from labcontainer.image.store import Store

    asked = looking.filters(args.filter) or {}
    if set(asked) - {"until"}:
        raise errors.UsageError(f"invalid filter {next(iter(set(asked) - {'until'}))!r}: until")
    unused = moments.seconds(asked["until"][-1]) if asked else 86400.0
    if not args.force and sys.stdin.isatty():
        answer = input("Forget the build cache? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return 0
    _, freed = Cache(Store()).prune(0 if args.all and not asked else unused)
    print(f"Total reclaimed space: {form.size(freed, 4)}")
    return 0
