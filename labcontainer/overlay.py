"""Layers by overlayfs: one mount that shows many directories as one, with a writable one on top.

`choose` says which way this machine and user can take, and why: the kernel's overlay, overlay in a
user namespace (Linux 5.11), or a copy of the layers. How a union works inside is in `union`, by
hand. Source: Linux, Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os

from labcontainer.errors import UnsupportedError
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import AT, CLONE, FSCONFIG, MNT, MOVE_MOUNT, MS
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

PAGE = 4096  # mount(2) takes one page of options, and the kernel cuts off what is longer
MOST_LAYERS = 500


class Overlay(Record):
    """Which directories to lay over one another: `lowers` from the top one down.

    Without `upper` and `work` (an empty directory of the same file system) it is read-only.
    `user_xattr` keeps the marks in user.overlay.*, as a mount in a user namespace must.
    """

    lowers: tuple[str, ...]
    upper: str = ""
    work: str = ""
    user_xattr: bool = False
    extra: tuple[str, ...] = ()


class Step(Record):
    """One line of a plan."""

    action: str
    why: str = ""

    def __str__(self) -> str:
        return self.action + (f"  # {self.why}" if self.why else "")


def options(spec: Overlay, base: str = "") -> str:
    """The options for mount(2); with `base`, paths below it are written relative to it."""
    lowers = ":".join(_escape(_below(path, base), ":") for path in spec.lowers)
    words = [f"lowerdir={_escape(lowers, ',', '')}"]
    if spec.upper:
        words.append(f"upperdir={_escape(_escape(_below(spec.upper, base)), ',', '')}")
        words.append(f"workdir={_escape(_escape(_below(spec.work, base)), ',', '')}")
    words += ["userxattr"] if spec.user_xattr else []
    return ",".join((*words, *spec.extra))


def _escape(text: str, special: str = "", first: str = "\\") -> str:
    """Backslashes before the characters that overlayfs would take for its own."""
    for character in (*first, *special):
        text = text.replace(character, f"\\{character}")
    return text


def _below(path: str, base: str) -> str:
    return os.path.relpath(path, base) if base else path


def plan(spec: Overlay, target: str) -> tuple[Step, ...]:
    """What `mount` will do; no call is made."""
    text = options(spec)
    if len(text) < PAGE:
        return (Step(f"mount overlay on {target} ({text})"),)
    layers = [Step(f"fsconfig lowerdir+ {path}") for path in spec.lowers]
    why = f"{len(text)} bytes of options are more than a page"
    return (Step("fsopen overlay", why), *layers, Step(f"move_mount to {target}"))


def mount(spec: Overlay, target: str) -> None:
    """Mount the overlay on `target`.

    Options longer than a page go layer by layer through fsconfig(2) (Linux 6.8), else by names
    relative to the directory that all share. For that moment the working directory is changed, so
    the caller must have one thread.

    Raises:
        UnsupportedError: too many layers, or names too long even so; no overlayfs here.
        OSError: the kernel refused.
    """
    if len(spec.lowers) > MOST_LAYERS:
        why = f"overlayfs takes {MOST_LAYERS} layers at most"
        raise UnsupportedError(f"{len(spec.lowers)} layers", why, "merge some of them")
    try:
        if len(text := options(spec)) < PAGE:
            syscalls.mount("overlay", target, "overlay", 0, text)
            return
        if not _mount_by_layers(spec, target):
            _mount_relative(spec, target)
    except OSError as error:
        if error.errno == errno.ENODEV:
            fix = "load it: modprobe overlay"
            raise UnsupportedError("overlayfs", "this kernel does not have it", fix) from error
        raise


def _mount_by_layers(spec: Overlay, target: str) -> bool:
    """The mount API's way; false where this kernel lacks it."""
    try:
        context = syscalls.fsopen("overlay")
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return False
        raise
    tree = -1
    try:
        try:
            for path in spec.lowers:
                syscalls.fsconfig(context, FSCONFIG.SET_STRING, "lowerdir+", path)
        except OSError as error:
            if error.errno == errno.EINVAL:  # lowerdir+ is not known
                return False
            raise
        if spec.upper:
            syscalls.fsconfig(context, FSCONFIG.SET_STRING, "upperdir", _escape(spec.upper))
            syscalls.fsconfig(context, FSCONFIG.SET_STRING, "workdir", _escape(spec.work))
        for word in (*spec.extra, *(("userxattr",) if spec.user_xattr else ())):
            key, has_value, value = word.partition("=")
            command = FSCONFIG.SET_STRING if has_value else FSCONFIG.SET_FLAG
            syscalls.fsconfig(context, command, key, value if has_value else None)
        syscalls.fsconfig(context, FSCONFIG.CMD_CREATE, None, None)
        tree = syscalls.fsmount(context)
        syscalls.move_mount(tree, "", AT.FDCWD, target, MOVE_MOUNT.F_EMPTY_PATH)
    finally:
        os.close(context)
        if tree >= 0:
            os.close(tree)
    return True


def _mount_relative(spec: Overlay, target: str) -> None:
    base = os.path.commonpath([*spec.lowers, *((spec.upper, spec.work) if spec.upper else ())])
    text = options(spec, base)
    if len(text) >= PAGE:
        why = f"their names are {len(text)} bytes of mount options, more than a page"
        raise UnsupportedError(f"{len(spec.lowers)} layers", why, "use shorter names")
    target = os.path.abspath(target)
    back = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(base)
        syscalls.mount("overlay", target, "overlay", 0, text)
    finally:
        os.fchdir(back)
        os.close(back)


def unmount(target: str) -> None:
    """Take the mount away; who still uses it keeps it until they let go."""
    syscalls.umount2(target, MNT.DETACH)


class Mounted:
    """The pair as a block: mounted inside, unmounted after."""

    def __init__(self, spec: Overlay, target: str) -> None:
        self.spec = spec
        self.target = target

    def __enter__(self) -> Self:
        mount(self.spec, self.target)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        unmount(self.target)


# --- which way -----------------------------------------------------------------------------------


class Choice(Record):
    """How layers become one root: "overlay", "user overlay" or "copy", and the reason."""

    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def choose(directory: str) -> Choice:
    """The best way for a store in `directory`, found by trying a mount there.

    Nothing is left behind: the trial runs in a child with a mount namespace of its own.
    """
    code = try_mount(directory, in_user_namespace=False)
    if code == 0:
        return Choice("overlay", "the kernel's overlay works on this directory")
    first = _why(code)
    inside = try_mount(directory, in_user_namespace=True)
    if inside == 0:
        return Choice("user overlay", f"as this user only in a user namespace ({first})")
    return Choice("copy", f"no overlay here: {first}; in a user namespace: {_why(inside)}")


def _why(code: int) -> str:
    return {
        errno.EPERM: "this user may not mount",
        errno.ENODEV: "the kernel has no overlayfs",
        errno.EINVAL: "the file system of the directory can't be an upper layer",
        errno.EACCES: "the directory can't be written",
        errno.EIO: "its file system can't hold overlayfs's marks (user.* attributes)",
    }.get(code, os.strerror(code))


def try_mount(directory: str, *, in_user_namespace: bool) -> int:
    """Try an overlay in `directory`; 0 where it works, else the errno."""
    import shutil
    import tempfile

    try:
        place = tempfile.mkdtemp(prefix="overlay-trial-", dir=directory)
    except OSError as error:
        return error.errno or errno.EACCES
    try:
        child = os.fork()
        if child == 0:
            os._exit(_try_here(place, in_user_namespace))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        if os.path.isdir(f"{place}/work/work"):
            os.chmod(f"{place}/work/work", 0o700)  # overlayfs made it without any permission
        shutil.rmtree(place, ignore_errors=True)


def _try_here(place: str, in_user_namespace: bool) -> int:
    """In the child: mount, write one file, and report the errno as exit status."""
    try:
        uid, gid = os.geteuid(), os.getegid()
        flags = CLONE.NEWNS | CLONE.NEWUSER if in_user_namespace else CLONE.NEWNS
        syscalls.unshare(flags)
        if in_user_namespace:
            lines = (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"))
            for name, line in lines:
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(line)
        syscalls.mount(None, "/", None, MS.PRIVATE | MS.REC)
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(f"{place}/{name}")
        os.mkdir(f"{place}/lower/folder")
        with open(f"{place}/lower/file", "w") as file:
            file.write("lower")
        spec = Overlay(
            (f"{place}/lower",),
            f"{place}/upper",
            f"{place}/work",
            user_xattr=in_user_namespace,
        )
        mount(spec, f"{place}/merged")
        with open(f"{place}/merged/file", "a") as file:
            file.write(" and upper")
        os.unlink(f"{place}/merged/file")
        # A directory made again is marked opaque; EIO where the upper has no room for the mark,
        # such as a tmpfs before Linux 6.6 in a user namespace.
        os.rmdir(f"{place}/merged/folder")
        os.mkdir(f"{place}/merged/folder")
        syscalls.umount2(f"{place}/merged", 0)  # not lazily: the files are removed next
        for root, folders, _ in os.walk(f"{place}/work"):
            for folder in folders:
                os.chmod(f"{root}/{folder}", 0o700)  # overlayfs leaves work/work with mode 000
    except UnsupportedError:
        return errno.ENODEV
    except OSError as error:
        return error.errno or errno.EIO
    return 0
