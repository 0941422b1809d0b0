"""What a container needs to find in its root, without leaving it there: places for mounts.

A file or directory must exist before something can be mounted on it. Were it made in the layer that
the program writes, the image would have it for ever. So a directory with all of them is laid
between the image and that layer, as Docker's `-init` layer is.

    root   =  upper (what the program writes)  over  init (places for mounts)  over  the image
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile

from labcontainer import errors, overlay
from labcontainer.build import squash
from labcontainer.build.runner import Bind, Program
from labcontainer.build.tree import Tree
from labcontainer.engine.request import Volume
from labcontainer.image import inside, layers
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MNT, MS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

DIRECTORIES = ("proc", "sys", "dev")


def prepare(
    program: Program, path: str, files: tuple[tuple[str, str], ...], *, user_xattr: bool
) -> tuple[Volume, ...]:
    """Mount the root of a program in its own directory `path`; what is to be shown in it.

    `files` are (file, target) pairs that the engine shows beside those.
    """
    for name in ("init", "upper", "work", "root", "empty"):
        os.mkdir(f"{path}/{name}", 0o755)
    tree = Tree(program.layers)
    copy_mode(tree, f"{path}/init", f"{path}/upper")
    shown = _memory_files(program, path)
    for number, bind in enumerate(program.binds):
        source = _source(bind, number, path, user_xattr)
        shown.append(Volume(source, bind.target, readonly=bind.readonly))
    for name in DIRECTORIES:
        place(tree, f"{path}/init", name, True)
    for source, target in (*files, *((one.source, one.target) for one in shown)):
        place(tree, f"{path}/init", target, os.path.isdir(source))
    for memory in program.memories:
        place(tree, f"{path}/init", memory.target, True)
    _lay((f"{path}/init", *program.layers), path, user_xattr, twice=True)
    return tuple(shown)


def _lay(directories: tuple[str, ...], path: str, user_xattr: bool, *, twice: bool = False) -> None:
    """Make `root` of directories, the top one first, in a directory that has `upper` and `work`.

    Where no overlay can be mounted they are copied; with `twice` also to `before`, to know later
    what was changed.
    """
    spec = overlay.Overlay(directories, f"{path}/upper", f"{path}/work", user_xattr=user_xattr)
    try:
        overlay.mount(spec, f"{path}/root")
    except (OSError, errors.UnsupportedError):
        with tempfile.TemporaryFile(dir=path) as merged:
            squash.pack(directories, merged)
            for name in ("root", "before") if twice else ("root",):
                merged.seek(0)
                os.makedirs(f"{path}/{name}", exist_ok=True)
                _unpack(merged, f"{path}/{name}")


def _unpack(file: IO[bytes], target: str) -> None:
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    owners = not inside.in_user_namespace() or inside.has_all_ids()
    try:
        layers.apply(file, fd, whiteouts="apply", owners=owners)
    finally:
        os.close(fd)


def is_copied(path: str) -> bool:
    """Whether the root of `prepare` is a copy: `before` is as it was."""
    return os.path.isdir(f"{path}/before")


def copy_mode(tree: Tree, *directories: str) -> None:
    """Give the directories of a root the mode that the image's has."""
    top = tree.lstat("")
    for path in directories if top else ():
        os.chmod(path, stat.S_IMODE(top.st_mode) if top else 0o755)


def place(tree: Tree, init: str, target: str, directory: bool) -> None:
    """Make a place for a mount, and the directories above it as the image has them."""
    parts = target.strip("/").split("/")
    path = ""
    for part in parts[:-1]:
        path = f"{path}/{part}".lstrip("/")
        about = tree.lstat(path)
        if about is not None and not stat.S_ISDIR(about.st_mode):
            return  # behind a link: the runtime follows it, and makes the place itself
        _mirror(f"{init}/{path}", about)
    path = f"{init}/{target.strip('/')}"
    about = tree.lstat(target.strip("/"))
    if about is not None and stat.S_ISDIR(about.st_mode) == directory:
        return
    if directory:
        _mirror(path, None)
    elif not os.path.lexists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _mirror(path: str, about: os.stat_result | None) -> None:
    if os.path.isdir(path):
        return
    os.mkdir(path, 0o755)
    if about is not None:
        os.chown(path, about.st_uid, about.st_gid)
        os.chmod(path, stat.S_IMODE(about.st_mode))
        os.utime(path, ns=(about.st_mtime_ns, about.st_mtime_ns))


def _memory_files(program: Program, path: str) -> list[Volume]:
    """Secrets and scripts, in a tmpfs that nobody else sees."""
    if not program.files:
        return []
    os.mkdir(f"{path}/memory", 0o755)
    syscalls.mount("tmpfs", f"{path}/memory", "tmpfs", MS.NOSUID | MS.NODEV, "mode=755")
    shown = []
    for number, one in enumerate(program.files):
        place = f"{path}/memory/{number}"
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(one.text)
            os.fchown(fd, one.uid, one.gid)
            os.fchmod(fd, one.mode)
        shown.append(Volume(place, one.target, readonly=True))
    return shown


def _source(bind: Bind, number: int, path: str, user_xattr: bool) -> str:
    """Where the files of a bind are: in the cache's own directory, or a view that is thrown away.

    The view is an overlay, so that what is written goes nowhere, and nothing is read past a link.
    """
    if bind.kept:
        return bind.layers[0]
    place = f"{path}/bind{number}"
    for name in ("upper", "work", "root"):
        os.makedirs(f"{place}/{name}")
    _lay(bind.layers or (f"{path}/empty",), place, user_xattr)
    for hidden in bind.hidden:
        _hide(f"{place}/root/{hidden}")
    return f"{place}/root/{bind.source}".rstrip("/")


def _hide(path: str) -> None:
    """Take away what `.dockerignore` leaves out; the files themselves are below the overlay."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def unmount(path: str) -> None:
    """Take the mounts of `prepare` away, where this process can see them."""
    for name in ("memory", *(f"bind{number}/root" for number in range(64))):
        if os.path.isdir(f"{path}/{name}"):
            try:
                syscalls.umount2(f"{path}/{name}", MNT.DETACH | MNT.NOFOLLOW)
            except OSError:
                pass  # never mounted, or gone with the mount namespace
