"""chroot.left: what of the old root is still mounted."""

from __future__ import annotations

import os
import signal

from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def left(mountinfo: str, made: list[str]) -> list[str]:
    """The mount points in the text of a mountinfo file that are not among those we `made`."""
    ...
'''

SOLUTION = '''\
def left(mountinfo: str, made: list[str]) -> list[str]:
    """The mount points in the text of a mountinfo file that are not among those we `made`."""
    points = [line.split()[4].replace("\\\\040", " ") for line in mountinfo.splitlines()]
    return [point for point in points if point not in made]
'''

WRONG_FIELD = SOLUTION.replace("[4]", "[3]")
STILL_ESCAPED = SOLUTION.replace('.replace("\\\\040", " ")', "")
BELOW_TOO = SOLUTION.replace("point not in made", "not point.startswith(tuple(made))")


def check(trial: Trial) -> Outcome:
    place = trial.choice("place", ["old root", "put old", "the host"])
    for keep in (False, True):
        name = "kept" if keep else "clean"
        root = trial.directory(name, {place: None, "data": None})
        text = _mountinfo_after_pivot(root, place if keep else "")
        made = ["/", "/data"]
        wanted = [] if not keep else _left(text, made)
        found = trial.call("left", text, made)
        if found != wanted:
            return _told(found, wanted, keep)
    return done("a clean root has nothing left; one that keeps its old root is found out")


def _told(found: object, wanted: list[str], keep: bool) -> Outcome:
    hint = "Field 5 of a line is the mount point, counted from 1: proc_pid_mountinfo(5)."
    if isinstance(found, list) and any("\\040" in str(point) for point in found):
        hint = "A space in a mount point is written as \\040 there."
    elif keep and found == []:
        hint = "Something was left and you saw nothing: a mount *below* one of ours is not ours."
    return not_yet(
        expected=f"{wanted[:2]!r} and {len(wanted) - 2} more" if keep else "[] for a clean root",
        observed=repr(found)[:80],
        where="how a line is taken apart" if found else "the condition",
        hint=hint,
    )


def _left(text: str, made: list[str]) -> list[str]:
    points = [row.split()[4].replace("\\040", " ") for row in text.splitlines()]
    return [point for point in points if point not in made]


def _mountinfo_after_pivot(root: str, put_old: str) -> str:
    """The mountinfo of a process that has changed its root, and kept the old one there if named."""
    child = os.fork()
    if child == 0:
        syscalls.unshare(CLONE.NEWNS)
        syscalls.mount(None, "/", None, MS.PRIVATE | MS.REC)
        syscalls.mount(root, root, None, MS.BIND)
        syscalls.mount("tmpfs", f"{root}/data", "tmpfs")
        os.chdir(root)
        syscalls.pivot_root(".", put_old or ".")
        if not put_old:
            syscalls.umount2(".", 2)
        os.kill(os.getpid(), signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    try:
        return files.read(f"/proc/{child}/mountinfo")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


EXERCISE = Exercise(
    id="chroot.left",
    notebook="02_chroot",
    title="Prove that the old root is gone",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    hints=(
        "Each line of /proc/PID/mountinfo is one mount; print one and count its fields.",
        "`line.split()[4]` is the mount point. A space in it is written `\\040`.",
        "Put the points in a list, and keep those that are not in `made`.",
    ),
    wrong=(
        Wrong(WRONG_FIELD, "Field 5 of a line"),
        Wrong(STILL_ESCAPED, "written as"),
        Wrong(BELOW_TOO, "is not ours"),
    ),
)
