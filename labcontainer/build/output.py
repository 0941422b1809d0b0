"""`--output`: an image's files as a directory or a tar archive, or the image for other tools."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from labcontainer import errors
from labcontainer.build import scratch
from labcontainer.image import archive, diff
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Image, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

KINDS = ("local", "tar", "oci", "docker")


def parse(word: str) -> tuple[str, str]:
    """(kind, destination) of `type=tar,dest=out.tar`, or of a path alone.

    Raises:
        UsageError: it is neither.
    """
    if "=" not in word:
        return ("tar", "-") if word == "-" else ("local", word)
    fields = dict(part.partition("=")[::2] for part in word.split(","))
    kind = fields.pop("type", "local")
    destination = fields.pop("dest", fields.pop("destination", ""))
    if kind not in KINDS or fields:
        raise errors.UsageError(f"invalid value {word!r} for --output: type={'|'.join(KINDS)}")
    if not destination and kind == "local":
        raise errors.UsageError(f"invalid value {word!r} for --output: dest= is missing")
    return kind, destination or "-"


def write(word: str, image: Image, store: Store) -> None:
    """Write an image's files, or the image, where the word says."""
    kind, destination = parse(word)
    if kind == "local":
        os.makedirs(destination, exist_ok=True)
        Snapshots(store).flatten(image, destination)
        return
    with _opened(destination) as out:
        if kind == "tar":
            _tar(image, store, out)
        else:
            archive.save(store, image.tags or (image.id,), out)


@contextmanager
def _opened(destination: str) -> Iterator[BinaryIO]:
    if destination == "-":
        yield sys.stdout.buffer
        return
    with open(destination, "wb") as file:
        yield file


def _tar(image: Image, store: Store, out: BinaryIO) -> None:
    with scratch.folder(store) as folder:
        Snapshots(store).flatten(image, folder)
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            diff.pack(fd, out)
        finally:
            os.close(fd)
