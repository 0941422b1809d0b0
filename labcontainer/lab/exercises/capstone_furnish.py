"""capstone.furnish: a root directory of the box's own."""

from __future__ import annotations

import os

from labcontainer.kernel import syscalls
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Held, Trial

HOLE = '''\
import os
from collections.abc import Sequence

from labcontainer import rootfs
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import AT, MOUNT_ATTR, MS


def furnish(root: str, paths: Sequence[str], disk: int) -> None:
    """Make `root` a root directory of the box's own, and enter it: of the machine only `paths`.

    They are read-only, with every mount below them. /tmp holds `disk` bytes, and no more.
    """
    closed = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV
    syscalls.mount(None, "/", None, MS.REC | MS.PRIVATE)
    syscalls.mount("box", root, "tmpfs", MS.NOSUID | MS.NODEV, "mode=755,size=1m")
    for path in paths:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
            continue
        os.makedirs(root + path)
        ...
    for name in ("proc", "tmp"):
        os.mkdir(f"{root}/{name}")
    syscalls.mount("proc", f"{root}/proc", "proc", MS.NOSUID | MS.NODEV | MS.NOEXEC)
    ...
    syscalls.mount_setattr(-1, "/", 0, attr_set=closed)
    os.chdir("/tmp")
'''
FIRST, SECOND = HOLE.split("        ...\n")
BIND = "        syscalls.mount(path, root + path, None, MS.BIND | MS.REC)\n"
CLOSE = "        syscalls.mount_setattr(-1, root + path, AT.RECURSIVE, attr_set=closed)\n"
TMP = '    syscalls.mount("tmp", f"{root}/tmp", "tmpfs", MS.NOSUID | MS.NODEV, f"size={disk}")\n'
PIVOT = "    rootfs.pivot_root(root)\n"

SOLUTION = FIRST + BIND + CLOSE + SECOND.replace("    ...\n", TMP + PIVOT)

AT_ONCE = SOLUTION.replace(BIND + CLOSE, BIND.replace("MS.REC)", "MS.REC | MS.RDONLY)"))
TOP_ALONE = SOLUTION.replace("AT.RECURSIVE", "0")
NO_SIZE = SOLUTION.replace(', f"size={disk}"', "")
CHROOT = SOLUTION.replace(PIVOT, "    os.chroot(root)\n")
BIND_ALONE = SOLUTION.replace("MS.BIND | MS.REC", "MS.BIND")

RDONLY_HINT = (
    "mount(2) does not heed MS_RDONLY when it binds: the new mount gets its flags in a second "
    "call, mount_setattr."
)


def check(trial: Trial) -> Outcome:
    machine = trial.directory("machine", {"usr/tool": "tool\n", "usr/deep": None, "secret": "s\n"})
    root, disk = trial.directory("box"), trial.number("disk", 3, 9) << 20
    syscalls.mount("below", f"{machine}/usr/deep", "tmpfs", 0, "size=64k")
    trial.undo.push(syscalls.umount2, f"{machine}/usr/deep", 2)
    with open(f"{machine}/usr/deep/tool", "w") as file:
        file.write("tool\n")
    paths = [f"{machine}/usr"]
    with trial.hold("furnish", root, paths, disk, namespaces=("pid", "mnt")) as process:
        return _look(process, machine, disk)


def _look(process: Held, machine: str, disk: int) -> Outcome:
    mounts = {mount.point: mount for mount in process.mounts()}
    top, usr, tmp = (mounts.get(point) for point in ("/", f"{machine}/usr", "/tmp"))
    stands = os.readlink(f"/proc/{process.pid}/root")
    if top is None or top.fstype != "tmpfs" or stands != "/":
        return not_yet(
            expected="/proc/PID/root is the root of its mount namespace, a tmpfs",
            observed=f"{stands}, {top.fstype if top else 'no mount of its own'}",
            where="the second hole",
            hint="chroot hides the machine and leaves its mounts where they are. "
            "`rootfs.pivot_root(root)` takes them away.",
        )
    if usr is None or "ro" not in usr.options:
        return not_yet(
            expected=f"{machine}/usr is there, ro",
            observed=f"{usr.options if usr else 'no such mount'}",
            where="the first hole",
            hint=RDONLY_HINT,
        )
    deep = mounts.get(f"{machine}/usr/deep")
    if deep is None or not os.path.exists(process.inside(f"{machine}/usr/deep/tool")):
        return not_yet(
            expected="what is mounted below it came with it",
            observed="no mount there",
            where="the first hole",
            hint="MS.BIND alone takes one mount. With MS.REC it takes all below it.",
        )
    if "ro" not in deep.options[:6]:
        return not_yet(
            expected=f"{machine}/usr/deep, a mount below it, is ro too",
            observed=f"{','.join(deep.options)}",
            where="the first hole",
            hint="A mount's flags are its own. AT.RECURSIVE reaches those below it.",
        )
    size = f"size={disk >> 10}k"
    if tmp is None or size not in tmp.options or not {"nosuid", "nodev"} <= set(tmp.options):
        return not_yet(
            expected=f"/tmp is a tmpfs, nosuid, nodev, {size}",
            observed=f"{','.join(tmp.options) if tmp else 'no mount there'}",
            where="the second hole",
            hint='A tmpfs without a size may take half of the memory: the data is f"size={disk}".',
        )
    return done("a root of its own, the machine read-only or not there")


EXERCISE = Exercise(
    id="capstone.furnish",
    notebook="21_capstone",
    title="An own root, with a lid on it",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.lab.capstone.furnish",
    check=check,
    needs=("sandbox",),
    hints=(
        "First hole: bind, with all mounts below, then close it, so too. Second: /tmp, root.",
        (
            "`syscalls.mount(path, root + path, None, MS.BIND | MS.REC)`, then "
            "`syscalls.mount_setattr(-1, root + path, AT.RECURSIVE, attr_set=closed)`."
        ),
        'A tmpfs takes `f"size={disk}"` as its data. Then `rootfs.pivot_root(root)`.',
    ),
    wrong=(
        Wrong(AT_ONCE, "does not heed"),
        Wrong(TOP_ALONE, "A mount's flags are its own"),
        Wrong(NO_SIZE, "half of the memory"),
        Wrong(CHROOT, "leaves its mounts"),
        Wrong(BIND_ALONE, "takes all below"),
    ),
)
