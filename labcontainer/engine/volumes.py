"""Volumes: directories that outlive their containers, and all else that is mounted in one.

    FOLDER/NAME/_data   a named volume, or an anonymous one (its name is 64 hexadecimal digits)

What a container is asked to mount (Binds, Mounts, Volumes, VolumesFrom, Tmpfs) becomes its mount
points, in Docker's shape. Keys that begin with `_` are the engine's own, and are shown to nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading

from labcontainer import errors
from labcontainer.engine import filters, moments, mountpoints, request, usage
from labcontainer.engine.volume_mounts import VolumeMounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from labcontainer.engine.container import Container
    from labcontainer.engine.containers import Containers
    from labcontainer.engine.events import Events
    from labcontainer.engine.records import Records
    from labcontainer.engine.view import Layer, View

    Document = dict[str, Any]
    Filters = Mapping[str, list[str]]

ANONYMOUS = "com.docker.volume.anonymous"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
FILTERS = ("dangling", "driver", "label", "name")


class Volumes:
    """The volumes of one engine, by name."""

    containers: Containers

    def __init__(self, records: Records, events: Events, folder: str) -> None:
        self._records, self._events, self._folder = records, events, folder
        self._lock = threading.RLock()
        self._mounts = VolumeMounts()
        self._all: dict[str, Document] = {one["Name"]: one for one in records.all("volume")}
        self._coming: dict[str, list[str]] = {}  # container that is being made: its volumes

    # --- volumes ----------------------------------------------------------------------------------

    def create(self, asked: Document) -> Document:
        """Make a volume, or find the one of that name.

        Raises:
            UsageError: the name is none. ExistsError: it is there with another driver.
            NotFoundError: a driver that there is not.
        """
        name = asked.get("Name") or os.urandom(32).hex()
        driver, options = asked.get("Driver") or "local", asked.get("DriverOpts") or {}
        where = f"create {name}: "
        check_name(name)
        if driver not in ("local", "default"):
            raise errors.NotFoundError(
                f'{where}error looking up volume plugin {driver}: plugin "{driver}" not found'
            )
        mountpoints.check_options(options, where)
        with self._lock:
            if name in self._all:
                return self.inspect(name)
            path = f"{self._folder}/{name}/_data"
            labels = dict(asked.get("Labels") or {})
            if not asked.get("Name"):
                labels[ANONYMOUS] = ""
            os.makedirs(path, mode=0o755, exist_ok=True)
            made: Document = {
                "CreatedAt": moments.now(),
                "Driver": "local",
                "Labels": labels,
                "Mountpoint": path,
                "Name": name,
                "Options": options or None,
                "Scope": "local",
            }
            self._all[name] = made
            self._records.save("volume", name, name, made)
        self._events.tell("volume", "create", name, driver="local")
        return made

    def inspect(self, name: str) -> Document:
        """One volume.

        Raises:
            NotFoundError: there is none.
        """
        with self._lock:
            found = self._all.get(name)
        if found is None:
            raise errors.NotFoundError(f"get {name}: no such volume")
        return found

    def select(self, given: Filters) -> Document:
        """All that pass the filters."""
        filters.check(given, FILTERS)
        dangling = given.get("dangling")
        wanted = filters.is_true(given, "dangling")
        with self._lock:
            found = sorted(self._all.values(), key=lambda one: str(one["Name"]))
        shown = [
            one for one in found
            if filters.labels(one["Labels"], given.get("label", []))
            and ("name" not in given or any(word in one["Name"] for word in given["name"]))
            and ("driver" not in given or one["Driver"] in given["driver"])
            and (not dangling or (not self.users(one["Name"])) == wanted)
        ]  # fmt: skip
        return {"Volumes": shown, "Warnings": None}

    def users(self, name: str) -> tuple[str, ...]:
        """The ids of the containers that have a volume, those that are being made too."""
        with self._lock:
            coming = [one for one, names in self._coming.items() if name in names]
        found = [
            one.id
            for one in self.containers.all()
            if any(mount.get("Name") == name for mount in one.mounts)
        ]
        return tuple(dict.fromkeys([*coming, *found]))

    def remove(self, name: str, *, force: bool = False) -> None:
        """Delete a volume and what is in it.

        Raises:
            NotFoundError: there is none (with `force` that is no failure).
            StateError: a container has it.
        """
        with self._lock:
            if name not in self._all:
                if force:
                    return
                raise errors.NotFoundError(f"get {name}: no such volume")
            if users := self.users(name):
                shown = ", ".join(users)
                raise errors.StateError(f"remove {name}: volume is in use - [{shown}]")
            self._delete(name)

    def _delete(self, name: str) -> None:
        if self._all[name]["Options"]:
            self._mounts.settle([self._all[name]])  # what it shows is not ours to delete
        shutil.rmtree(f"{self._folder}/{name}", ignore_errors=False)
        del self._all[name]
        self._records.delete("volume", name)
        self._events.tell("volume", "destroy", name, driver="local")

    def prune(self, given: Filters, *, only_anonymous: bool = True) -> Document:
        """Delete volumes that no container has; named ones only where `all` asks for them."""
        filters.check(given, ("all", "label", "label!"))
        anonymous = only_anonymous and not filters.is_true(given, "all")
        deleted, freed = [], 0
        with self._lock:
            for one in list(self._all.values()):
                labels = one["Labels"]
                unwanted = given.get("label!")
                if (
                    (anonymous and ANONYMOUS not in labels)
                    or self.users(one["Name"])
                    or not filters.labels(labels, given.get("label", []))
                    or (unwanted and not filters.no_labels(labels, unwanted))
                ):
                    continue
                freed += usage.of_directory(one["Mountpoint"])
                self._delete(one["Name"])
                deleted.append(one["Name"])
        self._events.tell("volume", "prune", "", reclaimed=str(freed))
        return {"VolumesDeleted": deleted, "SpaceReclaimed": freed}

    def usage(self) -> list[Document]:
        """All with their size and the number of their users, for `system df`."""
        with self._lock:
            found = list(self._all.values())
        return [
            {**one, "UsageData": {"RefCount": len(self.users(one["Name"])),
                                  "Size": usage.of_directory(one["Mountpoint"])}}
            for one in found
        ]  # fmt: skip

    # --- of one container -------------------------------------------------------------------------

    def resolve(
        self, identity: str, config: Document, host: Document, containers: Containers
    ) -> list[Document]:
        """The mount points of a new container; volumes that it names are made.

        They stay until it is `known`, when it has them itself.

        Raises:
            UsageError: a mount is off, two have the same place, or a container of VolumesFrom or a
                driver is not there.
        """
        found = mountpoints.parse(config, host, containers)
        try:
            for one in found:
                if one["Type"] == "volume":
                    self._settle(one, identity)
                    self._events.tell(
                        "volume", "mount", one["Name"], container=identity,
                        destination=one["Destination"], driver="local", propagation="",
                        **{"read/write": str(one["RW"]).lower()},
                    )  # fmt: skip
        except BaseException:
            self._remove_anonymous(found, identity)
            raise
        return found

    def known(self, identity: str) -> None:
        """A container that was being made can be found now, or never will be."""
        with self._lock:
            self._coming.pop(identity, None)

    def _settle(self, mount: Document, identity: str) -> None:
        """Make, or find, the volume of a mount point."""
        asked = {"Name": mount["Name"], **mount.pop("_create_volume", {})}
        try:
            with self._lock:  # who prunes meanwhile finds it in use
                volume = self.create(asked)
                self._coming.setdefault(identity, []).append(volume["Name"])
        except errors.NotFoundError as error:  # no 404: the docker command would pull the image
            raise errors.UsageError(str(error)) from None
        mount["Name"], mount["Source"] = volume["Name"], volume["Mountpoint"]
        mount["Driver"] = "local"
        mount["_anonymous"] = not asked["Name"]
        if any((volume["Options"] or {}).get(word) for word in ("type", "device")):
            mount["_options"] = volume["Options"]

    def requests(
        self, container: Container
    ) -> tuple[tuple[request.Volume, ...], tuple[request.Tmpfs, ...]]:
        """What the container's configuration mounts.

        Raises:
            UsageError: a bind's source is gone.
        """
        return mountpoints.requests(container)

    # --- those with a file system of their own ----------------------------------------------------

    def _with_options(self, mounts: list[Document]) -> list[Document]:
        named = [one for one in mounts if one["Type"] == "volume" and one.get("_options")]
        names = {str(one["Name"]) for one in named}
        with self._lock:
            return [self._all[name] for name in sorted(names) if name in self._all]

    def mount(self, container: Container) -> None:
        """Mount the file systems of a container's volumes.

        Raises:
            LabError: one can't be mounted; none of them is then.
        """
        self._hold(container.mounts, container.id)

    def _hold(self, mounts: list[Document], user: str) -> None:
        try:
            for volume in self._with_options(mounts):
                self._mounts.hold(volume, user)
        except BaseException:
            self._let_go(mounts, user)
            raise

    def _let_go(self, mounts: list[Document], user: str) -> None:
        for volume in self._with_options(mounts):
            self._mounts.let_go(volume, user)

    def mount_again(self, container: Container) -> None:
        """They are mounted, but where an ordinary user's mounts went with the daemon before."""
        try:
            self.mount(container)
        except errors.LabError:
            pass  # it has its own mount of them

    def unmount(self, container: Container) -> None:
        """Let go of them; may be called again."""
        self._let_go(container.mounts, container.id)

    @contextlib.contextmanager
    def mounted(self, mounts: list[Document]) -> Iterator[None]:
        """Have those of some mount points mounted for a block: to copy files."""
        user = f"copying {threading.get_ident()}"
        self._hold(mounts, user)
        try:
            yield
        finally:
            self._let_go(mounts, user)

    def recover(self) -> None:
        """Unmount what a daemon before this one has left, and no container uses."""
        with self._lock:
            found = [one for one in self._all.values() if one["Options"]]
        self._mounts.settle(found)

    def fill_empty(self, found: list[Document], look: Callable[[], View | Layer]) -> None:
        """Copy what the image has at the places of empty volumes into them.

        Args:
            found: the container's mount points.
            look: opens its root, which costs something and is rarely needed.
        """
        mounts = [
            one for one in found
            if one["Type"] == "volume" and not one.get("_nocopy") and not one.get("_subpath")
            and not (one.get("_options") and one.get("_new"))  # nothing would come into it
        ]  # fmt: skip
        with self.mounted(mounts):
            empty = [one for one in mounts if _is_to_be_filled(one["Source"])]
            if empty:
                with look() as root:
                    for one in empty:
                        mountpoints.copy_up(root.fd, one["Destination"], one["Source"])

    def release(self, container: Container, remove: bool) -> None:
        """The container is gone: with `remove` its anonymous volumes go with it."""
        if remove:
            self._remove_anonymous(container.mounts, container.id)

    def _remove_anonymous(self, mounts: list[Document], but: str) -> None:
        for one in mounts:
            if one.get("_anonymous"):
                try:
                    self._remove_unused(str(one["Name"]), but)
                except (errors.LabError, OSError):
                    continue  # another container has it from this one

    def _remove_unused(self, name: str, but: str) -> None:
        with self._lock:
            if name in self._all and not set(self.users(name)) - {but}:
                self._delete(name)


def _is_to_be_filled(path: str) -> bool:
    return os.path.isdir(path) and os.access(path, os.W_OK) and not os.listdir(path)


def check_name(name: str) -> None:
    """Refuse what would not be one directory.

    Raises:
        UsageError: it has other letters than Docker allows.
    """
    if len(name) < 2:
        raise errors.UsageError(
            f"create {name}: volume name is too short, names should be at least two "
            "alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise errors.UsageError(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )
