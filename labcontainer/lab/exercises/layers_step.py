"""layers.step: one name looked up in a stack of directories."""

from __future__ import annotations

import os

from labcontainer import union
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os

from labcontainer.union import is_whiteout


def is_opaque(directory: str) -> bool:
    """Whether a directory hides what lies below it; section 6 tells why there is such a thing."""
    for mark in ("trusted.overlay.opaque", "user.overlay.opaque"):
        try:
            return os.getxattr(directory, mark) == b"y"
        except OSError:
            continue  # it has no such mark
    return False


def step(directories: list[str], name: str) -> list[str]:
    """The entries called `name` that count, from these directories, of which the first is on top.

    Several only if all of them are directories: those show as one. [] if nothing shows.
    """
    found = []
    for directory in directories:
        entry = f"{directory}/{name}"
        ...
        if is_opaque(entry):
            break
    return found
'''

_BODY = """\
        if is_whiteout(entry):
            break
        if not os.path.lexists(entry):
            continue
        if os.path.islink(entry) or not os.path.isdir(entry):
            return found or [entry]
        found.append(entry)
"""
SOLUTION = HOLE.replace("        ...\n", _BODY)

NO_WHITEOUT = SOLUTION.replace("        if is_whiteout(entry):\n            break\n", "")
SKIPS_WHITEOUT = SOLUTION.replace(
    "is_whiteout(entry):\n            break", "is_whiteout(entry):\n            continue"
)
FIRST_ONLY = SOLUTION.replace("found.append(entry)", "return [entry]")
ALL_FILES = SOLUTION.replace("return found or [entry]", "found.append(entry)\n            continue")
BELOW_A_DIRECTORY = SOLUTION.replace("found or [entry]", "[*found, entry]")

# What the three layers hold, the top one first. `!` marks a whiteout, a slash a directory.
STACK = (
    ("motd", "old!", "both/", "bin/", "mixed/"),
    ("both/", "motd", "kind", "mixed"),
    ("old", "both/", "motd", "kind/", "base", "mixed/", "bin"),
)
# Name, the layers whose entries count, and what a wrong list tells.
CASES = (
    ("base", (2,), "A layer that has no such entry says nothing: go on to the next."),
    ("motd", (0,), "A file hides all that lies below: the topmost one is the only one."),
    ("old", (), "A whiteout says: nothing here, whatever lies below. Stop there."),
    ("both", (0, 1, 2), "Directories are merged: collect them all, from the top down."),
    ("kind", (1,), "A file hides all that lies below, directories too."),
    ("mixed", (0,), "Below a directory a file is hidden, and hides what is below itself."),
    ("bin", (0,), "Below a directory a file is hidden: it is not part of the merged directory."),
    ("missing", (), "Where no layer has the name, the list is empty."),
)


def check(trial: Trial) -> Outcome:
    word = trial.token("word")[:4]  # so that names differ from learner to learner
    layers = []
    for number, entries in enumerate(STACK):
        top = trial.directory(f"{word}{number}")
        for name in entries:
            path = f"{top}/{name.rstrip('/!')}"
            if name.endswith("/"):
                os.mkdir(path)
            elif name.endswith("!"):
                union.make_whiteout(path)
            else:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
        layers.append(top)
    for name, numbers, hint in CASES:
        found = trial.call("step", layers, name)
        wanted = [f"{layers[number]}/{name}" for number in numbers]
        if found != wanted:
            return not_yet(
                expected=f"step(layers, {name!r}): {_shown(wanted)}",
                observed=_shown(found),
                where="the loop of `step`",
                hint=hint,
            )
    return done("eight names in three layers, each found where the kernel would find it")


def _shown(entries: object) -> str:
    return repr(entries).replace("/mnt/", "")


EXERCISE = Exercise(
    id="layers.step",
    notebook="09_layers",
    title="Look up a name in a stack",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Four cases for each layer: a whiteout, nothing, a file, a directory.",
        "`is_whiteout(entry)`: break. `not os.path.lexists(entry)`: continue. Then: file or not?",
        "A file (or link): `return found or [entry]`. A directory: `found.append(entry)`.",
    ),
    wrong=(
        Wrong(NO_WHITEOUT, "nothing here, whatever lies below"),
        Wrong(SKIPS_WHITEOUT, "nothing here, whatever lies below"),
        Wrong(FIRST_ONLY, "Directories are merged"),
        Wrong(ALL_FILES, "the topmost one is the only one"),
        Wrong(BELOW_A_DIRECTORY, "Below a directory a file is hidden"),
    ),
)
