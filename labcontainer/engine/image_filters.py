"""Which images a list or a prune is about: Docker's filters."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

from labcontainer.engine import filters, image_documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from labcontainer.image.store import Image

    Filters = Mapping[str, list[str]]

LISTED = ("dangling", "label", "label!", "before", "since", "reference", "until")
PRUNED = ("dangling", "label", "label!", "until")


def listed(images: list[Image], wanted: Filters, find: Callable[[str], Image]) -> list[Image]:
    """The images that pass all filters, each with those of its names that were asked for.

    Args:
        find: the image that a `before` or `since` names.

    Raises:
        UsageError: there is no such filter, or its value is none.
        NotFoundError: `before` or `since` names nothing.
    """
    check(wanted, LISTED)
    found = [one for one in images if _passes(one, wanted)]
    if patterns := wanted.get("reference"):
        named = [one.replace(names=_fitting(one, patterns)) for one in found]
        found = [one for one in named if one.names]
    for word in wanted.get("before", ()):
        moment = image_documents.created(find(word))
        found = [one for one in found if image_documents.created(one) < moment]
    for word in wanted.get("since", ()):
        moment = image_documents.created(find(word))
        found = [one for one in found if image_documents.created(one) > moment]
    return found


def check(wanted: Filters, allowed: Collection[str]) -> None:
    """Refuse what is no filter before any image is looked at.

    Raises:
        UsageError: there is no such filter, or its value is none.
    """
    filters.check(wanted, allowed)
    filters.is_true(wanted, "dangling")
    filters.until(wanted, time.time())


def _passes(image: Image, wanted: Filters) -> bool:
    """Whether an image passes the filters that look at it alone."""
    dangling = filters.is_true(wanted, "dangling")
    if "dangling" in wanted and dangling == bool(image.tags):
        return False
    return has_labels(image, wanted) and is_older(image, wanted)


def has_labels(image: Image, wanted: Filters) -> bool:
    """Whether an image passes `label` and `label!`."""
    labels = image.config.config.get("Labels") or {}
    return filters.labels(labels, wanted.get("label", [])) and filters.no_labels(
        labels, wanted.get("label!", [])
    )


def is_older(image: Image, wanted: Filters) -> bool:
    """Whether an image was made before `until`."""
    end = filters.until(wanted, time.time())
    return end is None or image_documents.created(image) < end


def _fitting(image: Image, patterns: list[str]) -> tuple[str, ...]:
    """The names of an image that fit one of the patterns."""
    from labcontainer.image import reference

    found = []
    for name in image.names:
        parsed = reference.parse(name)
        if any(_fits(parsed.familiar, one) or _fits(parsed.familiar_name, one)
               for one in patterns):  # fmt: skip
            found.append(name)
    return tuple(found)


def _fits(name: str, pattern: str) -> bool:
    """Go's path.Match: a `*` ends at a slash."""
    parts, wanted = name.split("/"), pattern.replace("[^", "[!").split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
