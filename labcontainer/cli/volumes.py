"""`labcontainer volume create ls inspect rm prune`."""

from __future__ import annotations

from labcontainer import errors
from labcontainer.cli import format as form
from labcontainer.cli import lifecycle, looking
from labcontainer.client import api, daemon
from labcontainer.engine import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

HEADERS = {
    "Driver": "DRIVER", "Name": "VOLUME NAME", "Mountpoint": "MOUNTPOINT", "Scope": "SCOPE",
    "Labels": "LABELS", "Size": "SIZE",
}  # fmt: skip
COLUMNS = "{{.Driver}}\t{{.Name}}"


def configure(parser: ArgumentParser) -> None:
    """The words of `labcontainer volume`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    made = verbs.add_parser("create", help="make a volume", allow_abbrev=False)
    made.add_argument("-d", "--driver", default="local", metavar="NAME", help="local (default)")
    made.add_argument("--label", action="append", default=[], metavar="KEY[=VALUE]", help="a label")
    made.add_argument("-o", "--opt", action="append", default=[], metavar="KEY=VALUE",
                      help="type, device and o, as mount(8) has them")  # fmt: skip
    made.add_argument("name", nargs="?", default="", metavar="VOLUME", help="default: a random one")
    listing = verbs.add_parser("ls", aliases=["list"], help="list volumes", allow_abbrev=False)
    looking.add_filter(listing)
    form.add_options(listing, quiet="only the names")
    shown = verbs.add_parser("inspect", help="show all of a volume", allow_abbrev=False)
    shown.add_argument("-f", "--format", default="", metavar="FORM", help="json, or a template")
    shown.add_argument("names", nargs="+", metavar="VOLUME")
    gone = verbs.add_parser("rm", aliases=["remove"], help="remove volumes", allow_abbrev=False)
    gone.add_argument("-f", "--force", action="store_true", help="do not mind missing ones")
    gone.add_argument("names", nargs="+", metavar="VOLUME")
    pruned = verbs.add_parser("prune", help="remove anonymous ones that no container uses")
    pruned.add_argument("-a", "--all", action="store_true", help="those with a name, too")
    pruned.add_argument("-f", "--force", action="store_true", help="do not ask")
    looking.add_filter_long(pruned)


def run(args: Namespace) -> int:
    """Do what the verb says."""
    verb = {"list": "ls", "remove": "rm"}.get(args.verb, args.verb)
    client = daemon.client()
    if verb == "create":
        options, labels = words.pairs(args.opt), words.pairs(args.label)
        body = {"Name": args.name, "Driver": args.driver, "DriverOpts": options, "Labels": labels}
        print(client.post("/volumes/create", body)["Name"])
        return 0
    if verb == "inspect":
        return looking.inspect(args.names, ["volume"], args.format)
    if verb == "ls":
        return _list(client, args)
    if verb == "rm":
        return lifecycle.for_each(
            args.names, lambda name: client.delete(f"/volumes/{name}", force=args.force)
        )
    return _prune(client, args)


def _list(client: api.Client, args: Namespace) -> int:
    found = client.get("/volumes", filters=looking.filters(args.filter))["Volumes"] or []
    rows = [volume_row(one) for one in sorted(found, key=lambda one: one["Name"])]
    print(form.listing(rows, headers=HEADERS, columns=COLUMNS, form=args.format,
                       quiet=args.quiet, identity="Name"), end="")  # fmt: skip
    return 0


def volume_row(one: dict[str, Any]) -> dict[str, Any]:
    """A volume of VolumeList in the words of the table."""
    labels = one.get("Labels") or {}
    size = (one.get("UsageData") or {}).get("Size", -1)
    return {
        "Driver": one["Driver"],
        "Name": one["Name"],
        "Mountpoint": one["Mountpoint"],
        "Scope": one.get("Scope", "local"),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda key: labels.get(key, ""),
        "Size": "N/A" if size < 0 else form.size(size),
        "Links": "N/A" if size < 0 else str(one["UsageData"]["RefCount"]),
        **dict.fromkeys(("Availability", "Group", "Status"), "N/A"),  # a swarm's
    }


def _prune(client: api.Client, args: Namespace) -> int:
    """Since API 1.42 those with a name stay, unless --all is given; before, all went.

    Raises:
        UsageError: --all at a daemon that does not know it.
    """
    version = client.negotiate()
    knows_all = api.numbers(version) >= (1, 42)
    if args.all and not knows_all:
        why = f"requires API version 1.42, but the daemon API version is {version}"
        raise errors.UsageError(f'"--all" {why}')
    kind = "anonymous" if knows_all and not args.all else "all"
    question = f"This will remove {kind} local volumes not used by at least one container."
    if not (args.force or looking.sure(question)):
        return 0
    asked = looking.filters([*args.filter, *(["all=true"] if args.all else [])])
    found = client.post("/volumes/prune", filters=asked)
    if names := found.get("VolumesDeleted"):
        print("Deleted Volumes:", *names, "", sep="\n")
    print(f"Total reclaimed space: {form.size(found.get('SpaceReclaimed') or 0, 4)}")
    return 0
