"""`rmi` and `image prune`: which names go, when the image goes with them, and what forbids it.

A name goes by itself as long as there is another. The image goes with its last one, unless a
container was made from it: then it stays without a name, however hard one asks.
"""

from __future__ import annotations

from labcontainer import errors
from labcontainer.engine import filters, image_filters
from labcontainer.image import reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from labcontainer.engine.images import Images
    from labcontainer.image.store import Image

    Document = dict[str, Any]


def remove(images: Images, name_or_id: str, force: bool = False) -> list[Document]:
    """Take a name away, or all of an image; what was `Untagged` and what was `Deleted`.

    Raises:
        NotFoundError: it is not here.
        StateError: it is used, or has several names and was meant by its id.
    """
    images.release()
    image = images.find(name_or_id)
    name = _name_meant(image, name_or_id)
    user = images.user(image.id)
    if name:
        _refuse_name(image, name_or_id, user, force)
    else:
        _refuse_image(image, user, force)
    if user:
        gone = _untag(images, image, [name] if name else list(image.names))
    elif name:
        gone = images.store.remove(name, force=True)
    else:
        gone = _delete(images, image)
    return _told(images, image, gone)


def _name_meant(image: Image, word: str) -> str:
    """The canonical name that a word is of an image; "" where it is an id."""
    try:
        found = reference.parse(word)
    except errors.UsageError:
        return ""
    canonical = (found.replace(tag="") if found.digest else found).canonical
    return canonical if canonical in image.names else ""


def _refuse_name(image: Image, word: str, user: str, force: bool) -> None:
    if user and not force and is_single(image.names):
        container = user.rpartition(" ")[2]
        raise errors.StateError(
            f'conflict: unable to remove repository reference "{word}" (must force) - '
            f"container {container} is using its referenced image {_short(image.id)}"
        )


def _refuse_image(image: Image, user: str, force: bool) -> None:
    """What runs holds its image in any case, what does not run only an image without names."""
    hard = bool(user) and ("running container" in user or (force and not image.names))
    problem = user
    if not is_single(image.names) and not problem:
        problem = "image is referenced in multiple repositories"
    if problem and (hard or not force):
        how = "cannot be forced" if hard else "must be forced"
        shown = _short(image.id)
        raise errors.StateError(f"conflict: unable to delete {shown} ({how}) - {problem}")


def is_single(names: tuple[str, ...]) -> bool:
    """Whether all names are one to Docker: one tag, and digests of the same repository."""
    tags = [name for name in names if "@" not in name]
    repositories = {reference.parse(name).name for name in names}
    return len(tags) <= 1 and len(repositories) <= 1


def _untag(images: Images, image: Image, going: list[str]) -> list[tuple[str, str]]:
    """Take names away from an image that stays; a repository's digests go with its last tag."""
    left = {reference.parse(name).name for name in image.names
            if "@" not in name and name not in going}  # fmt: skip
    digests = [name for name in image.names
               if "@" in name and reference.parse(name).name not in left]  # fmt: skip
    gone = []
    for name in dict.fromkeys([*going, *digests]):
        images.store.untag(name)
        gone.append(("untagged", reference.parse(name).familiar))
    return gone


def _delete(images: Images, image: Image) -> list[tuple[str, str]]:
    """An image with all its names, under whichever of its manifests they are."""
    gone: list[tuple[str, str]] = []
    while True:
        try:
            gone += images.store.remove(image.id, force=True)
        except errors.NotFoundError:
            return list(dict.fromkeys(gone))


def _told(images: Images, image: Image, gone: list[tuple[str, str]]) -> list[Document]:
    """The answer, and an event for each name, and one for the image."""
    for what, which in gone:
        if what == "untagged":
            images.tell("untag", image)
        elif which == image.id:
            images.tell("delete", image)
    return [{what.capitalize(): which} for what, which in gone]


def prune(images: Images, wanted: Mapping[str, list[str]]) -> Document:
    """Remove images without a name or, with `dangling=false`, all that no container was made from.

    Raises:
        UsageError: there is no such filter.
    """
    image_filters.check(wanted, image_filters.PRUNED)
    every = not filters.is_true(wanted, "dangling", default=True)
    going: list[Image] = []

    def goes(image: Image) -> bool:
        chosen = image_filters.has_labels(image, wanted) and image_filters.is_older(image, wanted)
        if chosen:
            going.append(image)
        return chosen

    images.release()
    gone, freed = images.store.prune(all_unused=every, in_use=images.user, wanted=goes)
    for image in going:
        for _ in image.names:
            images.tell("untag", image)
        images.tell("delete", image)
    images.tell_pruned("image", freed)
    documents = [{what.capitalize(): which} for what, which in gone]
    return {"ImagesDeleted": documents or None, "SpaceReclaimed": freed}


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12]
