"""`pause`, `resume`, `update`: what is changed of a container that runs."""

from __future__ import annotations

from labcontainer import cgroups, resources
from labcontainer.errors import LabError, UsageError
from labcontainer.runtime import jsontext, lifecycle, state
from labcontainer.runtime.oci import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Options of `update`: the section of `linux.resources`, the field, whether it is a number.
_FIELDS = {
    "memory": ("memory", "limit", True),
    "memory-reservation": ("memory", "reservation", True),
    "memory-swap": ("memory", "swap", True),
    "cpu-period": ("cpu", "period", True),
    "cpu-quota": ("cpu", "quota", True),
    "cpu-share": ("cpu", "shares", True),
    "cpuset-cpus": ("cpu", "cpus", False),
    "cpuset-mems": ("cpu", "mems", False),
    "pids-limit": ("pids", "limit", True),
    "blkio-weight": ("blockIO", "weight", True),
}


def _group(call: Call, verb: str) -> cgroups.Cgroup:
    directory = state.Directory(call.root, call.id)
    remembered = directory.load()
    lifecycle.check(directory.status(remembered), verb, call.id)
    group = cgroups.reopen(remembered.cgroup)
    if group is None:
        raise LabError(f"cannot {verb} container {call.id}: it has no cgroup")
    return group


def pause_(call: Call) -> int:
    """Stop every process of the container where it stands."""
    _group(call, "pause").freeze()
    return 0


def resume_(call: Call) -> int:
    """Let the processes go on."""
    _group(call, "resume").thaw()
    return 0


def update_(call: Call) -> int:
    """Change limits: by a document of `linux.resources`, or by options."""
    group = _group(call, "update")
    if path := call.own.get("resources"):
        text = jsontext.read_fd(0, "standard input") if path == "-" else ""
        document = jsontext.loads(text, "standard input") if path == "-" else jsontext.load(path)
    else:
        document = _from_options(call)
    if not isinstance(document, dict):
        raise UsageError("update: the resources must be a JSON object")
    group.apply(resources.from_oci(document, update=True))
    return 0


def _from_options(call: Call) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for option, (section, field, number) in _FIELDS.items():
        if option in call.own.values:
            value: str | int = call.own.number(option) if number else call.own.get(option)
            document.setdefault(section, {})[field] = value
    if not document:
        raise UsageError("update: give --resources, or a limit such as --memory")
    return document
