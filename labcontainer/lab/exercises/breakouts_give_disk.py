"""breakouts.give_disk: a place to write to that ends somewhere."""

from __future__ import annotations

import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Held, Trial

HOLE = '''\
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS


def give_disk(path: str) -> None:
    """Mount a file system in memory on `path`, for a container to write to.

    It takes 1 MiB in 100 files, not more. Set-uid programs and device nodes are nothing in it.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    "    flags = MS.NOSUID | MS.NODEV\n"
    '    syscalls.mount("disk", path, "tmpfs", flags, "size=1m,nr_inodes=100")\n',
)

NO_SIZE = SOLUTION.replace("size=1m,", "")
NO_FILES = SOLUTION.replace(",nr_inodes=100", "")
TOO_SMALL = SOLUTION.replace("size=1m", "size=256k")
ANY_PROGRAM = SOLUTION.replace("MS.NOSUID | MS.NODEV", "0")

SCENE = """

from labcontainer.lab import attacks_kernel, box

def _tried(treasure):
    box.furnish(treasure)
    return attacks_kernel.hog(give_disk)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    path = trial.directory("disk")
    with trial.hold("give_disk", path, namespaces=("mnt",)) as process:
        wrong = _look(path, process)
    if wrong:
        return wrong
    found = trial.call("_tried", trial.secret(), timeout=20)
    if found["attack"] or not found["honest"]:
        return not_yet(
            expected="the engine can still write its journal, the program its half MiB in 41 files",
            observed=f"the program: {found['answer']}; the engine: {not found['attack']}",
            where="the options",
            hint="An honest program needs some room, too.",
        )
    return done("it is full after 1 MiB or 100 files, and the engine's disk is not")


def _look(path: str, process: Held) -> Outcome | None:
    """What the kernel says of the mount: its size, its files, its flags."""
    mounts = [one for one in process.mounts() if one.point == path and one.fstype == "tmpfs"]
    expected = "a tmpfs: 1 MiB, 100 files, nosuid, nodev"
    if not mounts:
        return not_yet(expected=expected, observed="none at the path", where="the mount",
                       hint='The file system\'s type is "tmpfs".')  # fmt: skip
    about = os.statvfs(process.inside(path))
    size, files = about.f_blocks * about.f_frsize >> 10, about.f_files
    missing = {"nosuid", "nodev"} - set(mounts[0].options)
    if size == 1024 and files == 100 and not missing:
        return None
    observed = f"{size} KiB" if size < 4096 else "many MiB"
    observed += f", {files} files" if files < 1000 else ", thousands of files"
    hint = "An honest program needs more room than that." if size < 1024 else ""
    if size > 1024:
        hint = "Without a size a tmpfs may take half of the machine's memory."
    elif files != 100:
        hint = "A file without a byte costs no size. Nobody can make one more when the inodes end."
    elif missing:
        hint = f"The flags {', '.join(sorted(missing))} are missing: MS.NOSUID, MS.NODEV."
    return not_yet(expected=expected, observed=observed, where="the mount", hint=hint)


EXERCISE = Exercise(
    id="breakouts.give_disk",
    notebook="19_breakouts",
    title="A disk that ends",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    seconds=45,
    hints=(
        "tmpfs(5) has the options: one for bytes, one for inodes.",
        'The options are the last argument: `"size=…,nr_inodes=…"`; the flags come before.',
        '`syscalls.mount("disk", path, "tmpfs", MS.NOSUID | MS.NODEV, "size=1m,nr_inodes=100")`.',
    ),
    wrong=(
        Wrong(NO_SIZE, "half of the machine's memory"),
        Wrong(NO_FILES, "costs no size"),
        Wrong(TOO_SMALL, "needs more room"),
        Wrong(ANY_PROGRAM, "are missing"),
    ),
)
