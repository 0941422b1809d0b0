"""An image of ours as a disk: what a guest takes for a real one, an ext4 file system in a file.

`mke2fs -d` fills it without mounting it, so an ordinary user can do this. Several guests may have
one disk: it is read-only, and each has an overlay in its own memory above it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

from labcontainer.errors import LabError, UnsupportedError
from labcontainer.image.snapshots import Snapshots
from labcontainer.image.store import Store
from labcontainer.undo import Undo

BLOCK = 4096
INODES = 64  # beside those of the files


def of_image(store: Store, name: str, target: str) -> int:
    """Write an image's files to a disk at `target`; its size in bytes.

    Raises:
        NotFoundError: no such image. UnsupportedError: no mke2fs. LabError: it failed.
    """
    image = store.image(name)
    with tempfile.TemporaryDirectory(prefix="labcontainer-disk-") as folder:
        tree = f"{folder}/tree"
        os.mkdir(tree, 0o755)
        Snapshots(store).flatten(image, tree)
        return of_tree(tree, target)


def of_tree(tree: str, target: str) -> int:
    """Write a directory's files to a disk at `target`, whole or not at all; its size in bytes."""
    _make(tree, target, *needed(tree))
    return os.stat(target).st_size


def _make(tree: str, target: str, blocks: int, inodes: int) -> None:
    tool = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if tool is None:
        raise UnsupportedError("a disk", "mke2fs is not installed", "apt install e2fsprogs")
    words = [tool, "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-O", "^has_journal,^resize_inode",
             "-m", "0", "-N", str(inodes), "-E", "root_owner=0:0", "-d", tree, target,
             str(blocks)]  # fmt: skip
    with Undo() as undo:
        undo.push(_forget, target)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"mke2fs ended with {done.returncode}: {done.stderr.strip()}")
        undo.commit()


def empty(target: str, mib: int) -> None:
    """Write an empty disk of so many MiB at `target`, for a guest to write to."""
    with tempfile.TemporaryDirectory(prefix="labcontainer-disk-") as tree:
        _make(tree, target, (mib << 20) // BLOCK, INODES * mib)


def needed(tree: str) -> tuple[int, int]:
    """Blocks and inodes that a tree takes, with room for the file system's own tables."""
    blocks, inodes = 0, INODES
    for folder, names, files in os.walk(tree):
        inodes += len(names) + len(files)
        for name in files:
            blocks += 1 + os.lstat(f"{folder}/{name}").st_size // BLOCK
        blocks += 1 + len(names) + len(files) // 64
    return blocks + blocks // 20 + inodes // 16 + 1024, inodes


def _forget(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
