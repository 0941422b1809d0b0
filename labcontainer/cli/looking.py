"""`ps inspect port top diff stats events info version`: what there is and what it does."""

from __future__ import annotations

import sys

from labcontainer import errors
from labcontainer.cli import format as form
from labcontainer.client import api, daemon
from labcontainer.engine import moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from typing import Any

    Row = dict[str, Any]


def filters(words: list[str]) -> dict[str, list[str]] | None:
    """The query of `--filter KEY=VALUE …`; None for none.

    Raises:
        UsageError: a word is no filter.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise errors.UsageError(f"invalid filter {word!r}: it is KEY=VALUE")
        found.setdefault(key.strip().lower(), []).append(value.strip())
    return found or None


def add_filter(parser: ArgumentParser) -> None:
    """`--filter`."""
    parser.add_argument("-f", "--filter", action="append", default=[], metavar="KEY=VALUE",
                        help="only those that fit")  # fmt: skip


def add_filter_long(parser: ArgumentParser) -> None:
    """`--filter` beside a `-f` that means force."""
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE",
                        help="only those that fit")  # fmt: skip


def sure(text: str) -> bool:
    """Ask whether something that can't be undone is wanted; no answer is a no."""
    print(f"WARNING! {text}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def one_name(parser: ArgumentParser) -> None:
    """One container."""
    parser.add_argument("container", metavar="CONTAINER", help="name or id")


# --- ps -------------------------------------------------------------------------------------------

PS_HEADERS = {
    "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED", "Ports": "PORTS", "Status": "STATUS", "Size": "SIZE",
    "Names": "NAMES", "Labels": "LABELS", "Mounts": "MOUNTS", "Networks": "NETWORKS",
    "State": "STATE", "LocalVolumes": "LOCAL VOLUMES",
}  # fmt: skip
PS_COLUMNS = "\t".join(
    f"{{{{.{name}}}}}"
    for name in ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
)


def configure_ps(parser: ArgumentParser) -> None:
    """The words of `labcontainer ps`."""
    parser.add_argument("-a", "--all", action="store_true", help="those that do not run, too")
    add_filter(parser)
    form.add_options(parser, quiet="only the ids")
    parser.add_argument("-n", "--last", type=int, default=-1, metavar="N", help="the N newest")
    parser.add_argument("-l", "--latest", action="store_true", help="the newest")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids and commands")
    parser.add_argument("-s", "--size", action="store_true", help="what they wrote, in bytes")


def run_ps(args: Namespace) -> int:
    """List containers."""
    limit = 1 if args.latest else args.last
    size = args.size or ".Size" in args.format
    found = daemon.client().get(
        "/containers/json", all=args.all or limit > 0, limit=limit if limit > 0 else None,
        size=size, filters=filters(args.filter),
    )  # fmt: skip
    rows = [container_row(one, whole=args.no_trunc) for one in found]
    columns = PS_COLUMNS + ("\t{{.Size}}" if args.size else "")
    print(form.listing(rows, headers=PS_HEADERS, columns=columns, form=args.format,
                       quiet=args.quiet), end="")  # fmt: skip
    return 0


def container_row(one: Row, *, whole: bool) -> Row:
    """A container of ContainerList in the words of the table."""
    labels = one.get("Labels") or {}
    names = [name.lstrip("/") for name in one["Names"]]
    mounts = [str(mount.get("Name") or mount.get("Source", "")) for mount in one.get("Mounts", ())]
    command = one["Command"] if whole else form.ellipsis(one["Command"], 20)
    image = one["Image"]
    return {
        "ID": form.short(one["Id"], whole),
        "Image": form.short(image) if image.startswith("sha256:") and not whole else image,
        "Command": form.quoted(command),
        "CreatedAt": local_time(one["Created"]),
        "RunningFor": f"{moments.ago(one['Created'])} ago",
        "Ports": ports(one.get("Ports") or []),
        "State": one["State"],
        "Status": one["Status"],
        "Size": _sizes(one),
        "Names": ",".join(name for name in names if "/" not in name or whole),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda key: labels.get(key, ""),
        "Mounts": ",".join(mount if whole else form.ellipsis(mount, 15) for mount in mounts),
        "LocalVolumes": str(sum(mount.get("Type") == "volume" for mount in one.get("Mounts", ()))),
        "Networks": ",".join(sorted((one.get("NetworkSettings") or {}).get("Networks") or {})),
    }


def _sizes(one: Row) -> str:
    text = form.size(one.get("SizeRw") or 0)
    whole = one.get("SizeRootFs") or 0
    return f"{text} (virtual {form.size(whole)})" if whole else text


def local_time(seconds: float) -> str:
    """A moment as Docker's tables print it: `2026-01-02 13:00:00 +0100 CET`."""
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z %Z")


def exact_time(text: str) -> str:
    """The same of an RFC 3339 date in UTC, with the fraction of its second, if it has one."""
    date, space, zone = local_time(moments.moment(text)).rpartition(" +")
    fraction = text.partition(".")[2].rstrip("Z").rstrip("0")
    return f"{date}{'.' if fraction else ''}{fraction}{space}{zone}"


def date(seconds: float, fraction: str = "") -> str:
    """A moment as RFC 3339 in the caller's zone: `2026-01-02T13:00:00+01:00`, or with a Z."""
    from datetime import datetime

    when = datetime.fromtimestamp(seconds).astimezone()
    zone = when.strftime("%z")
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return f"{when:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"


def ports(found: list[Row]) -> str:
    """`0.0.0.0:8080->80/tcp, 443-445/tcp`: what has the same number outside, or none, is drawn
    together with its neighbours, as Docker does."""
    groups: list[list[Row]] = []
    moved: list[Row] = []
    for one in sorted(found, key=_port_order):
        if one.get("PublicPort") not in (None, 0, one["PrivatePort"]):
            moved.append(one)
        elif groups and _follows(groups[-1][-1], one):
            groups[-1].append(one)
        else:
            groups.append([one])
    return ", ".join(_port_group(members) for members in (*groups, *([one] for one in moved)))


def _port_order(one: Row) -> tuple[Any, ...]:
    return (one.get("IP", ""), one["Type"], one["PrivatePort"], one.get("PublicPort", 0))


def _follows(last: Row, one: Row) -> bool:
    same = all(last.get(name) == one.get(name) for name in ("IP", "Type"))
    both = bool(last.get("PublicPort")) == bool(one.get("PublicPort"))
    return same and both and bool(one["PrivatePort"] == last["PrivatePort"] + 1)


def _port_group(members: list[Row]) -> str:
    first, last = members[0], members[-1]
    inner = _span(first["PrivatePort"], last["PrivatePort"])
    if not first.get("PublicPort"):
        return f"{inner}/{first['Type']}"
    ip = first.get("IP", "")
    ip = f"[{ip}]" if ":" in ip else ip
    outer = _span(first["PublicPort"], last["PublicPort"])
    return f"{ip}:{outer}->{inner}/{first['Type']}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


# --- inspect, port, top, diff ---------------------------------------------------------------------

# What `inspect` looks for, in this order, when no type is named.
KINDS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}
OF_CLUSTER = {"node": "/nodes/{}", "service": "/services/{}"}  # a daemon alone has none


def configure_inspect(parser: ArgumentParser) -> None:
    """The words of `labcontainer inspect`."""
    parser.add_argument("-f", "--format", default="", metavar="FORM", help="json, or a template")
    parser.add_argument("-s", "--size", action="store_true", help="a container's sizes too")
    parser.add_argument("--type", choices=sorted(KINDS), help="only these")
    parser.add_argument("names", nargs="+", metavar="NAME", help="names or ids")


def run_inspect(args: Namespace) -> int:
    """Show all that the daemon knows of something."""
    kinds = [args.type] if args.type else list(KINDS)
    return inspect(args.names, kinds, args.format, size=args.size)


def inspect(names: list[str], kinds: list[str], template: str, *, size: bool = False) -> int:
    """Print what is found of these names, and tell what is not there. 1 if something is not."""
    client = daemon.client()
    found: list[Row] = []
    status = 0
    for name in names:
        one = _find(client, name, kinds, size)
        if one is None:
            what = f"{kinds[0]}:" if len(kinds) == 1 else "object:"
            print(f"Error: No such {what} {name}", file=sys.stderr)
            status = 1
        else:
            found.append(one)
    print(_shown(found, template), end="")
    return status


def show_found(names: list[str], kind: str, template: str, find: Callable[[str], Row]) -> int:
    """The same for what needs no daemon: `find` raises NotFoundError for what is not there."""
    found: list[Row] = []
    status = 0
    for name in names:
        try:
            found.append(find(name))
        except errors.NotFoundError:
            print(f"Error: No such {kind}: {name}", file=sys.stderr)
            status = 1
    print(_shown(found, template), end="")
    return status


def _find(client: api.Client, name: str, kinds: list[str], size: bool) -> Row | None:
    for kind in kinds:
        try:
            words = {"size": True} if size and kind == "container" else {}
            answer: Row = client.get((KINDS | OF_CLUSTER)[kind].format(name), **words)
        except api.ApiError as error:
            if error.status not in (400, 404):
                raise
        else:
            return answer
    return None


def _shown(found: list[Row], template: str) -> str:
    import json

    if not template:
        return json.dumps(found, indent=4, ensure_ascii=False) + "\n"
    from labcontainer.cli.template import Template, to_json

    if template == "json":
        return "".join(f"{to_json(one)}\n" for one in found)
    parsed = Template(template.replace("\\t", "\t").replace("\\n", "\n"), missing_is_error=True)
    return "".join(f"{parsed.render(one)}\n" for one in found)


def configure_port(parser: ArgumentParser) -> None:
    """The words of `labcontainer port`."""
    one_name(parser)
    parser.add_argument("port", nargs="?", default="", metavar="PORT[/PROTO]", help="only this one")


def run_port(args: Namespace) -> int:
    """List where a container's ports are on the host."""
    found = daemon.client().get(f"/containers/{args.container}/json")
    bindings: Row = found["NetworkSettings"].get("Ports") or {}
    if args.port:
        wanted = args.port if "/" in args.port else f"{args.port}/tcp"
        if not bindings.get(wanted):
            raise errors.NotFoundError(f"no public port {wanted!r} published for {args.container}")
        lines = [_place(one) for one in bindings[wanted]]
    else:
        known = sorted(bindings, key=_port_number)
        lines = [f"{port} -> {_place(one)}" for port in known for one in bindings[port] or ()]
    print("".join(f"{line}\n" for line in lines), end="")
    return 0


def _place(one: Row) -> str:
    ip = one.get("HostIp", "")
    return f"[{ip}]:{one['HostPort']}" if ":" in ip else f"{ip}:{one['HostPort']}"


def _port_number(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return int(number), protocol


def configure_top(parser: ArgumentParser) -> None:
    """The words of `labcontainer top`."""
    import argparse

    one_name(parser)
    parser.add_argument("ps", nargs=argparse.REMAINDER, metavar="OPTION", help="options of ps(1)")


def run_top(args: Namespace) -> int:
    """List a container's processes, as the host sees them."""
    words = {"ps_args": " ".join(args.ps)} if args.ps else {}
    found = daemon.client().get(f"/containers/{args.container}/top", **words)
    print(form.align([found["Titles"], *(found["Processes"] or [])], 20), end="")
    return 0


def configure_diff(parser: ArgumentParser) -> None:
    """The words of `labcontainer diff`."""
    one_name(parser)


def run_diff(args: Namespace) -> int:
    """List what a container has changed: C changed, A added, D deleted."""
    found = daemon.client().get(f"/containers/{args.container}/changes") or []
    print("".join(f"{'CAD'[one['Kind']]} {one['Path']}\n" for one in found), end="")
    return 0


# --- events, info, version ------------------------------------------------------------------------


def configure_events(parser: ArgumentParser) -> None:
    """The words of `labcontainer events`."""
    add_filter(parser)
    parser.add_argument("--format", default="", metavar="FORM", help="json, or a template")
    parser.add_argument("--since", default="", metavar="TIME", help="from then on")
    parser.add_argument("--until", default="", metavar="TIME", help="and end then")


def run_events(args: Namespace) -> int:
    """Print what happens, as it happens."""
    stream = daemon.client().stream(
        "GET", "/events", filters=filters(args.filter),
        since=moments.stamp(args.since), until=moments.stamp(args.until),
    )  # fmt: skip
    from labcontainer.cli.template import Template, to_json

    template = Template(args.format) if args.format not in ("", "json") else None
    try:
        for event in stream:
            text = template.render(event) if template else (
                to_json(event) if args.format else event_line(event))  # fmt: skip
            print(text, flush=True)
    except KeyboardInterrupt:
        pass
    return 0


def event_line(event: Row) -> str:
    """`2026-… container start 4be1… (image=busybox, name=web)`."""
    nanoseconds = int(event.get("timeNano") or event["time"] * 10**9)
    stamp = date(nanoseconds // 10**9, f".{nanoseconds % 10**9:09}")
    attributes = event["Actor"].get("Attributes") or {}
    pairs = ", ".join(f"{key}={value}" for key, value in sorted(attributes.items()))
    told = f" ({pairs})" if pairs else ""
    return f"{stamp} {event['Type']} {event['Action']} {event['Actor']['ID']}{told}"


def configure_version(parser: ArgumentParser) -> None:
    """The words of `labcontainer version`."""
    parser.add_argument("-f", "--format", default="", metavar="FORM", help="json, or a template")


def run_version(args: Namespace) -> int:
    """Print the versions of this command and of the daemon, if one runs."""
    from labcontainer.cli import main
    from labcontainer.client.http import ConnectError

    found: Row = {"Client": {"Version": main.version(), "ApiVersion": api.NEWEST}, "Server": None}
    problem = ""
    try:
        client = daemon.client()
        found["Client"]["ApiVersion"] = client.negotiate()
        found["Server"] = client.get("/version")
    except errors.UnsupportedError:
        pass  # no daemon is named: there is nothing to tell of one
    except ConnectError as error:
        problem = str(error)
    if args.format:
        print(_shown([found], args.format), end="")
    else:
        print(_fields("Client", found["Client"], ("Version", "ApiVersion")), end="")
        if found["Server"]:
            names = ("Version", "ApiVersion", "MinAPIVersion", "Os", "Arch", "KernelVersion")
            print(_fields("Server", found["Server"], names), end="")
    if problem:
        raise errors.LabError(problem)
    return 0


def configure_info(parser: ArgumentParser) -> None:
    """The words of `labcontainer info`."""
    parser.add_argument("-f", "--format", default="", metavar="FORM", help="json, or a template")


INFO = (
    "Containers", "ContainersRunning", "ContainersPaused", "ContainersStopped", "Images",
    "ServerVersion", "Driver", "LoggingDriver", "CgroupDriver", "CgroupVersion", "DefaultRuntime",
    "SecurityOptions", "KernelVersion", "OperatingSystem", "OSType", "Architecture", "NCPU",
    "MemTotal", "Name", "DockerRootDir",
)  # fmt: skip


def run_info(args: Namespace) -> int:
    """Print what the daemon says of itself and its machine."""
    found = daemon.client().get("/info")
    if args.format:
        print(_shown([found], args.format), end="")
        return 0
    print(_fields("Server", found, INFO), end="")
    for warning in found.get("Warnings") or []:
        print(warning, file=sys.stderr)
    return 0


def _fields(title: str, found: Row, names: tuple[str, ...]) -> str:
    lines = [f"{title}:"]
    for name in names:
        if (value := found.get(name)) is not None:
            shown = form.binary_size(value) if name == "MemTotal" else value
            shown = ", ".join(map(str, shown)) if isinstance(shown, list) else shown
            lines.append(f" {name + ':':20} {shown}")
    return "\n".join(lines) + "\n"
