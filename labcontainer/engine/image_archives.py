"""Images in archives: load, save, import."""

from __future__ import annotations

from labcontainer import errors
from labcontainer.image import archive, documents
from labcontainer.image.snapshots import Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from labcontainer.engine.images import Images
    from labcontainer.image.compression import Readable, Writable
    from labcontainer.image.documents import Platform
    from labcontainer.image.reference import Reference
    from labcontainer.image.store import Image

    Tell = Callable[[dict[str, Any]], object]


def load(images: Images, stream: Readable, tell: Tell) -> None:
    """Read an archive of images.

    Raises:
        LabError: it is torn, or holds none; nothing got a name.
    """
    for name, image in archive.load(images.store, stream):
        unpack(images, image)
        word = f"Loaded image: {name}" if name else f"Loaded image ID: {image.id}"
        images.tell("load", image)
        tell({"stream": f"{word}\n"})


def unpack(images: Images, image: Image) -> None:
    """Unpack an image that has just come: what is no layer is found out now, and not kept.

    Raises:
        LabError: it is torn, or not what the configuration says.
    """
    try:
        with images.store.lease():
            Snapshots(images.store).unpack(image)
    except errors.LabError:
        images.store.remove(image.id, force=True)
        raise


def save(images: Images, names: Iterable[str], out: Writable) -> None:
    """Write images into one archive.

    Raises:
        NotFoundError: one is not here; nothing was written.
    """
    for image in archive.save(images.store, names, out):
        images.tell("save", image)


def import_root(
    images: Images, stream: Readable, name: Reference | None, *, changes: Iterable[str] = (),
    message: str = "", platform: Platform | None = None,
) -> Image:  # fmt: skip
    """Make an image of an archive of a root file system.

    Raises:
        UsageError: a change is none. LabError: the archive is torn; nothing is kept.
    """
    from labcontainer.build import changes as changing
    from labcontainer.image import importing

    config = changing.apply({}, changes)
    names = [name] if name is not None else []
    where = platform or documents.host_platform()
    image = importing.import_root(images.store, stream, config, names, where, message)
    unpack(images, image)
    if name is not None:
        images.tell("tag", image, name.familiar)
    images.tell("import", image)
    return image


def fetched(images: Images, url: str, tell: Tell, take: Callable[[Readable], object]) -> None:
    """Get an archive from an address, and give it to `take`.

    Raises:
        UsageError: the address is of another kind. LabError: it can't be had.
    """
    from labcontainer.build import adding, scratch

    scheme, mark, _ = url.partition("://")
    if mark and scheme not in ("http", "https"):
        raise errors.UsageError(f"cannot import from {url[:100]}: it is no HTTP address")
    url = url if mark else f"http://{url}"
    with scratch.folder(images.store) as folder:
        try:
            _, place = adding.fetch(url, "", folder)
        except errors.LabError as error:
            raise errors.LabError(str(error).removeprefix("ADD ")) from None
        tell({"status": f"Downloading from {url}"})
        with open(place, "rb") as file:
            take(file)
