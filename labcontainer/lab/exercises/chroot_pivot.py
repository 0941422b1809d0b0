"""chroot.pivot: change the root of the whole mount namespace and let go of the old one."""

from __future__ import annotations

import errno
import os
import signal

from labcontainer import namespaces
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MNT


def pivot(new_root: str) -> None:
    """Make the mount point `new_root` the root of this mount namespace; drop the old root."""
    ...
'''

SOLUTION = '''\
import os

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MNT


def pivot(new_root: str) -> None:
    """Make the mount point `new_root` the root of this mount namespace; drop the old root."""
    os.chdir(new_root)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", MNT.DETACH)
    os.chdir("/")
'''

ONLY_CHROOT = SOLUTION.replace(
    '    syscalls.pivot_root(".", ".")\n    syscalls.umount2(".", MNT.DETACH)\n',
    '    os.chroot(".")\n',
)
KEEPS_OLD = SOLUTION.replace('    syscalls.umount2(".", MNT.DETACH)\n', "")
NOT_DETACHED = SOLUTION.replace("MNT.DETACH", "0")


def check(trial: Trial) -> Outcome:
    secret = trial.secret()
    root = trial.directory("root", {"flag": secret})
    syscalls.mount(root, root, None, MS.BIND)
    with trial.hold("pivot", root, namespaces=("mnt",)) as process:
        visitor = os.fork()
        if visitor == 0:  # whoever enters the namespace anew starts at the namespace's root
            namespaces.enter_process(process.pid, ("mount",))
            os.kill(os.getpid(), signal.SIGSTOP)
        os.waitpid(visitor, os.WUNTRACED)
        try:
            return _judge(process.pid, visitor, secret)
        finally:
            os.kill(visitor, signal.SIGKILL)
            os.waitpid(visitor, 0)


def _judge(pid: int, visitor: int, secret: str) -> Outcome:
    if not _holds(f"/proc/{visitor}/root/flag", secret):
        moved = _holds(f"/proc/{pid}/root/flag", secret)
        if moved and len(_points(pid)) > 1:
            return _kept(_points(pid))
        return not_yet(
            expected="whoever joins this mount namespace finds the new root at `/`",
            observed="they find the old root at `/`",
            where="the call that changes the root",
            hint="chroot changes the root of one process. pivot_root changes the namespace's."
            if moved
            else "Nothing changed `/`: pivot_root(new_root, put_old) does.",
        )
    if len(_points(visitor)) > 1:
        return _kept(_points(visitor))
    if os.stat(f"/proc/{pid}/cwd").st_ino != os.stat(f"/proc/{pid}/root").st_ino:
        return not_yet(
            expected="the working directory is the new root",
            observed="it is somewhere else, and `..` may lead on from there",
            where="the last line",
            hint='`os.chdir("/")` at the end.',
        )
    return done("one mount is left in the namespace, and `/` is it")


def _points(pid: int) -> list[str]:
    with open(f"/proc/{pid}/mountinfo") as file:
        return [line.split()[4] for line in file]


def _kept(points: list[str]) -> Outcome:
    return not_yet(
        expected="one line in /proc/PID/mountinfo: the new root",
        observed=f"{len(points)} lines; the old root is at {points[1]}",
        where="after pivot_root",
        hint="pivot_root puts the old root somewhere. umount2 with MNT.DETACH takes it off.",
    )


def _holds(path: str, secret: str) -> bool:
    try:
        with open(path) as file:
            return file.read() == secret
    except OSError:
        return False


EXERCISE = Exercise(
    id="chroot.pivot",
    notebook="02_chroot",
    title="Change the root of the namespace",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.rootfs.pivot_root",
    replaces="labcontainer.rootfs.pivot_root",
    check=check,
    needs=("sandbox", "mount"),
    errors=(
        (
            errno.EBUSY,
            "EBUSY: it is in use, you stand in it. MNT.DETACH takes it off all the same.",
        ),
        (errno.ENOENT, "After pivot_root the old paths lead nowhere: chdir before it, then `.`"),
        (errno.EINVAL, 'EINVAL: is new_root a mount point? chdir there; pivot_root(".", ".").'),
    ),
    hints=(
        "Stand in the new root first. Then both arguments of pivot_root can be `.`",
        'After pivot_root(".", ".") the old root lies on top of the new one.',
        '`syscalls.umount2(".", MNT.DETACH)` takes it off; then `os.chdir("/")`.',
    ),
    wrong=(
        Wrong(ONLY_CHROOT, "chroot changes the root of one process"),
        Wrong(KEEPS_OLD, "takes it off"),
        Wrong(NOT_DETACHED, "you stand in it"),
    ),
)
