"""All containers: created, found, shown, renamed, removed. What they live through: lives.py."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time

from labcontainer import errors
from labcontainer.engine import (
    ancestry,
    creating,
    filters,
    hostconfig,
    leftovers,
    moments,
    naming,
    ociconfig,
    showing,
    usage,
)
from labcontainer.engine import container as states
from labcontainer.engine.container import Container
from labcontainer.engine.lives import Lives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from labcontainer.engine.engine import Engine

    Document = dict[str, Any]
    Filters = Mapping[str, list[str]]

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Containers:
    """The containers of one engine, by id and by name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._folder = f"{engine.home}/engine/containers"
        self._lock = threading.RLock()
        self._by_id: dict[str, Container] = {}
        self._names: dict[str, str] = {}  # also those that are being created
        self.lives = Lives(engine, self.save)
        self.lives.removed = self._remove_by_itself

    # --- finding ----------------------------------------------------------------------------------

    def all(self) -> list[Container]:
        """Every container, the oldest first."""
        with self._lock:
            return list(self._by_id.values())

    def find(self, word: str) -> Container:
        """The container of an id, of a name, or of the beginning of an id.

        Raises:
            NotFoundError: there is none. UsageError: several ids begin so.
        """
        with self._lock:
            name = word.removeprefix("/")
            if found := self._by_id.get(word) or self._by_id.get(self._names.get(name, "")):
                return found
            begun = [one for identity, one in self._by_id.items() if identity.startswith(word)]
        if len(begun) > 1:
            raise errors.UsageError(f"Multiple IDs found with provided prefix: {word}")
        if not word or not begun:
            raise errors.NotFoundError(f"No such container: {word}")
        return begun[0]

    def save(self, container: Container) -> None:
        """Write a container down."""
        with self._lock:
            if container.id in self._by_id:
                document = container.as_dict()
                self._engine.records.save("container", container.id, container.name, document)

    def changed(self, container: Container, action: str) -> None:
        """Write it down and tell of it."""
        self.save(container)
        self.lives.tell(container, action)
        self.lives.attachments.ring(container)

    def user_of_image(self, image_id: str) -> str:
        """Which container was made from an image, in Docker's words; "" for none."""
        users = [one for one in self.all() if one.image_id == image_id]
        for one in sorted(users, key=lambda each: not each.state.running):
            kind = "running container" if one.state.running else "stopped container"
            return f"image is being used by {kind} {one.id[:12]}"
        return ""

    # --- create -----------------------------------------------------------------------------------

    def create(
        self, name: str, config: Document, host: Document, networking: Document,
        platform: str = "",
    ) -> tuple[str, list[str]]:  # fmt: skip
        """A new container: (its id, warnings). Nothing is left of one that can't be.

        Raises:
            NotFoundError: no such image. ExistsError: the name is taken.
            UsageError, UnsupportedError: a value is off.
        """
        identity = os.urandom(32).hex()
        name = self._reserve(name, identity)
        try:
            with self._engine.store.lease():  # its image stays until the container is known
                made = creating.create(
                    self._engine, f"{self._folder}/{identity}", identity, name,
                    (config, host, networking), platform,
                )  # fmt: skip
                with self._lock:
                    self._by_id[identity] = made
            self.save(made)
        except BaseException:
            with self._lock:
                self._by_id.pop(identity, None)
                self._names.pop(name, None)
            leftovers.remove(f"{self._folder}/{identity}")
            raise
        finally:
            self._engine.volumes.known(identity)
        self.lives.tell(made, "create")
        return identity, creating.warnings(made) + self._engine.networks.warnings(made)

    def _reserve(self, word: str, identity: str) -> str:
        """Take a name, or choose one.

        Raises:
            UsageError: it is none. ExistsError: another has it.
        """
        if word and not _NAME.fullmatch(word):
            raise errors.UsageError(
                f"Invalid container name ({word}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )
        with self._lock:
            name = word.removeprefix("/") or naming.choose(self._names.__contains__)
            if name in self._names:
                raise errors.ExistsError(
                    f'Conflict. The container name "/{name}" is already in use by container '
                    f'"{self._names[name]}". You have to remove (or rename) that container '
                    "to be able to reuse that name."
                )
            self._names[name] = identity
            return name

    # --- what is changed of one -------------------------------------------------------------------

    def rename(self, word: str, name: str) -> None:
        """Give a container another name.

        Raises:
            UsageError: it is none, or it has it already. ExistsError: another has it.
        """
        container = self.find(word)
        if not name:
            raise errors.UsageError("Neither old nor new names may be empty")
        if name.removeprefix("/") == container.name:
            raise errors.UsageError("Renaming a container with the same name as its current name")
        with container.lock:
            before = container.name
            container.name = self._reserve(name, container.id)
            with self._lock:
                self._names.pop(before, None)
            self.save(container)
        self._engine.networks.renamed(container)
        self.lives.tell(container, "rename", oldName=f"/{before}")

    def update(self, word: str, changes: Document, policy: Document | None) -> list[str]:
        """Change limits, of a running container too, and the restart policy; warnings.

        Raises:
            UsageError: a value is off. OSError: the kernel refused; nothing is changed.
        """
        container = self.find(word)
        given = {key: value for key, value in changes.items() if value not in (0, "", [], None)}
        with container.lock:
            host = {**container.host, **given}
            if policy is not None and policy["Name"]:
                host["RestartPolicy"] = policy
            if "Memory" in given and "MemorySwap" not in given:
                before = container.host["MemorySwap"]
                if 0 < before < given["Memory"]:
                    raise errors.StateError(
                        f"Cannot update container {container.id}: Memory limit should be smaller "
                        "than already set memoryswap limit, update the memoryswap at the same time"
                    )
            hostconfig.check(container.config, host)
            trial = Container(container.home, **{**container.as_dict(), "host": host})
            asked = hostconfig.request_of(trial)
            if container.state.running and given:
                from labcontainer import resources

                wished = ociconfig.resources(asked, device_rules=False)
                self.lives.group(container).apply(resources.from_oci(wished, update=True))
            container.host = host
            self.save(container)
        self.lives.tell(container, "update")
        return []

    # --- remove -----------------------------------------------------------------------------------

    def remove(self, word: str, *, force: bool = False, volumes: bool = False) -> None:
        """Forget a container and delete its files.

        Raises:
            StateError: it runs, and is not to be ended (`force`).
        """
        container = self.find(word)
        if container.state.status == states.REMOVING:
            raise errors.StateError(f"removal of container {container.id} is already in progress")
        if container.state.running or container.state.status == states.RESTARTING:
            if not force:
                raise errors.StateError(_still_running(container))
            try:
                self.lives.kill(container)
            except errors.StateError:
                pass  # it has just ended
        self._remove(container, volumes)

    def _remove(self, container: Container, volumes: bool) -> None:
        with container.lock:
            if container.id not in self._by_id:
                return
            if container.state.running:  # a restart was quicker
                raise errors.StateError(_still_running(container))
            container.stopped_by_user = True
            container.state.status = states.REMOVING
            self.save(container)
            try:
                self._delete(container, volumes)
            except BaseException:
                container.state.status = states.DEAD  # so it can be asked for again
                self.save(container)
                raise
            self.lives.tell(container, "destroy")  # before anybody hears that it is gone
        self.lives.attachments.ring(container)

    def _delete(self, container: Container, volumes: bool) -> None:
        """The files first, the record last: who is killed here finds it again, to go on."""
        self._engine.networks.detach(container)
        leftovers.remove(container.home)
        self._engine.volumes.release(container, volumes)
        with self._lock:
            self._engine.records.delete("container", container.id)
            self._by_id.pop(container.id, None)
            self._names.pop(container.name, None)

    def _remove_by_itself(self, container: Container) -> None:
        """`--rm`: with its end."""
        try:
            self._remove(container, volumes=True)
        except (errors.LabError, OSError):
            self.lives.attachments.ring(container)

    def prune(self, given: Filters) -> Document:
        """Remove every container that does not run.

        Raises:
            UsageError: a filter that there is not.
        """
        filters.check(given, ("label", "label!", "until"))
        until = filters.until(given, time.time())
        deleted, freed = [], 0
        for one in self.all():
            if one.state.running or one.state.status == states.RESTARTING:
                continue
            if until is not None and moments.moment(one.created) > until:
                continue
            if not filters.labels(one.labels, given.get("label", [])):
                continue
            if given.get("label!") and not filters.no_labels(one.labels, given["label!"]):
                continue
            room = usage.of_directory(f"{one.home}/upper")
            try:
                self._remove(one, volumes=False)
            except errors.StateError:
                continue
            deleted.append(one.id)
            freed += room
        self._engine.events.tell("container", "prune", "", reclaimed=str(freed))
        return {"ContainersDeleted": deleted or None, "SpaceReclaimed": freed}

    # --- showing ----------------------------------------------------------------------------------

    def select(
        self, *, every: bool = False, limit: int = 0, size: bool = False, given: Filters
    ) -> list[Document]:
        """`GET /containers/json`: the newest first; those that run, unless asked for others."""
        showing.check_filters(given)
        found = self.all()[::-1]
        names = ancestry.Names(self._engine.store)
        every = every or limit > 0 or any(key in given for key in ("status", "exited"))
        if before := given.get("before"):
            found = found[found.index(self.find(before[0])) + 1 :]
        if since := given.get("since"):
            found = found[: found.index(self.find(since[0]))]
        shown = []
        for one in found:
            if not every and not one.state.running and one.state.status != states.RESTARTING:
                continue
            if showing.passes(names, one, given):
                shown.append(showing.summary(self._engine, one, names, size=size))
            if 0 < limit == len(shown):
                break
        return shown

    def inspect(self, word: str, *, size: bool = False) -> Document:
        """`GET /containers/{id}/json`."""
        container = self.find(word)
        with container.lock:
            return showing.inspect(self._engine, container, size=size)

    def top(self, word: str, ps_args: str) -> Document:
        """`GET /containers/{id}/top`: the lines of ps(1) that are about its processes."""
        from labcontainer.engine import processes

        container = self.find(word)
        if not container.state.running:
            raise errors.StateError(f"container {container.id} is not running")
        return processes.table(self.lives.group(container).procs(), ps_args)

    # --- after a start of the daemon --------------------------------------------------------------

    def load(self) -> None:
        """Read what is remembered."""
        for document in self._engine.records.all("container"):
            one = Container(f"{self._folder}/{document['id']}", **document)
            self._by_id[one.id] = one
            self._names[one.name] = one.id

    def recover(self) -> None:
        """Find those that run, end what was left half done."""
        os.makedirs(self._folder, mode=0o711, exist_ok=True)
        for name in os.listdir(self._folder):
            if name not in self._by_id:  # a create, or a remove, that was killed
                leftovers.remove(f"{self._folder}/{name}")
        for one in self.all():
            shutil.rmtree(f"{one.home}/execs", ignore_errors=True)
            if one.state.status in (states.REMOVING, states.DEAD):
                self._delete(one, volumes=one.host["AutoRemove"])
                continue
            with one.lock:
                self.lives.recover(one)
                if one.host["AutoRemove"] and not one.state.running:
                    self._remove_by_itself(one)

    def close(self, *, stop: bool = False) -> None:
        """Let go of them; with `stop`, end those that run."""
        if stop:
            self.lives.shut_down(self.all())
        self.lives.close()


def _still_running(container: Container) -> str:
    if container.state.status == states.PAUSED:
        return (
            f'cannot remove container "/{container.name}": container is paused and must be '
            "unpaused first"
        )
    return (
        f'cannot remove container "/{container.name}": container is {container.state.status}: '
        "stop the container before removing or force remove"
    )
