"""Images as the API has them: what is here, its names, what goes and what must stay."""

from __future__ import annotations

import threading
from collections.abc import Callable

from labcontainer import errors
from labcontainer.engine import (
    image_commit,
    image_documents,
    image_filters,
    image_removal,
    image_usage,
    moments,
)
from labcontainer.engine.image_builds import Builds
from labcontainer.image import collecting, holds, reference
from labcontainer.image.snapshots import Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from labcontainer.engine.events import Events
    from labcontainer.engine.records import Records
    from labcontainer.image.compression import Readable
    from labcontainer.image.documents import Descriptor, Platform
    from labcontainer.image.packing import Layer
    from labcontainer.image.reference import Reference
    from labcontainer.image.store import Image, Store

    Document = dict[str, Any]


def _nobody(_identity: str) -> str:
    return ""


class Images:
    """The images of one store.

    Attributes:
        records: where the time of an image's last tag is kept; set by the engine.
        in_use: what uses an image, by its id: "image is being used by running container
            1234abcd5678", or by a "stopped container"; "" for nothing. Set by the engine.
    """

    def __init__(self, store: Store, events: Events) -> None:
        self.store = store
        self._events = events
        self.records: Records | None = None
        self.in_use: Callable[[str], str] = _nobody
        self.builds = Builds(self)
        self._holding = threading.Lock()

    # --- for containers ---------------------------------------------------------------------------

    def root(
        self, name_or_id: str, platform: Platform | None = None
    ) -> tuple[Image, tuple[str, ...]]:
        """An image for a new container: (the image, the directories of its layers, the top first).

        Its layers are unpacked if they are not yet, and its content is kept for as long as
        `in_use` knows the container. Call it under a lease of the store, and end that when
        `in_use` does know it.

        Raises:
            NotFoundError: it is not here, or not for that platform.
        """
        image = self.store.image(name_or_id)
        if platform is not None and not image.config.platform.matches(platform):
            image = self._for_platform(name_or_id, image, platform)
        lowers = Snapshots(self.store).unpack(image)
        with self._holding:
            holds.hold(self.store, image)
        return image, lowers

    def _for_platform(self, name: str, image: Image, platform: Platform) -> Image:
        try:
            return self.store.image(name, platform)
        except errors.NotFoundError:
            raise errors.NotFoundError(
                f"image with reference {name} was found but its platform "
                f"({image.config.platform}) does not match the specified platform ({platform})"
            ) from None

    def of_container(self, identity: str) -> Image:
        """The image that a container was made from, by its id; also one that has gone for others.

        Raises:
            NotFoundError: no container was.
        """
        try:
            return self.store.image(identity)
        except errors.NotFoundError:
            return holds.image(self.store, identity)

    def release(self) -> None:
        """Hold no more what no container uses; what a lease still protects stays held."""
        for identity in holds.held(self.store):
            with self._holding:
                if not self.user(identity):
                    holds.release(self.store, identity)

    def user(self, identity: str) -> str:
        """What uses an image, as `in_use` tells it, or that a container of it is being made."""
        held = holds.held(self.store).get(identity, 0)
        if held and held >= self._protected_since():
            return self.in_use(identity) or "image is being used by stopped container (new)"
        return self.in_use(identity)

    def _protected_since(self) -> int:
        return collecting.protected_since(f"{self.store.path}/leases", sweep=False)

    # --- one image --------------------------------------------------------------------------------

    def find(self, name_or_id: str) -> Image:
        """An image with all of its names, whichever of its manifests they lead to.

        Raises:
            NotFoundError: it is not here.
        """
        image = self.store.image(name_or_id)
        names = [name for name, one in self.store.names().items()
                 if name not in image.names and self._id_of(one) == image.id]  # fmt: skip
        return image.replace(names=(*image.names, *names)) if names else image

    def _id_of(self, descriptor: Descriptor) -> str:
        try:
            return self.store.manifest(descriptor).config.digest
        except errors.LabError:
            return ""  # another platform's, or torn

    def inspect(self, name_or_id: str, version: tuple[int, int] = (1, 44)) -> Document:
        """All of an image, in Docker's shape."""
        image = self.find(name_or_id)
        tagged = self.records.get_meta(f"tagged {image.id}") if self.records else ""
        return image_documents.inspect(image, self.store, version, tagged)

    def history(self, name_or_id: str) -> list[Document]:
        """An image's instructions, the newest first."""
        return image_documents.history(self.find(name_or_id), self.store)

    def tag(self, name_or_id: str, repository: str, tag: str = "") -> None:
        """Give an image one more name.

        Raises:
            NotFoundError: it is not here. UsageError: that can be no name.
        """
        descriptor = self.store.resolve(name_or_id)
        name = reference.parse(repository)
        if name.digest:
            raise errors.UsageError("refusing to create a tag with a digest reference")
        if name.familiar_name in ("sha256", "sha512"):
            raise errors.UsageError(
                "refusing to create an ambiguous tag using digest algorithm as name"
            )
        name = name.with_tag(tag) if tag else name
        self.store.tag(name, descriptor)
        self.tell("tag", self.store.open(descriptor), name.familiar)

    def commit(
        self, changed: Layer | Readable, parent_id: str, config: Mapping[str, Any],
        **options: Any,
    ) -> str:  # fmt: skip
        """Make an image of a container's changes: see image_commit."""
        return image_commit.commit(self, changed, parent_id, config, **options)

    # --- all of them ------------------------------------------------------------------------------

    def every(self) -> list[Image]:
        """All images, each once with all of its names, the newest first."""
        found: dict[str, Image] = {}
        for one in self.store.images():
            known = found.setdefault(one.id, one)
            if known is not one:
                found[one.id] = known.replace(names=(*known.names, *one.names))
        return list(found.values())

    def listed(
        self, wanted: Mapping[str, list[str]], version: tuple[int, int] = (1, 44),
        *, shared: bool = False,
    ) -> list[Document]:  # fmt: skip
        """The images that pass Docker's filters; `shared` counts what they have in common, too.

        Raises:
            UsageError: there is no such filter. NotFoundError: a filter names no image.
        """
        chosen = image_filters.listed(self.every(), wanted, self.find)
        found = [image_documents.summary(one, self.store, version) for one in chosen]
        if shared:
            image_documents.add_shared(found, self.every(), self.store)
        return found

    def remove(self, name_or_id: str, force: bool = False) -> list[Document]:
        """Take a name away, and the image with its last one: see image_removal."""
        return image_removal.remove(self, name_or_id, force)

    def prune(self, wanted: Mapping[str, list[str]]) -> Document:
        """Remove what nobody needs: see image_removal."""
        return image_removal.prune(self, wanted)

    def usage(
        self, version: tuple[int, int] = (1, 44), containers: Callable[[str], int] | None = None
    ) -> Document:
        """What images and builds take of the disk: see image_usage.

        Args:
            containers: how many containers were made from an image; without it, one or none.
        """
        count = containers or (lambda identity: int(bool(self.in_use(identity))))
        return image_usage.usage(self, version, count)

    # --- what others hear -------------------------------------------------------------------------

    def tell(self, action: str, image: Image, name: str = "") -> None:
        """Tell who listens: an image's labels are the event's attributes, with a name."""
        labels = image_documents.labels(image)
        if self.records is not None and action == "tag":
            self.records.set_meta(f"tagged {image.id}", moments.now())
        if self.records is not None and action == "delete":
            self.records.delete_meta(f"tagged {image.id}")
        self._events.tell_all("image", action, image.id, {**labels, "name": name or image.id})

    def tell_transfer(self, action: str, image: Image, name: Reference) -> None:
        """Tell of an image that came or went by a name: the name stands for it."""
        labels = image_documents.labels(image)
        attributes = {**labels, "name": name.familiar_name}
        self._events.tell_all("image", action, name.familiar, attributes)

    def tell_pruned(self, kind: str, freed: int) -> None:
        """Tell how many bytes a prune made free."""
        self._events.tell(kind, "prune", "", reclaimed=str(freed))
