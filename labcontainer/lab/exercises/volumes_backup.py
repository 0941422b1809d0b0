"""volumes.backup and restore: a volume as an archive, and back."""

from __future__ import annotations

import os
import tarfile

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os
import shutil
import tarfile


def backup(volume: str, archive: str) -> None:
    """Write all files of a volume into a tar archive (gzip), with names from its top on."""
    with tarfile.open(archive, "w:gz") as tar:
        ...


def restore(archive: str, volume: str) -> None:
    """Make a volume hold what the archive holds, and nothing else. The directory itself stays: it
    may be mounted somewhere."""
    ...
    with tarfile.open(archive) as tar:
        tar.extraction_filter = lambda entry, path: entry  # our own archive: all of it, as it was
        tar.extractall(volume)
'''

_ADD = '        tar.add(volume, arcname=".")\n'
_EMPTY = """\
    for entry in os.scandir(volume):
        shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)
"""
SOLUTION = HOLE.replace("        ...\n", _ADD).replace("    ...\n", _EMPTY)

WHOLE_PATH = SOLUTION.replace(', arcname="."', "")
ONLY_FILES = SOLUTION.replace(
    _ADD,
    """\
        for name in os.listdir(volume):
            if os.path.isfile(f"{volume}/{name}"):
                tar.add(f"{volume}/{name}", arcname=name)
""",
)
OVER_IT = SOLUTION.replace(_EMPTY, "")
NEW_DIRECTORY = SOLUTION.replace(_EMPTY, "    shutil.rmtree(volume)\n    os.mkdir(volume)\n")


def check(trial: Trial) -> Outcome:
    word = trial.token("word")
    volume = trial.directory("volume", {"base/table": word, "note": "1", ".hidden": "2"})
    os.symlink("base/table", f"{volume}/latest")
    os.chmod(f"{volume}/note", 0o640)
    os.mkdir(f"{volume}/empty")
    for folder, folders, files in os.walk(volume):  # else the size of the archive varies
        for name in (*folders, *files, "."):
            os.utime(os.path.join(folder, name), (10**9, 10**9), follow_symlinks=False)
    before, archive = _listing(volume), f"{trial.room}/backup.tar.gz"
    trial.call("backup", volume, archive)
    with tarfile.open(archive) as tar:
        names = {os.path.normpath(name) for name in tar.getnames()} - {"."}
    if missing := {line.split()[0] for line in before} - names:
        long = any(name.endswith("base/table") for name in names)
        return not_yet(
            expected=f"in the archive: {sorted({line.split()[0] for line in before})}",
            observed=str(sorted(names)),
            where="`backup`",
            hint="Names must begin at the volume's top: arcname."
            if long and len(missing) == len(before)
            else "Directories, links and hidden files are data, too: tar.add does them all.",
        )
    return _restored(trial, volume, archive, before)


def _restored(trial: Trial, volume: str, archive: str, before: list[str]) -> Outcome:
    """The volume after some time of use, and a restore."""
    held = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    trial.undo.push(os.close, held)
    os.unlink(f"{volume}/note")
    os.makedirs(f"{volume}/later/deep")
    for name in ("base/table", "later/deep/file"):
        with open(f"{volume}/{name}", "w") as file:
            file.write("later")
    trial.call("restore", archive, volume)
    if not os.path.samestat(os.fstat(held), os.stat(volume)):
        return not_yet(
            expected="the same directory, with other files in it",
            observed="another directory of that name",
            where="`restore`",
            hint="A running container has the old one mounted, and sees nothing of the new.",
        )
    after = _listing(volume)
    if after != before:
        return not_yet(
            expected=str(before),
            observed=str(after),
            where="`restore`",
            hint="What came after the backup is still there: the volume must be emptied first."
            if set(after) > set(before)
            else "Compare what is there before and after.",
        )
    size = os.path.getsize(archive)
    return done("it holds what it held, in the same directory", f"{size} bytes of archive")


def _listing(top: str) -> list[str]:
    found = []
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            shown, mode = os.path.relpath(path, top), os.lstat(path).st_mode
            found.append(f"{shown} {mode:o}")
    return sorted(found)


EXERCISE = Exercise(
    id="volumes.backup",
    notebook="15_volumes",
    title="Back up and restore",
    names=("backup", "restore"),
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "`tar.add(path, arcname=…)` adds a directory with all that is in it.",
        'With arcname="." the names begin at the top of the volume.',
        "Before unpacking: os.scandir, shutil.rmtree for directories, os.unlink for the rest.",
    ),
    wrong=(
        Wrong(WHOLE_PATH, "begin at the volume's top"),
        Wrong(ONLY_FILES, "tar.add does them all"),
        Wrong(OVER_IT, "must be emptied first"),
        Wrong(NEW_DIRECTORY, "has the old one mounted"),
    ),
)
