"""layers.remove: remove a file of a union, so that it stays away."""

from __future__ import annotations

import errno
import os

from labcontainer import union
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os

from labcontainer.union import make_whiteout


def remove(upper: str, path: str, below: bool) -> None:
    """Remove the file `path` of a union. `below`: a lower layer has something there too."""
    target = f"{upper}/{path}"
    if os.path.lexists(target):
        os.unlink(target)
    ...
'''

_WHITEOUT = (
    "    if below:\n"
    "        os.makedirs(os.path.dirname(target), exist_ok=True)\n"
    "        make_whiteout(target)\n"
)
SOLUTION = HOLE.replace("    ...\n", _WHITEOUT)

ONLY_UNLINK = SOLUTION.replace(_WHITEOUT, "    return\n")
ALWAYS = SOLUTION.replace("if below:", "if True:")
EMPTY_FILE = SOLUTION.replace("make_whiteout(target)", 'open(target, "w").close()')
NO_PARENTS = SOLUTION.replace("        os.makedirs(os.path.dirname(target), exist_ok=True)\n", "")


def check(trial: Trial) -> Outcome:
    name = trial.token("name")
    lower = trial.directory("lower", {f"etc/{name}": "below", "var/changed": "below"})
    upper = trial.directory("upper", {"var/changed": "above", "tmp/own": "only above"})
    tree = union.Union((lower,), upper, user_xattr=True)
    for path, below in (("var/changed", True), (f"etc/{name}", True), ("tmp/own", False)):
        trial.call("remove", upper, path, below)
        if tree.exists(path):
            return _still_there(tree, path)
    if os.path.lexists(f"{upper}/tmp/own"):
        return not_yet(
            expected="nothing in the upper directory at tmp/own",
            observed="a whiteout",
            where="where the whiteout is made",
            hint="No lower layer has tmp/own: a whiteout there hides nothing.",
        )
    if tree.listdir("etc") or not os.path.exists(f"{lower}/etc/{name}"):
        return not_yet(
            expected="an untouched lower layer, and its file hidden",
            observed=f"lower: {os.listdir(f'{lower}/etc')}",
            where="what you remove",
        )
    return done("all three are gone, and the lower layer is as it was")


def _still_there(tree: union.Union, path: str) -> Outcome:
    entry = tree.find(path)[0]
    in_upper = entry.startswith(tree.upper)
    return not_yet(
        expected=f"the union shows no {path}",
        observed=f"it shows {'the upper' if in_upper else 'the lower'} layer's",
        where="after the unlink",
        hint="A whiteout is a character device 0:0, not an empty file: that would show as one."
        if in_upper
        else "The file of the lower layer comes back. What must lie above it?",
    )


EXERCISE = Exercise(
    id="layers.remove",
    notebook="09_layers",
    title="Remove, and leave a whiteout",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    errors=((errno.ENOENT, "The upper directory may have no etc yet: make it first."),),
    hints=(
        "What is only in the upper directory is gone after unlink. And the rest?",
        "If `below`, leave a whiteout in the upper directory, where the file would be.",
        "`os.makedirs(os.path.dirname(target), exist_ok=True)`, then `make_whiteout(target)`.",
    ),
    wrong=(
        Wrong(ONLY_UNLINK, "comes back"),
        Wrong(ALWAYS, "hides nothing"),
        Wrong(EMPTY_FILE, "an empty file"),
        Wrong(NO_PARENTS, "may have no etc yet"),
    ),
)
