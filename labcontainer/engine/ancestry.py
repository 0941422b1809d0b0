"""What containers have to do with images: whose they are, and which are still called so."""

from __future__ import annotations

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.engine.container import Container
    from labcontainer.image.store import Store


class Names:
    """What names mean now, each looked up once: made anew for each answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[str, str] = {}

    def id_of(self, name: str) -> str:
        """The id of an image, "" where the name means none."""
        if name not in self._ids:
            try:
                self._ids[name] = self._store.image(name).id
            except errors.LabError:
                self._ids[name] = ""
        return self._ids[name]

    def shown(self, container: Container) -> str:
        """The image as `ps` shows it: as it was asked for, by its id where that is another now."""
        same = self.id_of(container.image) == container.image_id
        return container.image if same else container.image_id

    def is_ancestor(self, word: str, container: Container) -> bool:
        """Whether a container's image is what the word means, or was made from it."""
        wanted = self.id_of(word)
        if not wanted:
            return False
        if wanted == container.image_id:
            return True
        try:
            below = self._store.image(wanted).config.diff_ids
            own = self._store.image(container.image_id).config.diff_ids
        except errors.LabError:
            return False
        return len(below) <= len(own) and own[: len(below)] == below


def size(store: Store, image_id: str) -> int:
    """Bytes of an image's unpacked files."""
    from labcontainer.image.snapshots import Snapshots

    try:
        config = store.image(image_id).config
    except errors.LabError:
        return 0
    abouts = (Snapshots(store).about(one) for one in config.diff_ids)
    return sum(about.size for about in abouts if about is not None)
