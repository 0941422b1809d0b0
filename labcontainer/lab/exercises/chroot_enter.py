"""chroot.enter: make a directory the root directory of this process."""

from __future__ import annotations

import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os


def enter(root: str) -> None:
    """Make `root` this process's root directory and stand in it."""
    ...
'''

SOLUTION = '''\
import os


def enter(root: str) -> None:
    """Make `root` this process's root directory and stand in it."""
    os.chroot(root)
    os.chdir("/")
'''

NO_CHDIR = SOLUTION.replace('    os.chdir("/")\n', "")
ONLY_CHDIR = SOLUTION.replace("    os.chroot(root)\n", "").replace('"/"', "root")
LITERAL = SOLUTION.replace("chroot(root)", 'chroot("root")')


def check(trial: Trial) -> Outcome:
    root = trial.directory(trial.token("name"), {"flag": trial.token("inside")})
    with trial.hold("enter", root) as process:
        seen = os.readlink(f"/proc/{process.pid}/root")
        if seen != root:
            return not_yet(
                expected=f"/proc/PID/root -> {root}",
                observed=f"/proc/PID/root -> {seen}",
                where="the first line of `enter`",
                hint="chdir only moves you. Which call changes what `/` means?",
            )
        stands = os.readlink(f"/proc/{process.pid}/cwd")
        if stands != root:
            return not_yet(
                expected=f"/proc/PID/cwd -> {root}",
                observed=f"/proc/PID/cwd -> {stands}",
                where="the line after chroot",
                hint="The working directory did not move: `..` still leads out. chroot(2).",
            )
    return done("/proc/PID/root and /proc/PID/cwd are inside")


EXERCISE = Exercise(
    id="chroot.enter",
    notebook="02_chroot",
    title="Enter a new root",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.rootfs.enter_chroot",
    replaces="labcontainer.rootfs.enter_chroot",
    check=check,
    needs=("sandbox",),
    hints=(
        "Two calls, both in `os`.",
        "`os.chroot(path)` changes what `/` means; it leaves the working directory alone.",
        'After `os.chroot(root)`, `os.chdir("/")` goes to the new `/`.',
    ),
    wrong=(
        Wrong(NO_CHDIR, "did not move"),
        Wrong(ONLY_CHDIR, "chdir only moves you"),
        Wrong(LITERAL, "No such file or directory"),
    ),
)
