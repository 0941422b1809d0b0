"""`--squash`: all that a build has added becomes one layer on top of its base."""

from __future__ import annotations

import os
import stat

from labcontainer.build.copylayer import KINDS
from labcontainer.build.state import State
from labcontainer.build.tree import is_opaque
from labcontainer.image import diff, packing, tarformat
from labcontainer.image.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.image.diff import Writable


def squash(
    state: State, layers: tuple[str, ...], store: Store, newest: int | None, now: str
) -> None:
    """Put one layer in the place of those above the base; the history says of what it is made.

    `layers` are the directories of all layers, the top one first.
    """
    added = layers[: len(state.layers) - state.foreign]
    if len(added) < 2:
        return
    layer = packing.store_layer(store, lambda out: pack(added, out, newest))
    state.layers[state.foreign :] = [layer]
    for one in state.history[len(state.history) - len(state.keys) :]:
        one["empty_layer"] = True
    words = f"merge {len(added)} layers into one"
    state.history.append({"created": now, "created_by": "", "comment": words})


def pack(directories: tuple[str, ...], out: Writable, newest: int | None = None) -> diff.Packed:
    """Several layers' directories, the top one first, as one layer: deletions are kept."""
    writer = diff.Writer(out, newest=newest)
    _Merge(writer).directory(list(directories), "")
    return writer.finish()


class _Merge:
    """Directories over one another, with what they hide of the layers below them all."""

    def __init__(self, writer: diff.Writer) -> None:
        self._writer = writer
        self._links: dict[tuple[int, int], str] = {}

    def directory(self, merged: list[str], path: str) -> None:
        """What several real directories are together."""
        names = sorted({name for one in merged for name in os.listdir(one)}, key=os.fsencode)
        for name in names:
            self._name(merged, name, f"{path}/{name}" if path else name)

    def _name(self, merged: list[str], name: str, path: str) -> None:
        found: list[str] = []
        hides = False
        for one in merged:
            entry = f"{one}/{name}"
            try:
                about = os.lstat(entry)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(about.st_mode):
                if not found:
                    self._file(entry, about, path)
                    return
                hides = True  # a directory in the place of something else hides the base's
                break
            found.append(entry)
            if is_opaque(entry):
                hides = True
                break
        self._with_attributes(found[0], os.lstat(found[0]), path, tarformat.DIRECTORY)
        if hides:
            self._writer.add(tarformat.Entry(f"{path}/.wh..wh..opq", mode=0o644))
        self.directory(found, path)

    def _file(self, real: str, about: os.stat_result, path: str) -> None:
        if stat.S_ISCHR(about.st_mode) and about.st_rdev == 0:
            self._writer.add(diff.whiteout(path))
            return
        kind = KINDS[stat.S_IFMT(about.st_mode)]
        key = (about.st_dev, about.st_ino)
        if about.st_nlink > 1 and key in self._links:
            entry = diff.entry_of(path, tarformat.LINK, about)
            entry.target = self._links[key]
            self._writer.add(entry)
            return
        self._links[key] = path
        if kind == tarformat.FILE:
            self._with_attributes(real, about, path, kind)
            return
        entry = diff.entry_of(path, kind, about)
        entry.target = os.readlink(real) if kind == tarformat.SYMLINK else ""
        self._writer.add(entry)

    def _with_attributes(self, real: str, about: os.stat_result, path: str, kind: str) -> None:
        entry = diff.entry_of(path, kind, about)
        fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            entry.xattrs = diff.attributes(fd)
            entry.size = about.st_size if kind == tarformat.FILE else 0
            self._writer.add(entry, fd)
        finally:
            os.close(fd)
