"""Directories of the store that go with whoever made them, even if that one is killed.

A directory is locked by its maker (flock(2)); one that nobody has locked is swept by the next.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from labcontainer.image import roots
from labcontainer.image.snapshots import remove_tree
from labcontainer.image.store import Store
from labcontainer.kernel import locks

PREFIX = "scratch-"


@contextmanager
def folder(store: Store) -> Iterator[str]:
    """A directory for the time of the block."""
    roots.make(store.path)
    sweep(store)
    # Made under another name: without its lock it would be swept at once.
    path = tempfile.mkdtemp(prefix=f"new-{PREFIX}", dir=store.path)
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        locks.hold(held)
        name = path.replace(f"new-{PREFIX}", PREFIX)
        os.rename(path, name)
        path = name
        yield path
    finally:
        remove_tree(path)
        os.close(held)


def sweep(store: Store) -> None:
    """Delete what nobody holds any more."""
    for name in os.listdir(store.path):
        path = f"{store.path}/{name}"
        if name.startswith(PREFIX) and not locks.is_held(path):
            remove_tree(path)
