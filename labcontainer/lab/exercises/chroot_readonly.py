"""chroot.readonly: a tree that can be read here and written elsewhere."""

from __future__ import annotations

import errno
import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS


def readonly(path: str) -> None:
    """Make the directory `path` read-only in this mount namespace, and only in it."""
    ...
'''

SOLUTION = '''\
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS


def readonly(path: str) -> None:
    """Make the directory `path` read-only in this mount namespace, and only in it."""
    syscalls.mount(path, path, None, MS.BIND)
    syscalls.mount(None, path, None, MS.BIND | MS.REMOUNT | MS.RDONLY)
'''

IGNORED = SOLUTION.replace("MS.BIND)\n", "MS.BIND | MS.RDONLY)\n").replace(
    "    syscalls.mount(None, path, None, MS.BIND | MS.REMOUNT | MS.RDONLY)\n", ""
)
FOR_EVERYBODY = SOLUTION.replace("MS.BIND | MS.REMOUNT | MS.RDONLY", "MS.REMOUNT | MS.RDONLY")
COVERED = SOLUTION.replace(
    "    syscalls.mount(path, path, None, MS.BIND)\n",
    '    syscalls.mount("tmpfs", path, "tmpfs")\n',
)


def check(trial: Trial) -> Outcome:
    secret = trial.secret()
    path = trial.directory("data", {"file": secret})
    with trial.hold("readonly", path, namespaces=("mnt",)) as process:
        seen = process.inside(path)
        if not os.path.exists(f"{seen}/file"):
            return not_yet(
                expected="the files are still there to be read",
                observed="they are covered",
                where="the first mount",
                hint="Not a new file system: the same directory, bound on itself.",
            )
        try:
            os.mkdir(f"{seen}/new")
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
        else:
            return not_yet(
                expected="EROFS for who writes there",
                observed="a directory could be made in it",
                where="the flags",
                hint="The first MS.BIND takes over the flags of its source and ignores yours, so"
                " read-only needs a second call: MS.BIND | MS.REMOUNT | MS.RDONLY.",
            )
        try:
            os.mkdir(f"{path}/outside")
        except OSError:
            return not_yet(
                expected="who is outside can still write",
                observed="EROFS there too",
                where="the flags of the second call",
                hint="Without MS.BIND a remount changes the file system for everybody; with it,"
                " this one mount of it.",
            )
    return done("read-only inside, writable outside")


EXERCISE = Exercise(
    id="chroot.readonly",
    notebook="02_chroot",
    title="Read-only in here",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    hints=(
        "Only a mount can be read-only, so the directory must be one first.",
        "Two calls: bind it on itself; then remount that bind with MS.RDONLY.",
        "`syscalls.mount(None, path, None, MS.BIND | MS.REMOUNT | MS.RDONLY)` is the second.",
    ),
    wrong=(
        Wrong(IGNORED, "ignores yours"),
        Wrong(FOR_EVERYBODY, "for everybody"),
        Wrong(COVERED, "bound on itself"),
    ),
)
