"""config.json, read and checked: the runtime-spec's document as frozen records.

Sources: runtime-spec config.md and config-linux.md; a field is named there as it is here. What is
not of this machine (Windows, Solaris, virtual machines) is passed over, as the spec wants it.
"""

from __future__ import annotations

import os

from labcontainer.capabilities import Sets
from labcontainer.devices import DEFAULT_DEVICES, Device
from labcontainer.errors import SpecError
from labcontainer.mounts import Mount, parse_mount_options
from labcontainer.namespaces import Namespaces
from labcontainer.record import Record
from labcontainer.rootfs import Rootfs
from labcontainer.runtime.reader import Reader
from labcontainer.users import IdMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from labcontainer.runtime.scheduling import Scheduler

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_INFINITY = 2**64 - 1
_IPC_SYSCTLS = (
    *("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall"),
    *("kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"),
)
_PROPAGATIONS = ("", "private", "shared", "slave", "unbindable", "rprivate", "rshared", "rslave")


class Rlimit(Record):
    """One resource limit; `kind` is `RLIMIT_NOFILE` and the like, getrlimit(2)."""

    kind: str
    soft: int
    hard: int


class User(Record):
    """Whose process it is, in the container's own numbers. `umask` -1 leaves the runtime's."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int = -1


class Process(Record):
    """A program to run in the container: `process` of config.json, or a process.json of exec."""

    args: tuple[str, ...]
    cwd: str = "/"
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: tuple[int, int] = (0, 0)  # rows, columns
    user: User = User()
    capabilities: Sets | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""
    io_priority: int | None = None
    scheduler: Scheduler | None = None


class Hook(Record):
    """A program of the engine's that runs at one point of the container's life."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int = 0  # seconds; 0 is none


class Spec(Record):
    """One container: everything that the runtime has to know of it."""

    root: Rootfs
    process: Process | None
    namespaces: Namespaces
    hostname: str = ""
    domainname: str = ""
    uid_maps: tuple[IdMap, ...] = ()
    gid_maps: tuple[IdMap, ...] = ()
    mount_maps: tuple[tuple[int, tuple[IdMap, ...], tuple[IdMap, ...]], ...] = ()
    time_offsets: tuple[tuple[str, int, int], ...] = ()
    cgroups_path: str = ""
    resources: dict[str, Any] | None = None
    seccomp: dict[str, Any] | None = None
    sysctl: tuple[tuple[str, str], ...] = ()
    hooks: tuple[tuple[str, tuple[Hook, ...]], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    personality: str = ""
    mount_label: str = ""
    version: str = "1.2.0"

    def hooks_of(self, kind: str) -> tuple[Hook, ...]:
        """The hooks of one kind, in their order."""
        return dict(self.hooks).get(kind, ())

    def has_new(self, name: str) -> bool:
        """Whether the container gets a namespace of this kind of its own."""
        return name in self.namespaces.new


# --- the document -------------------------------------------------------------------------------


def read_spec(document: Any, bundle: str) -> Spec:
    """The container that a config.json asks for.

    Args:
        document: the JSON value.
        bundle: the directory that a relative `root.path` and relative bind sources start from.

    Raises:
        SpecError: a field is missing, of the wrong kind, or asks for what can't be.
    """
    top = Reader(document)
    top.need("ociVersion")
    _check_version(top.string("ociVersion"))
    top.need("root")
    linux = top.child("linux")
    namespaces = _namespaces(linux)
    uid_maps, gid_maps = _id_maps(linux, "uidMappings"), _id_maps(linux, "gidMappings")
    _check_namespaces(namespaces, uid_maps, gid_maps, top, linux)
    mounts, mount_maps = _mounts(top, bundle)
    return Spec(
        root=_rootfs(top, linux, bundle, mounts, namespaces),
        process=read_process(top.value["process"]) if "process" in top else None,
        namespaces=namespaces,
        hostname=top.string("hostname"),
        domainname=top.string("domainname"),
        uid_maps=uid_maps,
        gid_maps=gid_maps,
        mount_maps=mount_maps,
        time_offsets=_time_offsets(linux),
        cgroups_path=linux.string("cgroupsPath"),
        resources=linux.child("resources").value or None,
        seccomp=linux.child("seccomp").value or None,
        sysctl=tuple(linux.pairs("sysctl").items()),
        hooks=tuple((kind, tuple(read_hooks(top.child("hooks"), kind))) for kind in HOOKS),
        annotations=tuple(top.pairs("annotations").items()),
        personality=linux.child("personality").string("domain"),
        mount_label=linux.string("mountLabel"),
        version=top.string("ociVersion"),
    )


def _check_version(version: str) -> None:
    major = version.split(".")[0]
    if major != "1":
        raise SpecError("ociVersion", f"{version!r} is not 1.x, which this runtime knows")


def _namespaces(linux: Reader) -> Namespaces:
    new, join, seen = [], [], set()
    for entry in linux.children("namespaces"):
        name = entry.string("type")
        if name not in ("user", "cgroup", "ipc", "uts", "network", "pid", "time", "mount"):
            raise SpecError(entry.at("type"), f"unknown namespace {name!r}")
        if name in seen:
            raise SpecError(entry.where, f"namespace {name} is listed twice")
        seen.add(name)
        path = entry.string("path")
        if path and not path.startswith("/"):
            raise SpecError(entry.at("path"), f"must be absolute, not {path!r}")
        if path:
            join.append((name, path))
        else:
            new.append(name)
    return Namespaces(tuple(new), tuple(join))


def _check_namespaces(
    namespaces: Namespaces,
    uid_maps: tuple[IdMap, ...],
    gid_maps: tuple[IdMap, ...],
    top: Reader,
    linux: Reader,
) -> None:
    """What belongs to a namespace needs that namespace: it would change the host else."""
    all_kinds = {*namespaces.new, *dict(namespaces.join)}
    if (top.string("hostname") or top.string("domainname")) and "uts" not in all_kinds:
        raise SpecError("hostname", "needs a uts namespace, or it would rename the host")
    if (uid_maps or gid_maps) and "user" not in all_kinds:
        raise SpecError("linux.uidMappings", "needs a user namespace")
    if "user" in namespaces.new and not (uid_maps and gid_maps):
        raise SpecError("linux.uidMappings", "a new user namespace needs uid and gid mappings")
    if linux.value.get("timeOffsets") and "time" not in namespaces.new:
        raise SpecError("linux.timeOffsets", "needs a new time namespace")
    for key in linux.pairs("sysctl"):
        _check_sysctl(key, all_kinds)
    if "mount" not in all_kinds:
        raise SpecError("linux.namespaces", "a container needs a mount namespace")


def _check_sysctl(key: str, kinds: set[str]) -> None:
    """Only what a namespace of the container's own holds may be set (runc has the same list)."""
    name = key.replace("/", ".")
    if "." in key.split("/")[0] and "/" in key:
        name = key
    where = f"linux.sysctl.{key}"
    if ".." in key.split("/") or key.startswith(("/", ".")):
        raise SpecError(where, "is not a sysctl")
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        needed = "ipc"
    elif name.startswith("net."):
        needed = "network"
    elif name == "kernel.domainname":
        needed = "uts"
    elif name == "kernel.hostname":
        raise SpecError(where, "is set by the field hostname")
    elif name.startswith("user."):
        needed = "user"
    else:
        raise SpecError(where, "is not in a namespace: it would change the whole machine")
    if needed not in kinds:
        raise SpecError(where, f"needs a {needed} namespace, or it would change the whole machine")


def _id_maps(linux: Reader, name: str) -> tuple[IdMap, ...]:
    maps = []
    for entry in linux.children(name):
        size = entry.integer("size", high=2**32 - 1)
        maps.append(IdMap(entry.integer("containerID"), entry.integer("hostID"), size))
    return tuple(maps)


def _time_offsets(linux: Reader) -> tuple[tuple[str, int, int], ...]:
    found, clocks = [], linux.child("timeOffsets")
    for clock in clocks.value:
        if clock not in ("monotonic", "boottime"):
            raise SpecError(clocks.at(clock), "is not a clock of a time namespace")
        one = clocks.child(clock)
        seconds = one.integer("secs", low=-(2**62), high=2**62)
        found.append((clock, seconds, one.integer("nanosecs", high=999_999_999)))
    return tuple(found)


def read_hooks(hooks: Reader, kind: str) -> Iterator[Hook]:
    """The hooks of one kind in a `hooks` object."""
    for entry in hooks.children(kind):
        path = entry.string("path")
        if not path.startswith("/"):
            raise SpecError(entry.at("path"), f"must be absolute, not {path!r}")
        timeout = entry.integer("timeout", high=2**31)
        yield Hook(path, entry.strings("args"), entry.strings("env"), timeout)


# --- the root file system -----------------------------------------------------------------------


def _rootfs(
    top: Reader, linux: Reader, bundle: str, mounts: tuple[Mount, ...], namespaces: Namespaces
) -> Rootfs:
    root = top.child("root")
    if not root.string("path"):
        raise SpecError("root.path", "is missing")
    propagation = linux.string("rootfsPropagation")
    if propagation not in _PROPAGATIONS:
        raise SpecError("linux.rootfsPropagation", f"unknown propagation {propagation!r}")
    return Rootfs(
        path=os.path.join(bundle, root.string("path")),
        readonly=root.boolean("readonly"),
        mounts=mounts,
        devices=_devices(linux),
        masked=_absolute(linux, "maskedPaths"),
        readonly_paths=_absolute(linux, "readonlyPaths"),
        propagation=parse_mount_options((propagation,))["propagation"],
        cgroup_namespace="cgroup" in namespaces.new,
    )


def _absolute(linux: Reader, name: str) -> tuple[str, ...]:
    paths = linux.strings(name)
    for index, path in enumerate(paths):
        if not path.startswith("/"):
            raise SpecError(f"{linux.at(name)}[{index}]", f"must be absolute, not {path!r}")
    return paths


def _devices(linux: Reader) -> tuple[Device, ...]:
    """The default devices, and those of the document in the place of any of the same path."""
    found = {device.path: device for device in DEFAULT_DEVICES}
    for entry in linux.children("devices"):
        path, kind = entry.string("path"), entry.string("type")
        if not path.startswith("/"):
            raise SpecError(entry.at("path"), f"must be absolute, not {path!r}")
        if kind not in ("c", "b", "u", "p"):
            raise SpecError(entry.at("type"), f"unknown type {kind!r}")
        found[path] = Device(
            path,
            kind,
            *(entry.integer("major", low=-1), entry.integer("minor", low=-1)),
            mode=entry.integer("fileMode", 0o666) & 0o7777,
            uid=entry.integer("uid"),
            gid=entry.integer("gid"),
        )
    return tuple(found.values())


def _mounts(top: Reader, bundle: str) -> tuple[tuple[Mount, ...], tuple[Any, ...]]:
    """The mounts, and for those with id mappings: (index, uid maps, gid maps)."""
    mounts: list[Mount] = []
    maps = []
    for entry in top.children("mounts"):
        target, kind = entry.string("destination"), entry.string("type")
        if not target:
            raise SpecError(entry.at("destination"), "is missing")
        options = parse_mount_options(entry.strings("options"))
        mount = Mount(os.path.join("/", target), kind, entry.string("source"), **options)
        if mount.is_bind:
            if not mount.source:
                raise SpecError(entry.at("source"), "a bind mount needs a source")
            mount = mount.replace(source=os.path.join(bundle, mount.source))
        elif not kind:
            raise SpecError(entry.at("type"), "is missing")
        if "uidMappings" in entry or "gidMappings" in entry or mount.idmap:
            uids, gids = _id_maps(entry, "uidMappings"), _id_maps(entry, "gidMappings")
            maps.append((len(mounts), uids, gids))
            mount = mount.replace(idmap=mount.idmap or "idmap")
        mounts.append(mount)
    return tuple(mounts), tuple(maps)


# --- the process --------------------------------------------------------------------------------


def read_process(document: Any, where: str = "process") -> Process:
    """The program that `process` of a config.json, or a process.json, describes.

    Raises:
        SpecError: as read_spec.
    """
    entry = Reader(document, where)
    args = entry.strings("args")
    if not args or not args[0]:
        raise SpecError(entry.at("args"), "names no program")
    cwd = entry.string("cwd", "/")
    if not cwd.startswith("/"):
        raise SpecError(entry.at("cwd"), f"must be absolute, not {cwd!r}")
    size = entry.child("consoleSize")
    return Process(
        args=args,
        cwd=cwd,
        env=entry.strings("env"),
        terminal=entry.boolean("terminal"),
        console_size=(size.integer("height", high=65535), size.integer("width", high=65535)),
        user=_user(entry.child("user")),
        capabilities=_capabilities(entry),
        rlimits=tuple(_rlimits(entry)),
        no_new_privileges=entry.boolean("noNewPrivileges"),
        oom_score_adj=_oom_score(entry),
        apparmor_profile=entry.string("apparmorProfile"),
        selinux_label=entry.string("selinuxLabel"),
        io_priority=_io_priority(entry),
        scheduler=_scheduler(entry),
    )


def _user(entry: Reader) -> User:
    umask = entry.integer("umask", high=0o777) if "umask" in entry else -1
    gids = entry.integers("additionalGids")
    return User(entry.integer("uid"), entry.integer("gid"), gids, umask)


def _capabilities(process: Reader) -> Sets | None:
    """None where the field is missing: then the process is given no capability at all."""
    if "capabilities" not in process:
        return None
    entry = process.child("capabilities")
    return Sets(**{name: entry.strings(name) for name in Sets._fields})


def _rlimits(process: Reader) -> Iterator[Rlimit]:
    seen = set()
    for entry in process.children("rlimits"):
        kind = entry.string("type")
        if kind in seen:
            raise SpecError(entry.where, f"{kind} is listed twice")
        seen.add(kind)
        soft, hard = entry.integer("soft", high=_INFINITY), entry.integer("hard", high=_INFINITY)
        if soft > hard:
            raise SpecError(entry.where, f"the soft limit {soft} is above the hard limit {hard}")
        yield Rlimit(kind, soft, hard)


def _oom_score(process: Reader) -> int | None:
    if "oomScoreAdj" not in process:
        return None
    return process.integer("oomScoreAdj", low=-1000, high=1000)


def _io_priority(process: Reader) -> int | None:
    if "ioPriority" not in process:
        return None
    from labcontainer.runtime import scheduling

    return scheduling.read_io_priority(process.child("ioPriority"))


def _scheduler(process: Reader) -> Scheduler | None:
    if "scheduler" not in process:
        return None
    from labcontainer.runtime import scheduling

    return scheduling.read_scheduler(process.child("scheduler"))
