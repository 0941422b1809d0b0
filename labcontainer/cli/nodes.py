"""`labcontainer node VERB`: the daemons of a cluster, asked of its manager (LABCONTAINER_HOST)."""

from __future__ import annotations

from labcontainer import errors
from labcontainer.cli import format as form
from labcontainer.cli import lifecycle, looking, services
from labcontainer.client import api, daemon
from labcontainer.engine import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

HEADERS = {"ID": "ID", "Hostname": "HOSTNAME", "Status": "STATUS", "Availability": "AVAILABILITY",
           "ManagerStatus": "MANAGER STATUS", "EngineVersion": "ENGINE VERSION"}  # fmt: skip
# Docker marks the node that it asked by a star after its id; the manager here is no node.
COLUMNS = "{{.ID}}  \t" + "\t".join(f"{{{{.{name}}}}}" for name in list(HEADERS)[1:])


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer node`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listed = verbs.add_parser("ls", help="list nodes", allow_abbrev=False, aliases=["list"])
    looking.add_filter(listed)
    form.add_options(listed, quiet="ids only")
    shown = verbs.add_parser("inspect", help="show all of a node", allow_abbrev=False)
    shown.add_argument("-f", "--format", default="", metavar="FORM", help="json, or a template")
    shown.add_argument("names", nargs="+", metavar="NODE")
    changed = verbs.add_parser("update", help="change a node", allow_abbrev=False)
    changed.add_argument("--availability", choices=("active", "pause", "drain"), help="for tasks")
    changed.add_argument("--label-add", action="append", default=[], metavar="KEY=VALUE",
                         help="a label")  # fmt: skip
    changed.add_argument("--label-rm", action="append", default=[], metavar="KEY",
                         help="a label less")  # fmt: skip
    changed.add_argument("name", metavar="NODE")
    tasks = verbs.add_parser("ps", help="list the tasks of nodes", allow_abbrev=False)
    services.add_task_options(tasks)
    tasks.add_argument("names", nargs="+", metavar="NODE")


def run(args: Namespace) -> int:
    """Do what the verb says."""
    client = daemon.client()
    if args.verb in ("ls", "list"):
        return _list(client, args)
    if args.verb == "inspect":
        return looking.inspect(args.names, ["node"], args.format)
    if args.verb == "ps":
        nodes = [client.get(f"/nodes/{name}")["ID"] for name in args.names]
        return services.list_tasks(client, args, {"node": nodes})
    return lifecycle.for_each([args.name], lambda name: _update(client, name, args))


def _list(client: api.Client, args: Namespace) -> int:
    found = client.get("/nodes", filters=looking.filters(args.filter))
    rows = [_row(one) for one in sorted(found, key=lambda one: one["Description"]["Hostname"])]
    print(form.listing(rows, headers=HEADERS, columns=COLUMNS, form=args.format,
                       quiet=args.quiet), end="")  # fmt: skip
    return 0


def _row(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "ID": one["ID"],
        "Hostname": one["Description"]["Hostname"],
        "Status": one["Status"]["State"].capitalize(),
        "Availability": one["Spec"]["Availability"].capitalize(),
        "ManagerStatus": "Leader" if (one.get("ManagerStatus") or {}).get("Leader") else "",
        "EngineVersion": one["Description"]["Engine"].get("EngineVersion", ""),
    }


def _update(client: api.Client, name: str, args: Namespace) -> None:
    found = client.get(f"/nodes/{name}")
    spec = found["Spec"]
    labels = {**(spec.get("Labels") or {}), **words.pairs(args.label_add)}
    for key in args.label_rm:
        if key not in labels:
            raise errors.NotFoundError(f"key {key} doesn't exist in node's labels")
        del labels[key]
    spec |= {"Labels": labels, "Availability": args.availability or spec["Availability"]}
    client.post(f"/nodes/{found['ID']}/update", spec, version=found["Version"]["Index"])
