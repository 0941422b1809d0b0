"""The directory that becomes a container's `/`, and the files and volumes made for it.

The image is only read: what the container writes goes into a layer of its own. Where no overlay can
be mounted the image is copied, which is told, for it takes time and room.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

from labcontainer import errors, overlay, users
from labcontainer.engine import request
from labcontainer.kernel import confined, syscalls
from labcontainer.kernel.flags import AT, MNT, MOUNT_ATTR, MOVE_MOUNT, OPEN_TREE, PR
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from labcontainer.image.reference import Reference
    from labcontainer.image.store import Image, Store
    from labcontainer.users import IdMap

    Maps = tuple[tuple[IdMap, ...], tuple[IdMap, ...]]

# What a copy would never end of: file systems by their magic numbers, linux/magic.h.
_NOT_FILES = {0x9FA0: "proc", 0x62656572: "sysfs", 0x27E0EB: "cgroup", 0x63677270: "cgroup2"}


class Root(Record):
    """What a container's root is made of: directories to lay over one another, the top one first.

    `identity` is the image's id, or the directory's path; `config` is what the image says.
    """

    lowers: tuple[str, ...]
    identity: str
    config: Mapping[str, Any] = {}
    is_image: bool = False


@contextmanager
def found(image: str, when: str, tell: Callable[[str], None]) -> Iterator[Root]:
    """The root that a word means, ready to be used inside the block.

    A directory is taken as it is. An image's layers are unpacked if they are not yet; one that is
    missing is made of the host's own files (`busybox`, `host`) or pulled. Nobody can delete its
    layers while the block lasts.

    Args:
        image: a path, or the name or id of an image.
        when: `--pull`: always, missing or never.

    Raises:
        NotFoundError: there is none.
    """
    from labcontainer.image import roots

    if roots.is_path(image):
        path = roots.find(image)
        check(path)
        yield Root((path,), path)
        return
    from labcontainer.image.snapshots import Snapshots
    from labcontainer.image.store import Store

    store = Store()
    with store.lease():
        made = _image(store, image, when, tell)
        lowers = Snapshots(store).unpack(made)
        if not lowers:
            raise errors.LabError(f"image {image} has no layers: there is nothing to run in it")
        yield Root(lowers, made.id, made.config.config, True)


def _image(store: Store, image: str, when: str, tell: Callable[[str], None]) -> Image:
    """The image itself; see `found` for where it comes from."""
    from labcontainer.image import hostimage, reference

    if when != "always":
        try:
            return store.image(image)
        except errors.NotFoundError:
            name = reference.parse(image)
            if when == "never":
                raise
    else:
        name = reference.parse(image)
    if hostimage.is_built_in(name):
        tell(f"making the image {name} of this machine's own files, once")
        from labcontainer.image import hostbase

        return hostimage.make(store, hostbase.recipe(name.familiar_name), name.canonical)[0]
    return _pulled(store, name)


def _pulled(store: Store, name: Reference) -> Image:
    import sys

    from labcontainer.image import progress, pull

    print(f"Unable to find image '{name}' locally", file=sys.stderr)
    with progress.shown_on(sys.stderr) as tell:
        return pull.pull(store, name, tell=tell).image


def check(root: str) -> None:
    """Refuse what can't be a root file system, before anything is made.

    Raises:
        LabError: the directory is empty, is the host's own root, or shows the kernel's own data.
    """
    if os.path.samefile(root, "/"):
        raise errors.LabError(f"{root} is this machine's own root, not an image")
    fd = os.open(root, os.O_PATH | os.O_CLOEXEC)
    try:
        kind = _NOT_FILES.get(syscalls.fstatfs(fd))
    finally:
        os.close(fd)
    if kind:
        raise errors.LabError(f"{root} is on a {kind}, which holds no files: not an image")
    if not os.listdir(root):
        raise errors.LabError(f"root file system {root} is empty")


def make(
    root: Root, path: str, *, in_user_namespace: bool, maps: Maps, tell: Callable[[str], None]
) -> str:
    """Make the container's root directory in its own directory `path`; where it is.

    To be called in the mount namespace that is to see it.
    """
    os.symlink(root.identity, f"{path}/lower")
    for name in ("upper", "work", "root"):
        os.mkdir(f"{path}/{name}", 0o755)
    mode = os.stat(root.lowers[0])
    os.chmod(f"{path}/upper", mode.st_mode & 0o7777)
    lowers = root.lowers
    if maps[0]:
        lowers = tuple(_show_owners_by(maps, one, path, place) for place, one in enumerate(lowers))
        owners = [users.to_host(one, 0) for one in maps]
        os.chown(f"{path}/upper", owners[0] or 0, owners[1] or 0)
    spec = overlay.Overlay(lowers, f"{path}/upper", f"{path}/work", user_xattr=in_user_namespace)
    try:
        overlay.mount(spec, f"{path}/root")
    except (OSError, errors.UnsupportedError) as error:
        if maps[0]:
            raise
        tell(f"no overlay here ({error}): the image is copied")
        _copy_all(root, f"{path}/root")
    return f"{path}/root"


def _copy_all(root: Root, target: str) -> None:
    """The image's files without an overlay: a copy of them all."""
    if not root.is_image:
        copy(f"{root.lowers[0]}/.", target)
        return
    from labcontainer.image.snapshots import Snapshots
    from labcontainer.image.store import Store

    store = Store()
    Snapshots(store).flatten(store.image(root.identity), target)


def unmake(path: str) -> None:
    """Take the mounts of `make` away, where this process can see them."""
    try:
        mapped = [name for name in os.listdir(path) if name.startswith("mapped")]
    except FileNotFoundError:
        return
    for name in ("root", *mapped):
        try:
            syscalls.umount2(f"{path}/{name}", MNT.DETACH | MNT.NOFOLLOW)
        except OSError:
            pass  # never mounted, or gone with the mount namespace


def _show_owners_by(maps: Maps, image: str, path: str, place: int) -> str:
    """The image again, its owners shown as `maps` has them: an id-mapped mount, Linux 5.12.

    Raises:
        UnsupportedError: the kernel or the file system can't.
    """
    target = f"{path}/mapped{place}"
    os.mkdir(target)
    namespace = users.open_mapped_namespace(*maps)
    tree = -1
    try:
        tree = syscalls.open_tree(AT.FDCWD, image, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC)
        syscalls.mount_setattr(
            tree, "", AT.EMPTY_PATH, attr_set=MOUNT_ATTR.IDMAP, userns_fd=namespace
        )
        syscalls.move_mount(tree, "", AT.FDCWD, target, MOVE_MOUNT.F_EMPTY_PATH)
    except OSError as error:
        fix = "run without --userns, or on Linux 5.19 with ext4, XFS or btrfs"
        raise errors.UnsupportedError("an id-mapped root", str(error), fix) from error
    finally:
        os.close(namespace)
        if tree >= 0:
            os.close(tree)
    return target


def copy(source: str, target: str) -> None:
    """Copy a tree with owners, modes, links and attributes, sharing blocks where possible.

    Raises:
        LabError: cp(1) says why not.
    """
    import subprocess

    words = ["cp", "-a", "--reflink=auto", source, target]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, preexec_fn=_end_with_parent
    )
    if done.returncode:
        raise errors.LabError(f"copying {source} failed: {done.stderr.strip().splitlines()[-1]}")


def _end_with_parent() -> None:
    """In a child: it must not go on writing while the watcher of a killed command cleans up."""
    syscalls.prctl(PR.SET_PDEATHSIG, signal.SIGKILL)


def sources(asked: request.Request) -> None:
    """Make the directories of `-v SRC:DST` that are not there, as Docker does.

    Raises:
        OSError: they can't be made.
    """
    for volume in asked.volumes:
        if volume.create and not os.path.lexists(volume.source):
            os.makedirs(volume.source)


def fresh_volumes(asked: request.Request, path: str, root: str) -> tuple[tuple[str, str], ...]:
    """A directory for each volume without a source, filled with what the image has there."""
    made: list[tuple[str, str]] = []
    for volume in asked.volumes:
        if not volume.source:
            directory = f"{path}/volume{len(made)}"
            os.mkdir(directory)
            _fill(directory, root, volume.target)
            made.append((directory, volume.target))
    return tuple(made)


def _fill(directory: str, root: str, target: str) -> None:
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        there = confined.open_in(root_fd, target, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    finally:
        os.close(root_fd)
    try:
        os.set_inheritable(there, True)
        status = os.fstat(there)
        copy(f"/proc/{os.getpid()}/fd/{there}/.", directory)
        os.chmod(directory, status.st_mode & 0o7777)
    finally:
        os.close(there)


def host_files(path: str, hostname: str, hosts: str, resolv: str) -> tuple[tuple[str, str], ...]:
    """Write /etc/hostname, /etc/hosts and /etc/resolv.conf of a container; (file, target) each."""
    made = []
    for name, text in (("hostname", f"{hostname}\n"), ("hosts", hosts), ("resolv.conf", resolv)):
        write(f"{path}/{name}", text)
        os.chmod(f"{path}/{name}", 0o644)
        made.append((f"{path}/{name}", f"/etc/{name}"))
    return tuple(made)


def write(path: str, text: str) -> None:
    """Write a file in its place: one that is mounted in a container changes there too."""
    with open(path, "w") as file:
        file.write(text)
