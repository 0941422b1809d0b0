"""Random trees of files for the layers' tests, and what is looked at to compare two."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "c", "ü", "with space", "x" * 101, "-", ".hidden")
NAME = st.sampled_from(NAMES)
# A file (content, mode), a link (target), or a directory (its members).
FILES = st.tuples(st.binary(max_size=2000), st.sampled_from([0o644, 0o755, 0o600, 0o4755, 0o444]))
LINKS = st.sampled_from(["a", "../b", "/etc/passwd", "nowhere", "y" * 150])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(NAME, FILES | LINKS, max_size=4),
    lambda inner: st.dictionaries(NAME, FILES | LINKS | inner, max_size=4),
    max_leaves=14,
)
WHEN = 1_600_000_000


def build(tree: dict[str, Any], path: Path) -> None:
    """Make it on disk; all times are the same."""
    path.mkdir(exist_ok=True)
    for name, what in tree.items():
        place = path / name
        if isinstance(what, dict):
            build(what, place)
        elif isinstance(what, str):
            place.symlink_to(what)
            os.utime(place, (WHEN, WHEN), follow_symlinks=False)
        else:
            place.write_bytes(what[0])
            place.chmod(what[1])
            os.utime(place, (WHEN, WHEN))
    os.utime(path, (WHEN, WHEN))


def seen(path: Path) -> dict[str, Any]:
    """What a tree is, as lstat and read tell; a whiteout of overlayfs is `gone`."""
    found: dict[str, Any] = {}
    for folder, directories, files in os.walk(path):
        for name in (*directories, *files):
            place = Path(folder, name)
            info = place.lstat()
            kind = stat.S_IFMT(info.st_mode)
            facts: tuple[Any, ...] = (kind, stat.S_IMODE(info.st_mode), int(info.st_mtime))
            if kind == stat.S_IFREG:
                facts += (place.read_bytes(),)
            elif kind == stat.S_IFLNK:
                facts = (kind, os.readlink(place))
            elif kind == stat.S_IFCHR and info.st_rdev == 0:
                facts = ("gone",)
            found[str(place.relative_to(path))] = facts
    return found


def without_times(tree: dict[str, Any]) -> dict[str, Any]:
    """Directories' times change with their members; the rest is compared whole."""
    return {path: facts[:2] + facts[3:] if facts[0] == stat.S_IFDIR else facts
            for path, facts in tree.items()}  # fmt: skip
