"""`labcontainer system df|prune|events|info`: the room that things take, and freeing it."""

from __future__ import annotations

from labcontainer.cli import format as form
from labcontainer.cli import looking
from labcontainer.client import api, daemon
from labcontainer.engine import moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

HEADERS = {"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE",
           "Reclaimable": "RECLAIMABLE"}  # fmt: skip
COLUMNS = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}"
WARNING = """This will remove:
  - all stopped containers
  - all networks not used by at least one container{volumes}
  - all {images} images
  - unused build cache
"""


def configure(parser: ArgumentParser) -> None:
    """The words of `labcontainer system`."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    used = verbs.add_parser("df", help="how much room images, containers, volumes take")
    form.add_options(used)
    used.add_argument("-v", "--verbose", action="store_true", help="each of them")
    pruned = verbs.add_parser("prune", help="remove all that is not used")
    pruned.add_argument("-a", "--all", action="store_true", help="images with a name, too")
    pruned.add_argument("-f", "--force", action="store_true", help="do not ask")
    pruned.add_argument("--volumes", action="store_true", help="anonymous volumes, too")
    looking.add_filter_long(pruned)
    looking.configure_events(verbs.add_parser("events", help="as labcontainer events"))
    looking.configure_info(verbs.add_parser("info", help="as labcontainer info"))


def run(args: Namespace) -> int:
    """Do what the verb says."""
    if args.verb == "events":
        return looking.run_events(args)
    if args.verb == "info":
        return looking.run_info(args)
    client = daemon.client()
    return _prune(client, args) if args.verb == "prune" else _df(client, args)


# --- prune ----------------------------------------------------------------------------------------


def _prune(client: api.Client, args: Namespace) -> int:
    named = args.volumes and api.numbers(client.negotiate()) < (1, 42)
    kind = "" if named else "anonymous "
    volumes = f"\n  - all {kind}volumes not used by at least one container"
    text = WARNING.format(
        volumes=volumes if args.volumes else "", images="unused" if args.all else "dangling"
    )
    if not (args.force or looking.sure(text)):
        return 0
    freed = 0
    kinds = ["containers", "networks", *(["volumes"] if args.volumes else []), "images", "build"]
    for kind in kinds:
        words = list(args.filter)
        if kind == "images":
            words.append(f"dangling={'false' if args.all else 'true'}")
        found = client.post(f"/{kind}/prune", filters=looking.filters(words)) or {}
        freed += found.get("SpaceReclaimed") or 0
        _told(found)
    print(f"Total reclaimed space: {form.size(freed, 4)}")
    return 0


def _told(found: dict[str, Any]) -> None:
    for key, names in found.items():
        if key.endswith("Deleted") and names:
            print(f"Deleted {key.removesuffix('Deleted')}:")
            for name in names:
                if isinstance(name, dict):
                    name = ", ".join(f"{word.lower()}: {one}" for word, one in name.items())
                print(name)
            print()


# --- df -------------------------------------------------------------------------------------------


def _df(client: api.Client, args: Namespace) -> int:
    found = client.get("/system/df")
    if args.verbose:
        return _verbose(found)
    rows = [_images(found), _containers(found), _volumes(found), _cache(found)]
    print(form.listing(rows, headers=HEADERS, columns=COLUMNS, form=args.format), end="")
    return 0


def _row(kind: str, count: int, active: int, size: int, free: int) -> dict[str, Any]:
    share = f" ({100 * free // size}%)" if size else ""
    return {"Type": kind, "TotalCount": str(count), "Active": str(active),
            "Size": form.size(size, 4), "Reclaimable": f"{form.size(free, 4)}{share}"}  # fmt: skip


def _images(found: dict[str, Any]) -> dict[str, Any]:
    images = found.get("Images") or []
    used = [one for one in images if one["Containers"] > 0]
    total = found.get("LayersSize") or 0
    kept = sum(one["Size"] - max(one.get("SharedSize") or 0, 0) for one in used)
    return _row("Images", len(images), len(used), total, max(total - kept, 0))


def _containers(found: dict[str, Any]) -> dict[str, Any]:
    containers = found.get("Containers") or []
    active = [one for one in containers if one["State"] in ("running", "paused", "restarting")]
    sizes = {one["Id"]: one.get("SizeRw") or 0 for one in containers}
    total = sum(sizes.values())
    return _row("Containers", len(containers), len(active), total,
                total - sum(sizes[one["Id"]] for one in active))  # fmt: skip


def _volumes(found: dict[str, Any]) -> dict[str, Any]:
    volumes = found.get("Volumes") or []
    usage = [one.get("UsageData") or {"RefCount": 0, "Size": 0} for one in volumes]
    free = sum(one["Size"] for one in usage if one["RefCount"] == 0)
    active = sum(one["RefCount"] > 0 for one in usage)
    return _row("Local Volumes", len(volumes), active, sum(one["Size"] for one in usage), free)


def _cache(found: dict[str, Any]) -> dict[str, Any]:
    records = found.get("BuildCache") or []
    size = sum(one.get("Size") or 0 for one in records)
    active = sum(bool(one.get("InUse")) for one in records)
    return _row("Build Cache", len(records), active, size, size)


# The tables of `df --verbose`: what each begins with, and its columns.
VERBOSE = {
    "Images": (
        "Images space usage:",
        "REPOSITORY|TAG|IMAGE ID|CREATED|SIZE|SHARED SIZE|UNIQUE SIZE|CONTAINERS",
    ),
    "Containers": (
        "Containers space usage:",
        "CONTAINER ID|IMAGE|COMMAND|LOCAL VOLUMES|SIZE|CREATED|STATUS|NAMES",
    ),
    "Volumes": ("Local Volumes space usage:", "VOLUME NAME|LINKS|SIZE"),
    "BuildCache": (
        "Build cache usage: {}",
        "CACHE ID|CACHE TYPE|SIZE|CREATED|LAST USED|USAGE|SHARED",
    ),
}


def _verbose(found: dict[str, Any]) -> int:
    cache = sum(one.get("Size") or 0 for one in found.get("BuildCache") or [])
    rows = {"Images": _image, "Containers": _container, "Volumes": _volume, "BuildCache": _record}
    texts = []
    for kind, (title, columns) in VERBOSE.items():
        lines = [line for one in found.get(kind) or [] for line in rows[kind](one)]
        table = form.align([columns.split("|"), *lines])
        texts.append(f"{title.format(form.size(cache, 4))}\n\n{table}")
    print("\n".join(texts), end="")
    return 0


def _image(one: dict[str, Any]) -> list[list[str]]:
    """A line for each name of an image."""
    shared = max(one.get("SharedSize") or 0, 0)
    created = f"{moments.ago(one['Created'])} ago" if one["Created"] > 0 else "N/A"
    rest = [form.short(one["Id"]), created, form.size(one["Size"]), form.size(shared, 4),
            form.size(one["Size"] - shared, 4), str(one["Containers"])]  # fmt: skip
    names = one.get("RepoTags") or ["<none>:<none>"]
    return [[*name.rpartition(":")[::2], *rest] for name in names]


def _container(one: dict[str, Any]) -> list[list[str]]:
    row = looking.container_row(one, whole=False)
    names = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
    return [[row[name].partition(" (virtual")[0] for name in names]]


def _volume(one: dict[str, Any]) -> list[list[str]]:
    usage = one.get("UsageData") or {"RefCount": 0, "Size": 0}
    return [[one["Name"], str(usage["RefCount"]), form.size(usage["Size"], 4)]]


def _record(one: dict[str, Any]) -> list[list[str]]:
    """A step that a build remembers."""
    ages = [f"{moments.ago(moments.moment(one[key]))} ago" if one.get(key) else ""
            for key in ("CreatedAt", "LastUsedAt")]  # fmt: skip
    shared = str(bool(one.get("Shared"))).lower()
    return [[form.short(one["ID"]), one.get("Type", ""), form.size(one.get("Size") or 0, 4), *ages,
             str(one.get("UsageCount", 0)), shared]]  # fmt: skip
