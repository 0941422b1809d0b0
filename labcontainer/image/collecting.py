"""Garbage collection: what no image leads to, and no lease protects, is deleted."""

from __future__ import annotations

import os
import time

from labcontainer import errors
from labcontainer.image import documents, holds, snapshots
from labcontainer.image.documents import Index
from labcontainer.kernel import locks
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.image.store import Store

UNFINISHED = 24 * 3600  # seconds that a broken download can be resumed


class Collected(Record):
    """What was deleted: digests of blobs, diff ids of unpacked layers, bytes of the blobs."""

    blobs: tuple[str, ...]
    layers: tuple[str, ...]
    freed: int


def collect(store: Store) -> Collected:
    """Delete; to be called while nobody changes names (Store.collect)."""
    since = protected_since(f"{store.path}/leases")
    blobs, diff_ids = reached(store)
    freed = 0
    gone: list[str] = []
    for digest in store.blobs.all():
        if digest not in blobs and (size := store.blobs.delete_older(digest, since)) >= 0:
            freed += size
            gone.append(digest)
    layers = snapshots.Snapshots(store).sweep(diff_ids, since)
    store.blobs.sweep_ingest(time.time() - UNFINISHED)
    sweep_index(store.path)
    return Collected(tuple(gone), tuple(layers), freed)


def sweep_index(folder: str) -> None:
    """Delete what a killed writer left of `index.json`: nobody else writes it, the lock is ours."""
    for name in os.listdir(folder):
        if name.startswith(("index.json.", "oci-layout.")) and name.endswith(".new"):
            os.unlink(f"{folder}/{name}")


def protected_since(leases: str, *, sweep: bool = True) -> int:
    """The oldest living lease's time in ns; without any, now.

    With `sweep` dead leases are taken away; only under the store's lock can none be just born.
    """
    oldest = time.time_ns() + 10**9
    try:
        names = os.listdir(leases)
    except FileNotFoundError:
        return oldest
    for name in names:
        path = f"{leases}/{name}"
        try:
            if locks.is_held(path):
                oldest = min(oldest, os.stat(path).st_mtime_ns)
            elif sweep:
                os.unlink(path)
        except FileNotFoundError:
            continue
    return oldest


def reached(store: Store) -> tuple[set[str], set[str]]:
    """The digests of all blobs, and of all unpacked layers, that anything here needs."""
    cached, diff_ids = listed_in(f"{store.path}/cache")
    held, its_layers = listed_in(holds.folder(store))
    diff_ids |= its_layers
    blobs: set[str] = set()
    todo = list(store.entries())
    while todo:
        one = todo.pop()
        if one.digest in blobs or not store.blobs.has(one.digest):
            continue
        blobs.add(one.digest)
        try:
            found = documents.parse_manifest(store.blobs.read(one.digest), one.media_type)
            if isinstance(found, Index):
                todo += found.manifests
                continue
            blobs |= {found.config.digest, *(layer.digest for layer in found.layers)}
            data = store.blobs.read(found.config.digest)
            diff_ids |= set(documents.parse_config(data).diff_ids)
        except errors.LabError:
            continue  # torn: it stays to be looked at
    return blobs | cached | held, diff_ids


def listed_in(folder: str) -> tuple[set[str], set[str]]:
    """What the files of a folder keep, as each lists it: see build.cache and holds."""
    blobs: set[str] = set()
    diff_ids: set[str] = set()
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return blobs, diff_ids
    for name in names:
        if name.endswith(".new"):  # being written, or left of a killed writer
            continue
        try:
            with open(f"{folder}/{name}", "rb") as file:
                found = documents.decode(file.read(), name)
        except (errors.SpecError, FileNotFoundError):
            continue  # torn, or pruned meanwhile
        blobs |= set(found.get("blobs") or ())
        diff_ids |= set(found.get("diff_ids") or ())
    return blobs, diff_ids
