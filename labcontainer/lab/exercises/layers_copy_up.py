"""layers.copy_up: bring a file of a lower layer into the upper one before it is changed."""

from __future__ import annotations

import errno
import os
import stat

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os
import shutil


def copy_up(entry: str, upper: str, path: str) -> str:
    """Copy `entry`, a lower layer's file, to `path` in the upper one; returns its path there.

    With its mode and times; a symbolic link stays a link. Its directories are made as needed.
    """
    target = f"{upper}/{path}"
    ...
    return target
'''

_PARENTS = "    os.makedirs(os.path.dirname(target), exist_ok=True)\n"
SOLUTION = HOLE.replace(
    "    ...\n", _PARENTS + "    shutil.copy2(entry, target, follow_symlinks=False)\n"
)

NO_PARENTS = SOLUTION.replace(_PARENTS, "")
NO_MODE = SOLUTION.replace("copy2(", "copyfile(")
NO_TIMES = SOLUTION.replace("copy2(", "copy(")
FOLLOWS = SOLUTION.replace(", follow_symlinks=False", "")
MOVES = SOLUTION.replace(
    "shutil.copy2(entry, target, follow_symlinks=False)", "shutil.move(entry, target)"
)

WHEN = 1_000_000_000


def check(trial: Trial) -> Outcome:
    secret = trial.secret()
    lower = trial.directory("lower", {"usr/bin/tool": secret, "etc/hosts": "127.0.0.1 localhost"})
    upper = trial.directory("upper")
    tool = f"{lower}/usr/bin/tool"
    os.chmod(tool, 0o755)
    os.utime(tool, (WHEN, WHEN))
    os.symlink(trial.token("target"), f"{lower}/etc/link")
    trial.call("copy_up", tool, upper, "usr/bin/tool")
    return (
        _file(tool, f"{upper}/usr/bin/tool", secret)
        or _again(trial, lower, upper)
        or _link(trial, lower, upper)
        or done("contents, mode, times and links are the same above as below")
    )


def _file(entry: str, target: str, secret: str) -> Outcome | None:
    if not os.path.exists(target):
        return not_yet(
            expected="usr/bin/tool in the upper directory",
            observed="no such file there",
            where="`copy_up`",
            hint="Copy the entry to `target`.",
        )
    if not os.path.exists(entry):
        return not_yet(
            expected="the lower layer as it was",
            observed="its file is gone",
            where="`copy_up`",
            hint="Other containers use the lower layer too: copy, don't move.",
        )
    with open(target) as file:
        same = file.read() == secret
    if not same:
        return not_yet(
            expected="the contents of the lower file", observed="others", where="`copy_up`"
        )
    found = os.stat(target)
    if stat.S_IMODE(found.st_mode) != 0o755:
        return not_yet(
            expected="mode 755, as below",
            observed=f"mode {stat.S_IMODE(found.st_mode):o}",
            where="the call that copies",
            hint="The contents alone are copied: a program would not be a program any more.",
        )
    if int(found.st_mtime) != WHEN:
        return not_yet(
            expected="the time of the last change, as below",
            observed="another time",
            where="the call that copies",
            hint="Nobody has changed the file yet. `shutil` has a copy that keeps the times too.",
        )
    return None


def _again(trial: Trial, lower: str, upper: str) -> Outcome | None:
    """A second file, whose directory may be there already."""
    os.makedirs(f"{upper}/etc")
    trial.call("copy_up", f"{lower}/etc/hosts", upper, "etc/hosts")
    if os.path.exists(f"{upper}/etc/hosts"):
        return None
    return not_yet(expected="etc/hosts in the upper directory", observed="no such file there")


def _link(trial: Trial, lower: str, upper: str) -> Outcome | None:
    found = trial.attempt("copy_up", f"{lower}/etc/link", upper, "etc/link")
    target = f"{upper}/etc/link"
    if os.path.islink(target) and os.readlink(target) == trial.token("target"):
        return None
    return not_yet(
        expected="etc/link: a symbolic link with the same words",
        observed=found.error or "no link there",
        where="the call that copies",
        hint="A link is an entry of its own; what it leads to may be nowhere: do not follow it.",
    )


EXERCISE = Exercise(
    id="layers.copy_up",
    notebook="09_layers",
    title="Copy up",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    errors=(
        (errno.ENOENT, "The upper directory is empty at first: who makes usr/bin in it?"),
        (errno.EEXIST, "The directory may be there already: exist_ok."),
    ),
    hints=(
        "First the directories that lead to it, then the file.",
        "`os.makedirs(os.path.dirname(target), exist_ok=True)`, then a copy of module shutil.",
        "`shutil.copy2(entry, target, follow_symlinks=False)` keeps mode and times, and links.",
    ),
    wrong=(
        Wrong(NO_PARENTS, "who makes usr/bin in it"),
        Wrong(NO_MODE, "contents alone are copied"),
        Wrong(NO_TIMES, "keeps the times too"),
        Wrong(FOLLOWS, "do not follow it"),
        Wrong(MOVES, "copy, don't move"),
    ),
)
