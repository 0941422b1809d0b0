"""volumes.copy_up: what the image has at a mount point goes into an empty volume."""

from __future__ import annotations

import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os
import shutil


def copy_up(image: str, volume: str) -> None:
    """Before a volume is mounted over a directory of the image: give it the image's files.

    Only an empty volume gets them; what is in one already is somebody's data. Modes, times and
    symbolic links come along as they are, and the volume's own mode becomes the directory's.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    if not os.listdir(volume):
        shutil.copytree(image, volume, symlinks=True, dirs_exist_ok=True)
""",
)

ALWAYS = SOLUTION.replace("    if not os.listdir(volume):\n    ", "")
FOLLOWS = SOLUTION.replace("symlinks=True, ", "")
NO_MODES = SOLUTION.replace("symlinks=True, ", "symlinks=True, copy_function=shutil.copyfile, ")
MOVES = HOLE.replace(
    "    ...\n",
    """\
    if not os.listdir(volume):
        for name in os.listdir(image):
            shutil.move(f"{image}/{name}", f"{volume}/{name}")
        shutil.copystat(image, volume)
""",
)


def _image(trial: Trial, name: str) -> str:
    token = trial.token("word")
    image = trial.directory(name, {"conf/main": f"word = {token}\n", "run.sh": "#!/bin/sh\n"})
    os.symlink("conf/main", f"{image}/link")
    os.chmod(f"{image}/run.sh", 0o751)
    os.chmod(image, 0o2750)
    os.utime(f"{image}/run.sh", (1_000_000, 1_000_000))
    return image


def check(trial: Trial) -> Outcome:
    image, volume = _image(trial, "image"), trial.directory("volume")
    before = _listing(image)
    trial.call("copy_up", image, volume)
    if _listing(image) != before:
        return _no("the image is as it was", "something is missing in it", "An image is shared by "
                   "many containers: it is copied from, never changed.")  # fmt: skip
    if not os.path.islink(f"{volume}/link"):
        return _no("`link` is a symbolic link", "a file with what it led to",
                   "A link must stay one: symlinks=True.")  # fmt: skip
    if _listing(volume) != before:
        different = sorted(set(_listing(volume)) ^ set(before))[0]
        return _no("the same files, with modes and times", f"different: {different}",
                   "Data alone is not the file: mode and time belong to it.")  # fmt: skip
    used = trial.directory("used", {"mine": trial.secret()})
    kept = _listing(used)
    trial.attempt("copy_up", image, used)
    if _listing(used) != kept:
        return _no("a volume with files in it stays as it is", "the image's files came into it",
                   "Only an *empty* volume is filled: the rest is somebody's data.")  # fmt: skip
    return done("an empty volume was filled, one in use was left alone")


def _no(expected: str, observed: str, hint: str) -> Outcome:
    return not_yet(expected=expected, observed=observed, where="`copy_up`", hint=hint)


def _listing(top: str) -> list[str]:
    """Every entry with what is to come along."""
    found = [f". {os.stat(top).st_mode:o}"]
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            shown = os.path.relpath(path, top)
            if os.path.islink(path):
                found.append(f"{shown} -> {os.readlink(path)}")
            elif os.path.isdir(path):
                found.append(f"{shown}/ {status.st_mode:o}")
            else:
                found.append(f"{shown} {status.st_mode:o} {int(status.st_mtime)}")
    return sorted(found)


EXERCISE = Exercise(
    id="volumes.copy_up",
    notebook="15_volumes",
    title="What the image has, once",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "`os.listdir(volume)` says whether anything is in it.",
        "`shutil.copytree` copies modes and times; it wants `dirs_exist_ok=True` here.",
        "`if not os.listdir(volume): shutil.copytree(image, volume, symlinks=True, …)`.",
    ),
    wrong=(
        Wrong(ALWAYS, "Only an *empty* volume"),
        Wrong(FOLLOWS, "A link must stay one"),
        Wrong(NO_MODES, "mode and time belong to it"),
        Wrong(MOVES, "never changed"),
    ),
)
