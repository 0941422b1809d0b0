"""`labcontainer network create ls inspect rm connect disconnect prune`."""

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
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv6": "IPV6",
    "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
}  # fmt: skip
COLUMNS = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}"


def configure(parser: ArgumentParser) -> None:
    """The words of `labcontainer network`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _configure_create(verbs.add_parser("create", help="make a network", allow_abbrev=False))
    listing = verbs.add_parser("ls", aliases=["list"], help="list networks", allow_abbrev=False)
    looking.add_filter(listing)
    form.add_options(listing, quiet="only the ids")
    listing.add_argument("--no-trunc", action="store_true", help="whole ids")
    shown = verbs.add_parser("inspect", help="show all of a network", allow_abbrev=False)
    shown.add_argument("-f", "--format", default="", metavar="FORM", help="json, or a template")
    shown.add_argument("-v", "--verbose", action="store_true", help="taken for Docker's sake")
    shown.add_argument("names", nargs="+", metavar="NETWORK")
    removed = verbs.add_parser("rm", aliases=["remove"], help="remove networks", allow_abbrev=False)
    removed.add_argument("-f", "--force", action="store_true", help="do not mind missing ones")
    removed.add_argument("names", nargs="+", metavar="NETWORK")
    _configure_ends(verbs)
    pruned = verbs.add_parser("prune", help="remove those that no container uses")
    pruned.add_argument("-f", "--force", action="store_true", help="do not ask")
    looking.add_filter_long(pruned)


def _configure_create(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("-d", "--driver", default="bridge", metavar="NAME", help="bridge (default)")
    add("--subnet", action="append", default=[], metavar="CIDR", help="its addresses")
    add("--gateway", action="append", default=[], metavar="IP", help="the bridge's own address")
    add("--ip-range", action="append", default=[], metavar="CIDR", help="those given by itself")
    add("--aux-address", action="append", default=[], metavar="NAME=IP", help="never given")
    add("--ipam-driver", default="default", metavar="NAME", help="who gives addresses")
    add("--ipam-opt", action="append", default=[], metavar="KEY=VALUE", help="an option of that")
    add("--ipv4", nargs="?", const="true", default="", metavar="BOOL", help="IPv4 (default)")
    add("--scope", default="", choices=("local",), help="local (default)")
    add("--internal", action="store_true", help="without a way out")
    add("--ipv6", action="store_true", help="IPv6 too")
    add("--attachable", action="store_true", help="taken for Docker's sake")
    add("--label", action="append", default=[], metavar="KEY[=VALUE]", help="a label")
    add("-o", "--opt", action="append", default=[], metavar="KEY=VALUE", help="an option")
    add("name", metavar="NETWORK")


def _configure_ends(verbs: Any) -> None:
    joined = verbs.add_parser("connect", help="put a container into a network", allow_abbrev=False)
    joined.add_argument(
        "--alias", action="append", default=[], metavar="NAME", help="its name there"
    )
    joined.add_argument("--driver-opt", action="append", default=[], metavar="KEY=VALUE",
                        help="an option of its place there")  # fmt: skip
    joined.add_argument("--ip", default="", metavar="IP", help="its address there")
    joined.add_argument("--ip6", default="", metavar="IP", help="its IPv6 address there")
    joined.add_argument("--link", action="append", default=[], metavar="NAME:ALIAS", help="a link")
    left = verbs.add_parser("disconnect", help="take a container out", allow_abbrev=False)
    left.add_argument("-f", "--force", action="store_true", help="even if it is not there")
    for parser in (joined, left):
        parser.add_argument("network", metavar="NETWORK")
        parser.add_argument("container", metavar="CONTAINER")


def run(args: Namespace) -> int:
    """Do what the verb says."""
    verb = {"list": "ls", "remove": "rm"}.get(args.verb, args.verb)
    client = daemon.client()
    if verb == "create":
        print(client.post("/networks/create", create_body(args))["Id"])
        return 0
    if verb == "inspect":
        return looking.inspect(args.names, ["network"], args.format)
    if verb == "ls":
        return _list(client, args)
    if verb == "rm":
        return lifecycle.for_each(args.names, lambda name: _remove(client, name, args.force))
    if verb == "prune":
        return _prune(client, args)
    body: dict[str, Any] = {"Container": args.container}
    if verb == "disconnect":
        body["Force"] = args.force
    else:
        body["EndpointConfig"] = endpoint(args)
    client.post(f"/networks/{args.network}/{verb}", body)
    return 0


def _remove(client: api.Client, name: str, force: bool) -> None:
    try:
        client.delete(f"/networks/{name}")
    except api.ApiError as error:
        if not (force and error.status == 404):
            raise


def create_body(args: Namespace) -> dict[str, Any]:
    """NetworkCreate: each subnet with its gateway and range, in the order they were given.

    Raises:
        UsageError: a gateway or range without a subnet.
    """
    if (args.gateway or args.ip_range or args.aux_address) and not args.subnet:
        raise errors.UsageError("--gateway, --ip-range and --aux-address need a --subnet")
    pools = []
    for place, subnet in enumerate(args.subnet):
        pool: dict[str, Any] = {"Subnet": subnet}
        for name, given in (("Gateway", args.gateway), ("IPRange", args.ip_range)):
            if place < len(given):
                pool[name] = given[place]
        pools.append(pool)
    if args.aux_address:
        pools[0]["AuxiliaryAddresses"] = words.pairs(args.aux_address)
    found = {
        "Name": args.name, "CheckDuplicate": True, "Driver": args.driver,
        "Internal": args.internal, "Attachable": args.attachable, "EnableIPv6": args.ipv6,
        "IPAM": {"Driver": args.ipam_driver, "Config": pools},
        "Options": words.pairs(args.opt), "Labels": words.pairs(args.label),
    }  # fmt: skip
    if args.ipv4:
        found["EnableIPv4"] = args.ipv4.lower() not in ("false", "0")
    if args.ipam_opt:
        found["IPAM"]["Options"] = words.pairs(args.ipam_opt)
    return found


def endpoint(args: Namespace) -> dict[str, Any]:
    """A container's EndpointSettings."""
    ipam = {}
    if args.ip:
        ipam["IPv4Address"] = args.ip
    if args.ip6:
        ipam["IPv6Address"] = args.ip6
    return {"Aliases": args.alias, "IPAMConfig": ipam, "Links": args.link,
            "DriverOpts": words.pairs(args.driver_opt)}  # fmt: skip


def _list(client: api.Client, args: Namespace) -> int:
    found = client.get("/networks", filters=looking.filters(args.filter))
    rows = [network_row(one, args.no_trunc) for one in sorted(found, key=lambda one: one["Name"])]
    print(form.listing(rows, headers=HEADERS, columns=COLUMNS, form=args.format,
                       quiet=args.quiet), end="")  # fmt: skip
    return 0


def network_row(one: dict[str, Any], whole: bool) -> dict[str, Any]:
    """A network of NetworkList in the words of the table."""
    labels = one.get("Labels") or {}
    return {
        "ID": form.short(one["Id"], whole),
        "Name": one["Name"],
        "Driver": one["Driver"],
        "Scope": one.get("Scope", "local"),
        "IPv4": str(bool(one.get("EnableIPv4"))).lower(),
        "IPv6": str(bool(one.get("EnableIPv6"))).lower(),
        "Internal": str(bool(one.get("Internal"))).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda key: labels.get(key, ""),
        "CreatedAt": looking.exact_time(one["Created"]),
    }


def _prune(client: api.Client, args: Namespace) -> int:
    question = "This will remove all custom networks not used by at least one container."
    if not (args.force or looking.sure(question)):
        return 0
    found = client.post("/networks/prune", filters=looking.filters(args.filter))
    if names := found.get("NetworksDeleted"):
        print("Deleted Networks:", *names, "", sep="\n")
    return 0
