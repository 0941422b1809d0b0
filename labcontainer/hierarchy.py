"""The trees of groups on this machine: which there are, where we may add to them, adding, removing.

Version 1 has a tree for each controller, version 2 one for all. A group is a directory; what the
kernel asks of it before a process can enter differs: version 1's cpuset wants processors and memory
nodes in it, version 2 wants controllers to be turned on in every group above.

Sources: cgroups(7); the kernel's admin-guide/cgroup-v2.rst, cgroup-v1/cpusets.rst.
"""

from __future__ import annotations

import errno
import os
import time

from labcontainer.errors import ExistsError, StateError, UnsupportedError
from labcontainer.kernel import files
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DELEGATE = (
    "as root, or with a group of your own: systemd-run --user --scope -p Delegate=yes (cgroup v2)"
)


HOST = "/sys/fs/cgroup"


class Hierarchy(Record):
    """One version 1 hierarchy of the host: its directory and what is controlled there."""

    path: str
    root: str  # the group that the mount shows as its top
    controllers: tuple[str, ...]  # or ("name=systemd",) for one without controllers

    @property
    def folder(self) -> str:
        """The directory's name under /sys/fs/cgroup, such as `cpu,cpuacct`."""
        return os.path.basename(self.path)


class Layout(Record):
    """The hierarchies of this machine, and the group below which we may make groups."""

    kind: str  # "v1", "hybrid" (version 2 beside it, for a few things), "v2", "none"
    v1: dict[str, str]  # controllers, as "cpu,cpuacct": directory
    v2: str = ""  # directory, or "" without version 2
    why: str = ""  # why no group can be made

    def controllers(self) -> tuple[str, ...]:
        """The controllers that are mounted as version 1."""
        return tuple(name for names in self.v1 for name in names.split(","))


def detect() -> Layout:
    """Look at /proc/self/mountinfo and /proc/self/cgroup, once.

    Root makes groups below the top. Everybody else does where a part of the tree was given to them
    (delegated): the topmost directory on the way from the top to our own group that is ours.
    """
    own = own_groups()
    v1: dict[str, str] = {}
    v2 = why = ""
    for found in hierarchies("cgroup", "cgroup2"):
        words = found.controllers or ("",)
        place = _place_for_groups(found, own.get(words, "/"))
        if not place:
            why = f"no directory below {found.path} may be written by this user"
        elif found.controllers:
            v1[",".join(words)] = place
        else:
            v2 = place
    if not v1 and not v2:
        return Layout("none", {}, why=why or f"no cgroup hierarchy is mounted below {HOST}")
    return Layout("hybrid" if v1 and v2 else "v1" if v1 else "v2", v1, v2)


def _place_for_groups(mounted: Hierarchy, own: str) -> str:
    """The topmost directory, from the mount point down to our own group, that we may write."""
    # Inside a container the mount shows a part of the tree: `root` is what it has at its top.
    way = own.removeprefix(mounted.root.rstrip("/")).strip("/").split("/")
    if ".." in way:  # we are outside of what this cgroup namespace shows
        way = []
    path = mounted.path
    for name in ("", *way):
        path = f"{path}/{name}" if name else path
        if os.access(path, os.W_OK) and os.access(f"{path}/cgroup.procs", os.W_OK):
            return path
    return ""


def hierarchies(*fstypes: str) -> tuple[Hierarchy, ...]:
    """What the host has mounted at and under /sys/fs/cgroup: version 1, or the types named.

    The one hierarchy of version 2 (`cgroup2`) has no controllers of its own here.
    """
    found = []
    for line in files.read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        root, path = before.split(" ")[3:5]
        fstype, _, options = after.split(" ", 2)
        if fstype not in (fstypes or ("cgroup",)) or not f"{path}/".startswith(HOST + "/"):
            continue
        words = [word for word in options.split(",") if _is_controller(word)]
        words = words if fstype == "cgroup" else []
        found.append(Hierarchy(path, root, tuple(words)))
    return tuple(found)


_FLAG_WORDS = ("rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "none")


def _is_controller(word: str) -> bool:
    return word not in _FLAG_WORDS and not word.startswith("release_agent")


def own_groups() -> dict[tuple[str, ...], str]:
    """The group of this process in each hierarchy, by the names of its controllers."""
    groups = {}
    for line in files.read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        groups[tuple(controllers.split(","))] = path
    return groups


# --- directories ---------------------------------------------------------------------------------


def make(directory: str, cpuset: bool, parents: list[str]) -> bool:
    """Make a group, and the missing ones above it, which are added to `parents`.

    False when it was there and empty: it is used as it is, and is not ours to remove.

    Raises:
        ExistsError: it is there and holds processes, or groups.
        UnsupportedError: no right to make it.
    """
    for _ in range(100):  # a neighbour's delete may take away an empty parent at any moment
        try:
            os.mkdir(directory, 0o755)
        except FileNotFoundError:
            above = os.path.dirname(directory)
            if _make_parent(above, cpuset, parents):
                parents.append(above)
            continue
        except FileExistsError:
            _check_empty(directory)
            return False
        except OSError as error:
            raise UnsupportedError(
                f"a cgroup {directory}", str(error.strerror), DELEGATE
            ) from error
        if cpuset:
            _inherit_cpuset(directory)
        return True
    raise StateError(f"cgroup {directory}: the group above it is taken away again and again")


def _make_parent(directory: str, cpuset: bool, parents: list[str]) -> bool:
    try:
        os.mkdir(directory, 0o755)
    except FileNotFoundError:
        above = os.path.dirname(directory)
        if _make_parent(above, cpuset, parents):
            parents.append(above)
        return False
    except FileExistsError:
        return False
    except OSError as error:
        raise UnsupportedError(f"a cgroup {directory}", str(error.strerror), DELEGATE) from error
    try:
        if cpuset:
            _inherit_cpuset(directory)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            raise
        return False  # a neighbour's delete took it away, empty as it was
    return True


def _check_empty(directory: str) -> None:
    """Somebody's group is never ours to limit, freeze or kill."""
    pids = files.read(f"{directory}/cgroup.procs").split()
    below = [entry.path for entry in os.scandir(directory) if entry.is_dir()]
    if pids or below:
        held = f"{len(pids)} processes" if pids else f"the group {below[0]}"
        raise ExistsError(f"cgroup {directory} is there already and holds {held}")


def _inherit_cpuset(directory: str) -> None:
    """Give a new cpuset of version 1 what the one above has: empty, it takes no process."""
    above = os.path.dirname(directory)
    for file in ("cpuset.cpus", "cpuset.mems"):
        value = files.read(f"{above}/{file}")
        if not value:  # a neighbour has made it in this very moment
            _inherit_cpuset(above)
            value = files.read(f"{above}/{file}")
        files.write(f"{directory}/{file}", value)


def tree(directory: str) -> Iterator[str]:
    """A group and all groups below it, those above first."""
    yield directory
    try:
        entries = [entry.path for entry in os.scandir(directory) if entry.is_dir()]
    except FileNotFoundError:
        return
    for path in entries:
        yield from tree(path)


def remove(directory: str, patience: float = 30.0) -> None:
    """Remove a group and those below it, deepest first.

    A process that has just ended keeps it busy for a moment, so EBUSY is tried again.

    Raises:
        StateError: it is still busy after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    try:
        os.rmdir(directory)  # nearly always enough
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    for path in reversed(list(tree(directory))):
        _remove_one(path, deadline)


def _remove_one(directory: str, deadline: float) -> None:
    pause = 0.0005
    while True:
        try:
            os.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            if time.monotonic() > deadline:
                pids = files.read(f"{directory}/cgroup.procs").split()
                raise StateError(f"cgroup {directory} still holds {len(pids)} processes") from error
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


# --- version 2: controllers are turned on from the top down --------------------------------------


def enable_controllers(top: str, directory: str) -> None:
    """Turn on, in every group between the top and this one, all controllers that the top has.

    Raises:
        UnsupportedError: a group on the way holds processes: it may have controllers for the groups
            below it, or processes, not both (cgroup-v2.rst, "No Internal Process Constraint").
    """
    wanted = set(files.read(f"{top}/cgroup.controllers").split())
    if wanted <= set(files.read(f"{directory}/cgroup.controllers").split()):
        return
    way = os.path.relpath(os.path.dirname(directory), top)
    path = top
    for name in ("", *(way.split("/") if way != "." else ())):
        path = f"{path}/{name}" if name else path
        missing = wanted - set(files.read(f"{path}/cgroup.subtree_control").split())
        if missing:
            _enable(path, sorted(missing))


def _enable(path: str, controllers: list[str]) -> None:
    control = f"{path}/cgroup.subtree_control"
    try:
        files.write(control, " ".join(f"+{name}" for name in controllers))
        return
    except OSError as error:
        if error.errno == errno.EBUSY:
            _step_aside(path, error)
    # One by one: a controller that can't be had here (EINVAL, ENOENT, EOPNOTSUPP) is no reason to
    # do without the others. A limit that needs it will say so.
    for name in controllers:
        try:
            files.write(control, f"+{name}")
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.EACCES, errno.EPERM):
                raise UnsupportedError(
                    f"the controller {name} below {path}", str(error), DELEGATE
                ) from error


def _step_aside(path: str, error: OSError) -> None:
    """When only we and what started us are in the way, go into a group of our own below it."""
    pids = [int(pid) for pid in files.read(f"{path}/cgroup.procs").split()]
    strangers = [pid for pid in pids if pid not in _ancestors(os.getpid())]
    if strangers:
        raise UnsupportedError(
            f"controllers below {path}",
            f"{len(strangers)} processes live in it, and version 2 wants it to hold none",
            "move them into a group below it",
        ) from error
    leaf = f"{path}/labcontainer-self"
    try:
        os.mkdir(leaf)
    except FileExistsError:
        pass
    for pid in pids:
        files.write(f"{leaf}/cgroup.procs", pid)


def _ancestors(pid: int) -> Iterator[int]:
    """A process, its parent, and so on (proc(5), stat)."""
    while pid:
        yield pid
        pid = int(files.read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
