"""chroot.mask: cover what a container must not see."""

from __future__ import annotations

import errno
import os
import stat

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS


def mask(path: str) -> None:
    """Cover a file with the null device, a directory with an empty read-only tmpfs."""
    if not os.path.exists(path):
        return
    ...
'''

SOLUTION = '''\
import os

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS


def mask(path: str) -> None:
    """Cover a file with the null device, a directory with an empty read-only tmpfs."""
    if not os.path.exists(path):
        return
    if os.path.isdir(path):
        syscalls.mount("tmpfs", path, "tmpfs", MS.RDONLY)
    else:
        syscalls.mount("/dev/null", path, None, MS.BIND)
'''

WRITABLE = SOLUTION.replace(', "tmpfs", MS.RDONLY)', ', "tmpfs")')
ONE_FOR_ALL = SOLUTION.replace(
    '    else:\n        syscalls.mount("/dev/null", path, None, MS.BIND)\n', ""
).replace("    if os.path.isdir(path):\n        sys", "    sys")
ONLY_FILES = SOLUTION.replace("MS.RDONLY)", "MS.RDONLY)").replace(
    '        syscalls.mount("tmpfs", path, "tmpfs", MS.RDONLY)\n', "        return\n"
)


def check(trial: Trial) -> Outcome:
    secret = trial.secret()
    top = trial.directory("top", {"keys": secret, "firmware/table": secret})
    for answer in (_file(trial, f"{top}/keys"), _directory(trial, f"{top}/firmware")):
        if answer is not None:
            return answer
    trial.call("mask", f"{top}/missing", namespaces=("mnt",))
    with open(f"{top}/keys") as file:
        if file.read() != secret:
            return not_yet(expected="the file itself is unchanged", observed="it was changed",
                           hint="Cover it by a mount; don't write to it.")  # fmt: skip
    return done("file and directory are covered, and whoever is outside still has them")


def _file(trial: Trial, path: str) -> Outcome | None:
    with trial.hold("mask", path, namespaces=("mnt",)) as process:
        about = os.stat(process.inside(path))
    if stat.S_ISCHR(about.st_mode) and about.st_rdev == os.makedev(1, 3):
        return None
    return not_yet(
        expected="the file is the character device 1:3 there",
        observed=stat.filemode(about.st_mode),
        where="the case of a file",
        hint='syscalls.mount("/dev/null", path, None, MS.BIND) lays one file over another.',
    )


def _directory(trial: Trial, path: str) -> Outcome | None:
    with trial.hold("mask", path, namespaces=("mnt",)) as process:
        seen = process.inside(path)
        names = os.listdir(seen)
        if names:
            return not_yet(
                expected="an empty directory",
                observed=f"{names[0]} is in it",
                where="the case of a directory",
                hint="An empty tmpfs on top hides what is below.",
            )
        try:
            os.mkdir(f"{seen}/inside")
        except OSError as error:
            if error.errno == errno.EROFS:
                return None
            raise
    return not_yet(
        expected="EROFS for who writes there",
        observed="a directory could be made in it",
        where="the flags of the tmpfs",
        hint="A container must not build a false table there: MS.RDONLY.",
    )


EXERCISE = Exercise(
    id="chroot.mask",
    notebook="02_chroot",
    title="Cover what a container must not see",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    errors=((errno.ENOTDIR, "ENOTDIR: a file system goes on a directory, a file on a file."),),
    hints=(
        "Two cases: `os.path.isdir(path)` or not.",
        'A new tmpfs: syscalls.mount("tmpfs", path, "tmpfs", flags); a bind has fstype None.',
        '`mount("tmpfs", path, "tmpfs", MS.RDONLY)` and `mount("/dev/null", path, None, MS.BIND)`.',
    ),
    wrong=(
        Wrong(WRITABLE, "a directory could be made in it"),
        Wrong(ONE_FOR_ALL, "a file system goes on a directory"),
        Wrong(ONLY_FILES, "hides what is below"),
    ),
)
