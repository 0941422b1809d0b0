"""Layers as directories, each once on disk whoever uses it, ready to be laid over one another.

    layers/tmp-…/fs    being unpacked, by whoever holds the lock of the directory
    layers/ID/fs       whole and right: renamed when its digest was found to be the right one
    layers/ID/about    its digest, size in bytes and number of files

ID is the first half of the layer's diff id: overlayfs takes one page of names for all of its
layers. An ordinary user's layers are written in a user namespace, see inside.
"""

from __future__ import annotations

import json
import os

from labcontainer import errors
from labcontainer.image import compression, deleting, inside, layers
from labcontainer.kernel import locks
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from labcontainer.image.documents import Descriptor
    from labcontainer.image.store import Image, Store

SIDE_BY_SIDE = 4
ID_DIGITS = 32


class About(Record):
    """An unpacked layer: digest of its archive, bytes of its files, and how many they are."""

    diff_id: str
    size: int
    entries: int


class Snapshots:
    """The unpacked layers of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path = f"{store.path}/layers"

    def _place(self, diff_id: str) -> str:
        return f"{self.path}/{diff_id.partition(':')[2][:ID_DIGITS]}"

    def directory(self, diff_id: str) -> str:
        """Where a layer's files are, whether it is unpacked or not."""
        return f"{self._place(diff_id)}/fs"

    def about(self, diff_id: str) -> About | None:
        """What is known of an unpacked layer; None for one that is not.

        Raises:
            SpecError: another layer has its place, which nobody could bring about by chance.
        """
        try:
            with open(f"{self._place(diff_id)}/about", encoding="utf-8") as file:
                found = About(**json.load(file))
        except FileNotFoundError:
            return None
        if found.diff_id != diff_id:
            raise errors.SpecError(diff_id, f"the layer {found.diff_id} is in its place")
        return found

    def size(self, image: Image) -> int:
        """Bytes of an image's files; those of layers not unpacked yet as they are stored."""
        total = 0
        for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True):
            about = self.about(diff_id)
            total += about.size if about is not None else layer.size
        return total

    # --- unpacking --------------------------------------------------------------------------------

    def unpack(
        self, image: Image, told: Callable[[Descriptor], None] = lambda _layer: None
    ) -> tuple[str, ...]:
        """The directories of an image's layers, the top one first; unpacked if they are not yet.

        To be called under a lease of the store, which also keeps them from being collected.
        `told` is called for each layer that was unpacked.

        Raises:
            LabError: a layer is torn, not what the configuration says, or refused; nothing is
                left of it.
        """
        pairs = list(zip(image.config.diff_ids, image.manifest.layers, strict=True))
        missing = {diff_id: layer for diff_id, layer in pairs if not self.is_unpacked(diff_id)}
        if len(missing) > 1:
            self._side_by_side(missing, told)
        else:
            for diff_id, layer in missing.items():
                self.unpack_layer(layer.digest, diff_id)
                told(layer)
        return tuple(self.directory(diff_id) for diff_id, _ in reversed(pairs))

    def _side_by_side(
        self, missing: dict[str, Descriptor], told: Callable[[Descriptor], None]
    ) -> None:
        from concurrent.futures import ThreadPoolExecutor

        def one(pair: tuple[str, Descriptor]) -> Descriptor:
            self.unpack_layer(pair[1].digest, pair[0])
            return pair[1]

        with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(missing))) as pool:
            for layer in pool.map(one, missing.items()):
                told(layer)

    def is_unpacked(self, diff_id: str) -> bool:
        """Whether it is unpacked; one that is needed now is not collected as old."""
        if self.about(diff_id) is None:
            return False
        try:
            os.utime(self._place(diff_id))
        except OSError:
            pass  # a file system that is read-only collects nothing either
        return True

    def unpack_layer(self, digest: str, diff_id: str) -> None:
        """Unpack a stored layer, unless it is."""
        if self.is_unpacked(diff_id):
            return
        if inside.is_root():
            self.unpack_blob(digest, diff_id)
        else:
            self._make_folder()
            inside.call("unpack", self._store.path, digest, diff_id)

    def unpack_blob(self, digest: str, diff_id: str) -> None:
        """Unpack a stored layer as the user that this process is.

        The blob's own digest is not looked at once more: what comes out must have the right one.

        Raises:
            NotFoundError: a collector was quicker.
        """
        try:
            file = open(self._store.blobs.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise errors.NotFoundError(f"layer {digest} has been removed") from None
        with file:
            self.unpack_stream(file, diff_id)

    def unpack_stream(self, stream: compression.Readable, diff_id: str = "") -> About:
        """Unpack a layer from a stream, packed or not; all of the stream is read.

        Raises:
            SpecError: its digest is another than `diff_id`.
            LabError: it is torn or refused.
        """
        folder, held = self._new_folder()
        try:
            about = self._fill(folder, stream)
            if diff_id not in ("", about.diff_id):
                raise errors.SpecError(diff_id, f"the layer's digest is {about.diff_id}")
            with open(f"{folder}/about", "w", encoding="utf-8") as file:
                json.dump(about.as_dict(), file)
            self._put(folder, about.diff_id)
        except BaseException:
            remove_tree(folder)
            raise
        finally:
            os.close(held)
        return about

    def adopt(self, directory: str, about: About) -> None:
        """Take what overlayfs wrote as a layer that was packed from it; it is moved here.

        It must be on the same file system.
        """
        folder, held = self._new_folder()
        try:
            os.rename(directory, f"{folder}/fs")
            with open(f"{folder}/about", "w", encoding="utf-8") as file:
                json.dump(about.as_dict(), file)
            self._put(folder, about.diff_id)
        finally:
            os.close(held)

    def _make_folder(self) -> None:
        os.makedirs(self.path, mode=0o711, exist_ok=True)

    def _new_folder(self) -> tuple[str, int]:
        """A directory to fill and its lock; another one where a collector was in between."""
        self._make_folder()
        while True:
            folder = f"{self.path}/tmp-{os.urandom(8).hex()}"
            os.mkdir(folder, 0o711)
            try:
                held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            if locks.wait(held, folder):
                return folder, held
            os.close(held)

    def _fill(self, folder: str, stream: compression.Readable) -> About:
        os.mkdir(f"{folder}/fs")
        os.chmod(f"{folder}/fs", 0o755)  # whatever our umask is
        fd = os.open(f"{folder}/fs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        reader = compression.Reader(stream)
        try:
            mapped = inside.in_user_namespace()
            owners = not mapped or inside.has_all_ids()
            applied = layers.apply(reader, fd, user_xattr=mapped, owners=owners)
        finally:
            os.close(fd)
        return About(applied.diff_id, applied.size, applied.entries)

    def _put(self, folder: str, diff_id: str) -> None:
        try:
            os.rename(folder, self._place(diff_id))
        except OSError:
            if self.about(diff_id) is None:
                raise
            remove_tree(folder)  # somebody else was quicker

    # --- without overlayfs ------------------------------------------------------------------------

    def flatten(self, image: Image, target: str) -> None:
        """Write all layers into one directory, one after another: where no overlay can be mounted.

        Raises:
            LabError: a layer is torn or refused.
        """
        fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        owners = not inside.in_user_namespace() or inside.has_all_ids()
        try:
            for layer in image.manifest.layers:
                with self._store.blobs.open(layer.digest) as file:
                    reader = compression.Reader(file)
                    layers.apply(reader, fd, whiteouts="apply", owners=owners)
        finally:
            os.close(fd)

    # --- what goes --------------------------------------------------------------------------------

    def sweep(self, needed: set[str], since: int) -> list[str]:
        """Delete layers that are not needed and older than `since` (ns), and what broke off.

        The diff ids that went.
        """
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        gone: list[str] = []
        doomed: list[str] = []
        kept = {self._place(diff_id).rpartition("/")[2] for diff_id in needed}
        for name in names:
            path = f"{self.path}/{name}"
            if name.startswith("tmp-"):
                if (held := locks.hold_left(path)) >= 0:
                    doomed.append(self._hide(path))
                    os.close(held)
            elif name not in kept and os.stat(path).st_mtime_ns < since:
                hidden = self._hide(path)
                if os.stat(hidden).st_mtime_ns >= since:  # somebody has just asked for it
                    os.rename(hidden, path)
                    continue
                gone.append(self._digest_in(hidden) or name)
                doomed.append(hidden)
        if doomed:
            _remove(doomed)
        return gone

    def _hide(self, path: str) -> str:
        """Give a directory a name that nobody knows."""
        hidden = f"{self.path}/tmp-gone-{os.urandom(8).hex()}"
        os.rename(path, hidden)
        return hidden

    def _digest_in(self, path: str) -> str:
        try:
            with open(f"{path}/about", encoding="utf-8") as file:
                found: Any = json.load(file)
        except (OSError, ValueError):
            return ""
        return str(found["diff_id"])


def _remove(paths: list[str]) -> None:
    """Delete trees whose files may belong to ids that only a user namespace has."""
    if inside.is_root():
        for path in paths:
            remove_tree(path)
    else:
        inside.call("remove", *paths)


def remove_tree(path: str) -> None:
    """Delete a directory with all that is in it, by descriptors; nothing is no error."""
    folder, _, name = path.rpartition("/")
    fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deleting.remove(fd, name)
    finally:
        os.close(fd)
