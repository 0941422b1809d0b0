"""`labcontainer service VERB`: what a cluster keeps running, ordered from its manager.

The manager is the one that LABCONTAINER_HOST names. Orders are given and not waited for, as with
docker's --detach: `ps` shows how far they are.
"""

from __future__ import annotations

import sys

from labcontainer import errors
from labcontainer.cli import format as form
from labcontainer.cli import lifecycle, looking, service_words
from labcontainer.client import api, daemon, http
from labcontainer.engine import moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    Row = dict[str, Any]

HEADERS = {"ID": "ID", "Name": "NAME", "Mode": "MODE", "Replicas": "REPLICAS", "Image": "IMAGE",
           "Ports": "PORTS"}  # fmt: skip
COLUMNS = "\t".join(f"{{{{.{name}}}}}" for name in HEADERS)
TASK_HEADERS = {"ID": "ID", "Name": "NAME", "Image": "IMAGE", "Node": "NODE",
                "DesiredState": "DESIRED STATE", "CurrentState": "CURRENT STATE",
                "Error": "ERROR", "Ports": "PORTS"}  # fmt: skip
TASK_COLUMNS = "\t".join(f"{{{{.{name}}}}}" for name in TASK_HEADERS)
ERROR_WIDTH = 30  # of the column, as Docker has it


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer service`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    made = verbs.add_parser("create", help="want a service", allow_abbrev=False)
    service_words.add_create(made)
    changed = verbs.add_parser("update", help="want it otherwise", allow_abbrev=False)
    service_words.add_update(changed)
    listed = verbs.add_parser("ls", help="list services", allow_abbrev=False, aliases=["list"])
    looking.add_filter(listed)
    form.add_options(listed, quiet="ids only")
    tasks = verbs.add_parser("ps", help="list the tasks of services", allow_abbrev=False)
    add_task_options(tasks)
    shown = verbs.add_parser("inspect", help="show all of a service", allow_abbrev=False)
    shown.add_argument("-f", "--format", default="", metavar="FORM", help="json, or a template")
    gone = verbs.add_parser("rm", help="want services no longer", allow_abbrev=False)
    for one in (tasks, shown, gone):
        one.add_argument("names", nargs="+", metavar="SERVICE")
    scaled = verbs.add_parser("scale", help="want more or fewer tasks", allow_abbrev=False)
    scaled.add_argument("-d", "--detach", action="store_true", help="it never waits: Docker's flag")
    scaled.add_argument("pairs", nargs="+", metavar="SERVICE=REPLICAS")
    back = verbs.add_parser("rollback", help="want it as it was before", allow_abbrev=False)
    back.add_argument("-d", "--detach", action="store_true", help="it never waits: Docker's flag")
    back.add_argument("service", metavar="SERVICE")
    said = verbs.add_parser("logs", help="print what its tasks have said", allow_abbrev=False)
    said.add_argument("-f", "--follow", action="store_true", help="and what they say from now on")
    said.add_argument("-n", "--tail", default="all", metavar="N", help="the last lines of each")
    said.add_argument("-t", "--timestamps", action="store_true", help="with the time of each line")
    said.add_argument("--raw", action="store_true", help="without saying whose a line is")
    said.add_argument("service", metavar="SERVICE")


def add_task_options(parser: ArgumentParser) -> None:
    """What lists of tasks have, those of services and of nodes."""
    looking.add_filter(parser)
    form.add_options(parser, quiet="ids only")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids and errors")


def run(args: Namespace) -> int:
    """Do what the verb says."""
    client = daemon.client()
    verb = {"list": "ls"}.get(args.verb, args.verb)
    if verb == "inspect":
        return looking.inspect(args.names, ["service"], args.format)
    if verb == "rm":
        return lifecycle.for_each(args.names, lambda name: client.delete(f"/services/{name}"))
    if verb == "create":
        print(client.post("/services/create", service_words.created(args))["ID"])
        return 0
    if verb == "scale":
        return _scale(client, args.pairs)
    if verb == "ps":
        services = [client.get(f"/services/{name}")["ID"] for name in args.names]
        return list_tasks(client, args, {"service": services})
    return {"ls": _list, "update": _update, "rollback": _update, "logs": _logs}[verb](client, args)


def _update(client: api.Client, args: Namespace) -> int:
    """Change a service: it is told what it was changed from."""
    found = client.get(f"/services/{args.service}")
    back = args.verb == "rollback"
    spec = found["Spec"] if back else service_words.changed(found["Spec"], args)
    client.post(f"/services/{found['ID']}/update", spec, version=found["Version"]["Index"],
                rollback="previous" if back else None)  # fmt: skip
    print(args.service)
    return 0


def _scale(client: api.Client, pairs: list[str]) -> int:
    """Change how many tasks; each service on its own. 1 if one could not be."""
    status = 0
    for pair in pairs:
        name, _, number = pair.partition("=")
        if not (name and number.isdecimal()):
            raise errors.UsageError(f"invalid scale specifier {pair!r}: it is SERVICE=REPLICAS")
        try:
            found = client.get(f"/services/{name}")
            if "Replicated" not in found["Spec"]["Mode"]:
                raise errors.StateError("scale can only be used with replicated mode")
            found["Spec"]["Mode"]["Replicated"]["Replicas"] = int(number)
            client.post(f"/services/{found['ID']}/update", found["Spec"],
                        version=found["Version"]["Index"])  # fmt: skip
        except (api.ApiError, errors.StateError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 1
        else:
            print(f"{name} scaled to {number}")
    return status


# --- lists ----------------------------------------------------------------------------------------


def _list(client: api.Client, args: Namespace) -> int:
    found = client.get("/services", filters=looking.filters(args.filter), status=True)
    rows = [_row(one) for one in sorted(found, key=lambda one: one["Spec"]["Name"])]
    print(form.listing(rows, headers=HEADERS, columns=COLUMNS, form=args.format,
                       quiet=args.quiet), end="")  # fmt: skip
    return 0


def _row(one: Row) -> Row:
    status, spec = one["ServiceStatus"], one["Spec"]
    return {
        "ID": form.short(one["ID"]),
        "Name": spec["Name"],
        "Mode": "global" if "Global" in spec["Mode"] else "replicated",
        "Replicas": f"{status['RunningTasks']}/{status['DesiredTasks']}",
        "Image": spec["TaskTemplate"]["ContainerSpec"]["Image"].partition("@")[0],
        "Ports": "",  # Docker shows those of the whole swarm here, and there are none
    }


def list_tasks(client: api.Client, args: Namespace, wanted: dict[str, list[str]]) -> int:
    """Print tasks, those of a slot below one another, the newest first."""
    filters = {**(looking.filters(args.filter) or {}), **wanted}
    services = {one["ID"]: one["Spec"]["Name"] for one in client.get("/services")}
    nodes = {one["ID"]: one["Description"]["Hostname"] for one in client.get("/nodes")}
    found = sorted(client.get("/tasks", filters=filters), key=lambda one: one["CreatedAt"],
                   reverse=True)  # fmt: skip
    found.sort(key=lambda one: (services.get(one["ServiceID"], ""), one.get("Slot", 0),
                                one["NodeID"] if "Slot" not in one else ""))  # fmt: skip
    rows, before = [], ""
    for one in found:
        name = (
            f"{services.get(one['ServiceID'], one['ServiceID'])}.{one.get('Slot') or one['NodeID']}"
        )
        row = _task_row(one, nodes, args.no_trunc)
        row["Name"] = f" \\_ {name}" if name == before and not args.format else name
        rows.append(row)
        before = name
    print(form.listing(rows, headers=TASK_HEADERS, columns=TASK_COLUMNS, form=args.format,
                       quiet=args.quiet), end="")  # fmt: skip
    return 0


def _task_row(one: Row, nodes: dict[str, str], whole: bool) -> Row:
    status = one["Status"]
    error = status.get("Err", "")
    error = error if whole else form.ellipsis(error, ERROR_WIDTH)
    ports = (status.get("PortStatus") or {}).get("Ports") or ()
    since = moments.ago(moments.moment(status["Timestamp"])).lower()
    return {
        "ID": form.short(one["ID"], whole),
        "Name": "",
        "Image": one["Spec"]["ContainerSpec"]["Image"].partition("@")[0],
        "Node": nodes.get(one.get("NodeID", ""), ""),
        "DesiredState": one["DesiredState"].capitalize(),
        "CurrentState": f"{status['State'].capitalize()} {since} ago",
        "Error": form.quoted(error) if error else "",
        "Ports": ",".join(_port(port) for port in ports),
    }


def _port(port: Row) -> str:
    return f"*:{port.get('PublishedPort', 0)}->{port['TargetPort']}/{port['Protocol']}"


# --- logs -----------------------------------------------------------------------------------------


def _logs(client: api.Client, args: Namespace) -> int:
    """Print lines as they come, each after whose it is."""
    nodes = {one["ID"]: one["Description"]["Hostname"] for one in client.get("/nodes")}
    response = client.send("GET", f"/services/{args.service}/logs", {
        "stdout": True, "stderr": True, "follow": args.follow, "tail": args.tail,
        "timestamps": args.timestamps, "details": not args.raw})  # fmt: skip
    titles: dict[str, str] = {}
    try:
        for stream, data in http.frames(response):
            out = sys.stdout if stream == 1 else sys.stderr
            text = data.decode(errors="replace")
            out.write(text if args.raw else _titled(client, text, args.timestamps, nodes, titles))
            out.flush()
    finally:
        response.close()
    return 0


def _titled(
    client: api.Client, text: str, timed: bool, nodes: dict[str, str], titles: dict[str, str]
) -> str:
    """`web.1.kx3…@node    | line`, out of a line that says it in labels."""
    time, space, rest = text.partition(" ") if timed else ("", "", text)
    details, _, line = rest.partition(" ")
    labels = dict(one.partition("=")[::2] for one in details.split(","))
    task, node = labels["com.docker.swarm.task.id"], labels["com.docker.swarm.node.id"]
    if task not in titles:
        found = client.get(f"/tasks/{task}")
        name = client.get(f"/services/{found['ServiceID']}")["Spec"]["Name"]
        slot = found.get("Slot") or node
        titles[task] = f"{name}.{slot}.{form.short(task)}@{nodes.get(node, node)}"
    return f"{titles[task]}    | {time}{space}{line}"
