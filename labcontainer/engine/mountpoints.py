"""What is mounted in a container: Docker's words for it, parsed; and the image's files in a volume.

Binds         /host/path:/target[:ro]   name:/target
Mounts        {"Type": "bind" | "volume" | "tmpfs", "Source", "Target", …}
Volumes       /target: an anonymous volume (the image may ask for it)
VolumesFrom   another container's mount points
Tmpfs         /target: options
"""

from __future__ import annotations

import os
import stat
import subprocess

from labcontainer import errors, mounts
from labcontainer.engine import request, words
from labcontainer.kernel import confined, mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from labcontainer.engine.container import Container
    from labcontainer.engine.containers import Containers

    Document = dict[str, Any]

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
OUTWARD, INWARD = ("shared", "rshared"), ("slave", "rslave")
IGNORED = ("z", "Z", "cached", "delegated", "consistent")
OPTIONS = ("type", "o", "device", "size")
TMPFS_OPTIONS = ("mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol")
# With the one option, these others.
_TOGETHER = {"device": ("type",), "type": ("device",), "o": ("device", "type")}


def parse(config: Document, host: Document, containers: Containers) -> list[Document]:
    """The mount points that Config and HostConfig ask for, ordered by their place.

    Raises:
        UsageError: one is off, two have the same place, or a container of VolumesFrom is not there.
    """
    found: dict[str, Document] = {}
    for one in _inherited(host["VolumesFrom"] or (), containers):
        found[one["Destination"]] = one
    own: dict[str, Document] = {}
    driver = {"_create_volume": {"Driver": host["VolumeDriver"]}} if host["VolumeDriver"] else {}
    for one in (*map(bind, host["Binds"] or ()), *map(mount, host["Mounts"] or ())):
        if one["Destination"] in own:
            raise errors.UsageError(f"Duplicate mount point: {one['Destination']}")
        own[one["Destination"]] = (driver if one["Type"] == "volume" else {}) | one
    for target, options in (host["Tmpfs"] or {}).items():
        place = destination(target)
        if place in own:
            raise errors.UsageError(f"Duplicate mount point: {place}")
        _check_tmpfs(options)
        own[place] = _point("tmpfs", "", place) | {"_options": options, "_hidden": True}
    found |= own
    for target in config["Volumes"] or {}:
        place = destination(target)
        if place not in found:
            found[place] = _volume("", place)
    places = sorted(found, key=lambda place: (place.count("/"), place))
    return [found[place] for place in places]


def _check_tmpfs(options: str) -> None:
    for word in filter(None, options.split(",")):
        name, equals, value = word.partition("=")
        if word in mounts.option_words() or (equals and name in TMPFS_OPTIONS):
            continue
        shown = f'"{name}" "{value}"' if equals else f'"{name}"'
        raise errors.UsageError(f"invalid tmpfs option [{shown}]")


def _inherited(words: Iterable[str], containers: Containers) -> Iterable[Document]:
    for word in words:
        name, _, mode = word.partition(":")
        if mode not in ("", "ro", "rw", *IGNORED):
            raise errors.UsageError(f"invalid mode: {mode}")
        for one in _holder(name, containers).mounts:
            if not one.get("_hidden"):
                inherited = {**one, "_anonymous": False}
                yield inherited | ({"RW": False, "Mode": "ro"} if mode == "ro" else {})


def _holder(name: str, containers: Containers) -> Container:
    """A container of VolumesFrom. Its lack is no 404: the docker command would pull the image."""
    try:
        return containers.find(name)
    except errors.NotFoundError as error:
        raise errors.UsageError(str(error)) from None


def _point(kind: str, source: str, place: str, *, writable: bool = True) -> Document:
    return {"Type": kind, "Source": source, "Destination": place, "Mode": "", "RW": writable,
            "Propagation": ""}  # fmt: skip


def _volume(name: str, place: str, *, writable: bool = True) -> Document:
    return {"Name": name, "Driver": "local", **_point("volume", "", place, writable=writable)}


def destination(target: str, where: str = "") -> str:
    """A place in a container; `where` begins the words of a refusal.

    Raises:
        UsageError: it is not absolute, or `/`.
    """
    if not target.startswith("/"):
        raise errors.UsageError(
            f"{where}invalid mount path: '{target}' mount path must be absolute"
        )
    clean = os.path.normpath(f"/{target.lstrip('/')}")  # normpath keeps two slashes
    if clean == "/":
        raise errors.UsageError(f"{where}invalid specification: destination can't be '/'")
    return clean


def bind(word: str) -> Document:
    """`SRC:DST[:options]`: a directory of the host's by its path, a volume by its name.

    `DST` alone is a volume without a name.

    Raises:
        UsageError: it is none.
    """
    parts = word.split(":")
    where = f"invalid volume specification: '{word}'"
    if len(parts) > 3 or not all(parts[:2]):
        raise errors.UsageError(where)
    parts = ["", *parts] if len(parts) == 1 else parts
    kind = "bind" if parts[0].startswith("/") else "volume"
    place = destination(parts[1], f'{where}: invalid mount config for type "{kind}": ')
    options = parts[2].split(",") if len(parts) == 3 and parts[2] else []
    if kind == "bind":
        one = _point("bind", os.path.normpath(parts[0]), place)
        one |= {"Propagation": "rprivate", "_create": True}
    else:
        one = _volume(parts[0], place)
    one["Mode"] = ",".join(options) or ("z" if parts[0] and kind == "volume" else "")
    for kinds in (("ro", "rw"), PROPAGATIONS, ("z", "Z"), ("nocopy",)):
        if sum(option in kinds for option in options) > 1:
            raise errors.UsageError(f"invalid mode: {parts[2]}")
    for option in options:
        if option in ("ro", "rw"):
            one["RW"] = option == "rw"
        elif option in PROPAGATIONS and one["Type"] == "bind":
            one["Propagation"] = option
        elif option == "nocopy" and one["Type"] == "volume":
            one["_nocopy"] = True
        elif option not in IGNORED:
            raise errors.UsageError(f"invalid mode: {parts[2]}")
    return one


def mount(asked: Document) -> Document:
    """An entry of Mounts.

    Raises:
        UsageError: it is off.
    """
    kind, source, target = (str(asked.get(key) or "") for key in ("Type", "Source", "Target"))
    if not target:
        _wrong(kind, "field Target must not be empty")
    if kind not in ("bind", "volume", "tmpfs"):
        _wrong(kind, "mount type unknown")
    for other in ("Bind", "Volume", "Tmpfs"):
        if other.lower() != kind and asked.get(f"{other}Options"):
            _wrong(kind, f"field {other}Options must not be specified")
    place = destination(target, f'invalid mount config for type "{kind}": ')
    writable = not asked.get("ReadOnly", False)
    if kind == "bind":
        return _bind_mount(asked, source, place, writable)
    if kind == "tmpfs":
        return _tmpfs_mount(asked, source, place, writable)
    return _volume_mount(asked, source, place, writable)


def _wrong(kind: str, why: str) -> NoReturn:
    raise errors.UsageError(f'invalid mount config for type "{kind}": {why}')


def _bind_mount(asked: Document, source: str, place: str, writable: bool) -> Document:
    options = asked.get("BindOptions") or {}
    if not source.startswith("/"):
        _wrong("bind", f"invalid mount path: '{source}' mount path must be absolute"
               if source else "field Source must not be empty")  # fmt: skip
    if not os.path.lexists(source) and not options.get("CreateMountpoint"):
        _wrong("bind", f"bind source path does not exist: {source}")
    propagation = options.get("Propagation") or "rprivate"
    if propagation not in PROPAGATIONS:
        _wrong("bind", f"invalid propagation mode: {propagation}")
    one = _point("bind", os.path.normpath(source), place, writable=writable)
    return one | {"Propagation": propagation, "_nonrecursive": bool(options.get("NonRecursive")),
                  "_create": bool(options.get("CreateMountpoint"))}  # fmt: skip


def _tmpfs_mount(asked: Document, source: str, place: str, writable: bool) -> Document:
    if source:
        _wrong("tmpfs", "field Source must not be specified")
    options = asked.get("TmpfsOptions") or {}
    given = [f"size={options['SizeBytes']}"] if options.get("SizeBytes") else []
    given += [f"mode={options['Mode']:o}"] if options.get("Mode") else []
    given += [] if writable else ["ro"]
    return _point("tmpfs", "", place, writable=writable) | {"_options": ",".join(given)}


def _volume_mount(asked: Document, source: str, place: str, writable: bool) -> Document:
    options = asked.get("VolumeOptions") or {}
    driver = options.get("DriverConfig") or {}
    one = _volume(source, place, writable=writable)
    one["Mode"] = "z"
    one["_nocopy"] = bool(options.get("NoCopy"))
    one["_subpath"] = str(options.get("Subpath") or "")
    one["_create_volume"] = {"Labels": options.get("Labels"), "Driver": driver.get("Name"),
                             "DriverOpts": driver.get("Options")}  # fmt: skip
    return one


def check_options(options: dict[str, str], where: str) -> None:
    """The options of the local driver; `where` begins the words of a refusal.

    Raises:
        UsageError: one that there is not, one without another, or a quota.
    """
    for name in options:
        if name not in OPTIONS:
            raise errors.UsageError(f'{where}invalid option: "{name}"')
    for name, others in _TOGETHER.items():
        for other in others:
            if name in options and other not in options:
                raise errors.UsageError(f'{where}missing required option: "{other}"')
    if "size" in options and _size(options["size"], where):
        raise errors.UsageError(f"{where}quota size requested but no quota support")


def _size(word: str, where: str) -> int:
    try:
        return words.size("size", word)
    except errors.UsageError:
        raise errors.UsageError(f"{where}invalid size: '{word}'") from None


def is_directory(mount: Document) -> bool:
    """Whether a mount point is one, and not a file, a socket or a device."""
    source = str(mount.get("Source") or "")
    return mount["Type"] != "bind" or os.path.isdir(source) or not os.path.exists(source)


# --- for the container's configuration ------------------------------------------------------------


def requests(
    container: Container,
) -> tuple[tuple[request.Volume, ...], tuple[request.Tmpfs, ...]]:
    """What the container's configuration mounts.

    Raises:
        UsageError: a bind's source is gone.
    """
    volumes, memories = [], []
    for one in container.mounts:
        if one["Type"] == "tmpfs":
            options = str(one.get("_options") or "")
            memories.append(_tmpfs(one, request.Tmpfs.options, options))
        else:
            volumes.append(_shown(one))
    return tuple(volumes), tuple(memories)


def _tmpfs(one: Document, always: tuple[str, ...], options: str) -> request.Tmpfs:
    """Everybody may write into one for which the image has no directory to take the mode of."""
    words = [word for word in options.split(",") if word]
    if one.get("_new") and not any(word.startswith("mode=") for word in words):
        words.append("mode=1777")
    return request.Tmpfs(one["Destination"], (*always, *words))


def _shown(one: Document) -> request.Volume:
    source = one["Source"]
    if one.get("_subpath"):
        source = _subpath(source, one["_subpath"])
    if not os.path.lexists(source):
        if not (one.get("_create") or one["Type"] == "volume"):
            _wrong("bind", f"bind source path does not exist: {source}")
        os.makedirs(source)
    return request.Volume(
        source, one["Destination"], readonly=not one["RW"],
        recursive=not one.get("_nonrecursive"), propagation=one["Propagation"] or "rprivate",
    )  # fmt: skip


def _subpath(source: str, path: str) -> str:
    """A directory inside a volume; a link in it must not lead out."""
    fd = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        there = confined.open_in(fd, path)
    except OSError as error:
        why = f"cannot access path {path!r} of the volume: {error.strerror}"
        raise errors.UsageError(why) from None
    finally:
        os.close(fd)
    try:
        return os.readlink(f"/proc/self/fd/{there}")
    finally:
        os.close(there)


def check_propagation(volumes: Iterable[request.Volume]) -> None:
    """Mounts come and go between host and container only where the source has peers.

    Raises:
        LabError: the mount that it is on has none.
    """
    for one in volumes:
        if one.propagation not in (*OUTWARD, *INWARD):
            continue
        held = mountinfo.holding(one.source)
        if held.has("shared") or (one.propagation in INWARD and held.has("master")):
            continue
        kind = "shared mount" if one.propagation in OUTWARD else "shared or slave mount"
        raise errors.LabError(
            f"path {one.source} is mounted on {held.point} but it is not a {kind}"
        )


def copy_up(root_fd: int, target: str, directory: str) -> None:
    """Copy what is at a path inside a root into an empty directory, with its owner and mode."""
    try:
        there = confined.open_in(root_fd, target, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        about = os.fstat(there)
        if os.listdir(there):
            # Its path is our own descriptor's: cp(1) can't be led astray by a link.
            words = ["cp", "-a", "--reflink=auto", f"/proc/{os.getpid()}/fd/{there}/.", directory]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                said = done.stderr.strip().splitlines()[-1]
                raise errors.LabError(f"copying {target} into its volume failed: {said}")
        os.chown(directory, about.st_uid, about.st_gid)
        os.chmod(directory, stat.S_IMODE(about.st_mode))
    finally:
        os.close(there)
