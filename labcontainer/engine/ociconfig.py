"""The OCI config.json of one request: Docker's default isolation, and what the flags change of it.

A pure function from what was asked and where it will run to a document; nothing is done here. The
document is a dict, as json.loads would give it: runtime-spec config.md and config-linux.md.
"""

from __future__ import annotations

import os
import stat

from labcontainer import capabilities, errors, rootfs
from labcontainer.engine import request
from labcontainer.record import Record
from labcontainer.runtime import labels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.users import IdMap, User

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT = "/sbin/docker-init"
_UNLIMITED = (1 << 64) - 1
_FORBID_ALL = {"allow": False, "access": "rwm"}
# What Docker lets a container open: null, zero, full, random, urandom, tty, console, ptmx, ptys.
_CHARACTER = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))


class Place(Record):
    """Where one container runs, as the engine has prepared it.

    `files` are the engine's own files, shown in the container: (path of the file, target).
    """

    root: str
    user: User
    args: tuple[str, ...]
    hostname: str
    cgroups_path: str = ""
    rootless: bool = False
    all_ids: bool = True  # more ids than the one are mapped
    network: str = "none"  # none, host, or own: a network namespace that gets a network
    files: tuple[tuple[str, str], ...] = ()
    init: str = ""  # the host's program that is to be PID 1
    maps: tuple[tuple[IdMap, ...], tuple[IdMap, ...]] = ((), ())
    console_size: tuple[int, int] | None = None
    profile: dict[str, Any] | None = None  # the seccomp profile
    fresh: tuple[tuple[str, str], ...] = ()  # (directory, target) of volumes without a source
    joined: tuple[tuple[str, str], ...] = ()  # (namespace, its file) of others' that it shares
    shm: str = ""  # where a /dev/shm is found that containers share


def config(asked: request.Request, place: Place) -> dict[str, Any]:
    """The whole document."""
    document = {
        "ociVersion": "1.2.0",
        "process": _process(asked, place),
        "root": {"path": place.root, "readonly": asked.read_only},
        "mounts": _mounts(asked, place),
        "linux": _linux(asked, place),
    }
    if asked.uts != "host":
        document["hostname"] = place.hostname
        if asked.domainname:
            document["domainname"] = asked.domainname
    if asked.annotations:
        document["annotations"] = dict(asked.annotations)
    return document


# --- process ----------------------------------------------------------------------------------


def _process(asked: request.Request, place: Place) -> dict[str, Any]:
    user = place.user
    process: dict[str, Any] = {
        "terminal": asked.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": groups(user, place.all_ids)},
        "args": ([INIT, "--"] if place.init else []) + list(place.args),
        "env": _environment(asked, place),
        "cwd": asked.workdir or "/",
        "capabilities": _capabilities(asked, user.uid),
        "noNewPrivileges": asked.no_new_privileges,
        "rlimits": [_rlimit(*one) for one in asked.ulimits],
    }
    if asked.apparmor and labels.apparmor_enabled():
        process["apparmorProfile"] = asked.apparmor
    if asked.oom_score_adj is not None:
        process["oomScoreAdj"] = asked.oom_score_adj
    if asked.tty and place.console_size:
        process["consoleSize"] = dict(zip(("height", "width"), place.console_size, strict=True))
    return process


def groups(user: User, all_ids: bool = True) -> list[int]:
    """The supplementary groups: the user's own one too, as login(1) sets them.

    Without it a program that drops its group would get past files that are closed to the group
    (CVE-2022-36109). Where one id is mapped only, groups can't be set at all.
    """
    return list(dict.fromkeys((user.gid, *user.gids) if all_ids else user.gids))


def _environment(asked: request.Request, place: Place) -> list[str]:
    """Docker's own variables first; those that were asked for replace them."""
    lines = [PATH, f"HOSTNAME={place.hostname}"]
    lines += ["TERM=xterm"] if asked.tty else []
    lines += [*asked.env]
    found = dict(line.partition("=")[::2] for line in lines)
    found.setdefault("HOME", place.user.home or "/")
    return [f"{name}={value}" for name, value in found.items()]


def _rlimit(name: str, soft: int, hard: int) -> dict[str, Any]:
    values = [_UNLIMITED if value == -1 else value for value in (soft, hard)]
    return {"type": f"RLIMIT_{name.upper()}", "soft": values[0], "hard": values[1]}


def granted(asked: request.Request) -> tuple[str, ...]:
    """The capabilities that a container gets: Docker's default, with what is added and dropped.

    "All" means all that can be given: not those outside this process's own bounding set.
    """
    chosen = capabilities.choose(asked.cap_add, asked.cap_drop, privileged=asked.privileged)
    if not (asked.privileged or "ALL" in (name.upper() for name in asked.cap_add)):
        return chosen
    ours = capabilities.names(capabilities.bounding())
    return tuple(name for name in chosen if name in ours)


def _capabilities(asked: request.Request, uid: int) -> dict[str, list[str]]:
    """The five sets as config.json has them; a user who is not root starts with none in effect."""
    sets = capabilities.default_sets(granted(asked), root=uid == 0)
    return {name: list(names) for name, names in sets.as_dict().items()}


# --- mounts -----------------------------------------------------------------------------------


def _mounts(asked: request.Request, place: Place) -> list[dict[str, Any]]:
    """Docker's mounts, then volumes by the depth of their target, then the engine's own files."""
    mounts = [*_system_mounts(asked, place)]
    extra = [_bind(source, target, "rw") for source, target in place.files]
    extra += [_bind(place.init, INIT, "ro")] if place.init else []
    extra += [_volume(one, place) for one in asked.volumes]
    extra += [_mount(one.target, "tmpfs", "tmpfs", *one.options) for one in asked.tmpfs]
    mounted = {one["destination"]: one for one in extra}  # the last one on a target counts
    mounts = [one for one in mounts if one["destination"] not in mounted]
    return mounts + sorted(mounted.values(), key=lambda one: str(one["destination"]).count("/"))


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _bind(source: str, target: str, *options: str) -> dict[str, Any]:
    return _mount(target, "bind", source, "rbind", "rprivate", *options)


def _system_mounts(asked: request.Request, place: Place) -> list[dict[str, Any]]:
    access = "rw" if asked.privileged else "ro"
    quiet = ("nosuid", "noexec", "nodev")
    tty_group = ("gid=5",) if place.all_ids else ()
    shm = ("mode=1777", f"size={asked.shm_size}")
    sysfs = _mount("/sys", "sysfs", "sysfs", *quiet, access)
    if place.rootless and place.network == "host":
        # sysfs belongs to a network namespace; that of the host is not ours to mount.
        sysfs = _bind("/sys", "/sys", *quiet, "ro")
    mounts = [
        _mount("/proc", "proc", "proc", *quiet),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance",
               "ptmxmode=0666", "mode=0620", *tty_group),
        sysfs,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *quiet, "relatime", access),
        _mount("/dev/mqueue", "mqueue", "mqueue", *quiet),
        _mount("/dev/shm", "tmpfs", "shm", *quiet, *shm),
    ]  # fmt: skip
    if place.rootless and asked.pid == "host":
        mounts[0] = _bind("/proc", "/proc", *quiet)
    if asked.ipc == "host":
        mounts[5:] = [_bind("/dev/mqueue", "/dev/mqueue"), _bind("/dev/shm", "/dev/shm")]
        mounts = [one for one in mounts if os.path.exists(one["source"]) or one["type"] != "bind"]
    if asked.ipc == "none":
        mounts.pop()
    if place.shm:
        mounts[-1] = _bind(place.shm, "/dev/shm")
    return mounts


def _volume(volume: request.Volume, place: Place) -> dict[str, Any]:
    source = volume.source or dict((target, path) for path, target in place.fresh)[volume.target]
    kind = "rbind" if volume.recursive else "bind"
    # A read-only volume is read-only with all that is mounted below it, as Docker has it since 25.
    access = () if not volume.readonly else ("ro", "rro") if volume.recursive else ("ro",)
    return _mount(volume.target, "bind", source, kind, volume.propagation, *access)


# --- linux ------------------------------------------------------------------------------------


def _linux(asked: request.Request, place: Place) -> dict[str, Any]:
    hidden = not (asked.privileged or asked.unmasked)
    masked = rootfs.MASKED_PATHS if asked.masked_paths is None else asked.masked_paths
    readonly = rootfs.READONLY_PATHS if asked.readonly_paths is None else asked.readonly_paths
    linux: dict[str, Any] = {
        "namespaces": _namespaces(asked, place),
        "resources": resources(asked, device_rules=not place.rootless),
        "maskedPaths": list(masked) if hidden else [],
        "readonlyPaths": list(readonly) if hidden else [],
        "sysctl": _sysctls(asked, place),
        "devices": devices(asked, place.rootless),
    }
    if place.cgroups_path:
        linux["cgroupsPath"] = place.cgroups_path
    if place.maps[0]:
        linux["uidMappings"] = [_id_map(one) for one in place.maps[0]]
        linux["gidMappings"] = [_id_map(one) for one in place.maps[1]]
    if place.profile is not None:
        linux["seccomp"] = place.profile
    if any(one.propagation in ("shared", "rshared") for one in asked.volumes):
        linux["rootfsPropagation"] = "shared"
    return linux


def _id_map(one: IdMap) -> dict[str, int]:
    return {"containerID": one.container_id, "hostID": one.host_id, "size": one.size}


def _namespaces(asked: request.Request, place: Place) -> list[dict[str, str]]:
    """Its own namespaces, and those that it joins by their files."""
    shared = {
        "network": place.network == "host",
        "pid": asked.pid == "host",
        "ipc": asked.ipc == "host",
        "uts": asked.uts == "host",
        "cgroup": asked.cgroupns == "host",
        "user": not place.maps[0],
    }
    kinds = ("user", "mount", "network", "pid", "ipc", "uts", "cgroup")
    joined = dict(place.joined)
    own = [{"type": kind} for kind in kinds if not (shared.get(kind) or kind in joined)]
    return own + [{"type": kind, "path": path} for kind, path in place.joined]


def _sysctls(asked: request.Request, place: Place) -> dict[str, str]:
    """Docker lets every user of a container bind low ports and ping, in its own network."""
    found = {}
    if place.network != "host":
        found["net.ipv4.ip_unprivileged_port_start"] = "0"
        if place.all_ids and not place.rootless and not place.maps[0]:
            found["net.ipv4.ping_group_range"] = "0 2147483647"
    found.update(asked.sysctls)
    return found


def resources(asked: request.Request, *, device_rules: bool) -> dict[str, Any]:
    """The limits, only those that were asked for, and the list of devices."""
    memory = {
        "limit": asked.memory,
        "swap": asked.memory_swap,
        "reservation": asked.memory_reservation,
    }
    cpu = {
        "shares": asked.cpu_shares,
        "quota": asked.cpu_quota,
        "period": asked.cpu_period,
        "cpus": asked.cpuset_cpus or None,
        "mems": asked.cpuset_mems or None,
    }
    pids = {"limit": -1 if asked.pids == 0 else asked.pids}
    found: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {"memory": memory, "cpu": cpu, "pids": pids}
    for name, values in groups.items():
        given = {key: value for key, value in values.items() if value is not None}
        given |= asked.limits.get(name, {})
        if given:
            found[name] = given
    if "blockIO" in asked.limits:
        found["blockIO"] = asked.limits["blockIO"]
    if device_rules:
        found["devices"] = _device_rules(asked)
    return found


def _device_rules(asked: request.Request) -> list[dict[str, Any]]:
    if asked.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [_FORBID_ALL]
    rules += [{"allow": True, "type": kind, "access": "m"} for kind in "cb"]
    for major, minor in _CHARACTER:
        rule = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        rules.append(rule if minor is None else {**rule, "minor": minor})
    for one in asked.devices:
        node = _node(one.source, one.target)
        keys = ("type", "major", "minor")
        rules.append({"allow": True, "access": one.access, **{key: node[key] for key in keys}})
    return rules + [_rule(word) for word in asked.device_rules]


def _rule(word: str) -> dict[str, Any]:
    """`c 1:3 rwm`, with `*` for any number; `a` is every device.

    Raises:
        UsageError: it is no rule.
    """
    kind, _, rest = word.partition(" ")
    numbers, _, access = rest.partition(" ")
    major, _, minor = numbers.partition(":")
    right = set(access) <= set("rwm") and access and kind in ("a", "b", "c")
    if not right or not all(one == "*" or one.isdecimal() for one in (major, minor)):
        raise errors.UsageError(f"invalid device cgroup rule format: '{word}'")
    found: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    found |= {name: int(number) for name, number in (("major", major), ("minor", minor))
              if number != "*"}  # fmt: skip
    return found


def devices(asked: request.Request, rootless: bool) -> list[dict[str, Any]]:
    """The device nodes beyond the usual ones; all of the host's where privileged.

    Raises:
        UsageError: `--device` names a file that is no device.
    """
    found = {}
    if asked.privileged and not rootless:
        found = {node["path"]: node for node in _host_devices()}
    for one in asked.devices:
        found[one.target] = _node(one.source, one.target)
    return list(found.values())


def _node(source: str, target: str) -> dict[str, Any]:
    status = os.stat(source)
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise errors.UsageError(f"invalid value {source!r} for --device: it is no device")
    return {
        "path": target,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


_NOT_SHARED = frozenset(["pts", "shm", "fd", "mqueue", "console", "ptmx", "null", "zero", "full"])


def _host_devices() -> list[dict[str, Any]]:
    """Every device node below the host's /dev, but those that each container has of its own."""
    found = []
    for directory, names, files in os.walk("/dev"):
        names[:] = [name for name in names if name not in _NOT_SHARED]
        for name in files:
            path = f"{directory}/{name}"
            try:
                mode = os.lstat(path).st_mode
                if name not in _NOT_SHARED and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
                    found.append(_node(path, path))
            except OSError:
                continue  # a node that went away meanwhile
    return found
