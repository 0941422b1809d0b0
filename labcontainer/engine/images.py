"""Images as the API has them: what is here, its names, what goes and what must stay."""

from __future__ import annotations

from collections.abc import Callable

from labcontainer import errors
from labcontainer.engine import image_documents
from labcontainer.image import collecting, holds, reference
from labcontainer.image.snapshots import Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.engine.events import Events
    from labcontainer.image.documents import Platform
    from labcontainer.image.store import Image, Store

    Document = dict[str, Any]


def _nobody(_identity: str) -> str:
    return ""


class Images:
    """The images of one store.

    Attributes:
        in_use: what uses an image, by its id, in words such as "container 1234abcd5678 is using
            its referenced image"; "" for nothing. Set by the engine.
    """

    def __init__(self, store: Store, events: Events) -> None:
        self.store = store
        self._events = events
        self.in_use: Callable[[str], str] = _nobody

    # --- for containers ---------------------------------------------------------------------------

    def root(
        self, name_or_id: str, platform: Platform | None = None
    ) -> tuple[Image, tuple[str, ...]]:
        """An image for a new container: (the image, the directories of its layers, the top first).

        Its layers are unpacked if they are not yet, and its content is kept for as long as
        `in_use` knows the container. Call it under a lease of the store that ends when it does.

        Raises:
            NotFoundError: it is not here, or not for that platform.
        """
        with self.store.lease():
            image = self.store.image(name_or_id)
            if platform is not None and not image.config.platform.matches(platform):
                image = self._for_platform(name_or_id, image, platform)
            lowers = Snapshots(self.store).unpack(image)
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

    def release(self) -> None:
        """Hold no more what no container uses; what a lease still protects stays held."""
        since = collecting.protected_since(f"{self.store.path}/leases")
        for identity, when in holds.held(self.store).items():
            if when < since and not self.in_use(identity):
                holds.release(self.store, identity)

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

    def _id_of(self, descriptor: Any) -> str:
        try:
            return self.store.manifest(descriptor).config.digest
        except errors.LabError:
            return ""  # another platform's, or torn

    def inspect(self, name_or_id: str, version: tuple[int, int] = (1, 44)) -> Document:
        """All of an image, in Docker's shape."""
        return image_documents.inspect(self.find(name_or_id), self.store, version)

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
        name = name.with_tag(tag) if tag else name
        self.store.tag(name, descriptor)
        self.tell("tag", self.store.open(descriptor), name.familiar)

    def tell(self, action: str, image: Image, name: str = "") -> None:
        """Tell who listens: an image's labels are the event's attributes, with a name."""
        labels = {key: str(value)
                  for key, value in (image.config.config.get("Labels") or {}).items()}  # fmt: skip
        self._events.tell_all("image", action, image.id, {**labels, "name": name or image.id})
