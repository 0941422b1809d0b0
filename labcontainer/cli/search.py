"""`labcontainer search WORD`: images in a registry's index."""

from __future__ import annotations

from labcontainer.cli import format as form
from labcontainer.cli import looking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS",
                  "IsOfficial": "OFFICIAL", "IsAutomated": "AUTOMATED"}  # fmt: skip
COLUMNS = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}"


def configure(parser: ArgumentParser) -> None:
    """The words of `labcontainer search`."""
    looking.add_filter(parser)
    form.add_options(parser)
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="25 by default, 100 most")
    parser.add_argument("--no-trunc", action="store_true", help="whole descriptions")
    parser.add_argument("term", metavar="WORD", help="or REGISTRY/WORD")


def run(args: Namespace) -> int:
    """Look for images in a registry's index."""
    from labcontainer.engine import image_search
    from labcontainer.image import auth, reference

    registry = args.term.partition("/")[0] if "/" in args.term else reference.HUB
    found = image_search.search(
        args.term, args.limit, looking.filters(args.filter) or {}, auth.find(registry)
    )
    rows = [
        {
            "Name": one["name"],
            "Description": _description(one["description"], whole=args.no_trunc),
            "StarCount": str(one["star_count"]),
            "IsOfficial": "[OK]" if one["is_official"] else "",
            "IsAutomated": "[OK]" if one["is_automated"] else "",
        }
        for one in found
    ]
    print(form.listing(rows, headers=HEADERS, columns=COLUMNS, form=args.format),
          end="")  # fmt: skip
    return 0


def _description(text: str, *, whole: bool) -> str:
    line = " ".join(text.split())
    return line if whole else form.ellipsis(line, 45)
