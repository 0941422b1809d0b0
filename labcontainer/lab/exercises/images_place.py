"""images.place: where a member of a stranger's archive may be written."""

from __future__ import annotations

import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os


def place(root: str, name: str) -> str:
    """The path at which the member `name` of an archive is written, below `root`.

    ValueError if it would lie outside: by `..`, or by a symbolic link unpacked before it.
    A leading `/` means the root's own, as in Docker.
    """
    root = os.path.realpath(root)
    path = f"{root}/{name.lstrip('/')}"
    ...
    return path
'''

_CHECK = """\
    folder = os.path.realpath(os.path.dirname(path))
    if folder != root and not folder.startswith(root + "/"):
        raise ValueError(f"{name}: leads out of the root")
    if os.path.basename(path) in ("", ".", ".."):
        raise ValueError(f"{name}: no name of a file")
"""
SOLUTION = HOLE.replace("    ...\n", _CHECK)

NO_CHECK = SOLUTION.replace(_CHECK, "    path = os.path.join(path)\n")
ONLY_DOTS = SOLUTION.replace(
    _CHECK, '    if ".." in name.split("/"):\n        raise ValueError(name)\n'
)
PREFIX = SOLUTION.replace('root + "/")', "root)")
NO_ABSOLUTE = SOLUTION.replace(
    _CHECK, '    if name.startswith("/"):\n        raise ValueError(name)\n' + _CHECK
)

SCENE = """

def _write(root, name, text):
    try:
        path = place(root, name)
    except ValueError:
        return "refused"
    import os
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w") as file:
        file.write(text)
    return "written"
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    secret = trial.secret()
    outside = trial.directory("outside", {"passwd": "untouched"})
    beside = trial.directory("root-beside", {"passwd": "untouched"})
    root = trial.directory("root", {"usr/bin/sh": "", "etc": None})
    os.symlink(outside, f"{root}/way")
    os.symlink("usr/bin", f"{root}/bin")
    for name, where, what in (
        ("etc/motd", "etc/motd", "an ordinary member"),
        ("/etc/issue", "etc/issue", "a leading / means the root's own"),
        ("bin/tool", "usr/bin/tool", "a link that stays inside is what every image has"),
        ("a/b/c", "a/b/c", "directories that are not there yet are made"),
    ):
        said = trial.call("_write", root, name, secret)
        if said != "written" or not os.path.exists(f"{root}/{where}"):
            return not_yet(
                expected=f"{name} is written to {where}",
                observed=said,
                where="`place`",
                hint=f"Too strict: {what}.",
            )
    return _attacks(trial, root, (outside, beside), secret)


def _attacks(trial: Trial, root: str, others: tuple[str, ...], secret: str) -> Outcome:
    for name, hint in (
        ("../outside/passwd", "`..` climbs out of the root."),
        ("etc/../../outside/new", "`..` climbs out of the root, from further down too."),
        ("way/passwd", "No `..` in it: `way` is a symbolic link to elsewhere. os.path.realpath."),
        ("../root-beside/passwd", "`/mnt/root-beside` begins with `/mnt/root` and lies beside it."),
    ):
        trial.attempt("_write", root, name, secret)
        for folder in others:
            for one in os.listdir(folder):
                with open(f"{folder}/{one}") as file:
                    if secret in file.read():
                        return not_yet(
                            expected="ValueError, and nothing written outside",
                            observed=f"the member {name} wrote {folder.replace('/mnt/', '')}/{one}",
                            where="`place`",
                            hint=hint,
                        )
    return done("four ways out are closed, and honest members go where they belong")


EXERCISE = Exercise(
    id="images.place",
    notebook="10_images",
    title="Where a stranger's file may go",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "It is the directory that matters: where does it really lie, links followed?",
        "`os.path.realpath(os.path.dirname(path))` says it.",
        "It must be the root, or begin with the root and a slash; else raise ValueError.",
    ),
    wrong=(
        Wrong(NO_CHECK, "climbs out of the root"),
        Wrong(ONLY_DOTS, "a symbolic link to elsewhere"),
        Wrong(PREFIX, "lies beside it"),
        Wrong(NO_ABSOLUTE, "a leading / means the root's own"),
    ),
)
