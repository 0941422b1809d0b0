"""layers.mount: the kernel's union, by one mount."""

from __future__ import annotations

import errno
import os

from labcontainer import overlay, union
from labcontainer.lab.exercise import NOT_CHECKED, Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Held, Trial

HOLE = '''\
from labcontainer.kernel import syscalls
from labcontainer.overlay import Overlay


def mount(spec: Overlay, target: str) -> None:
    """Mount `spec.lowers` (the top one first) under `spec.upper` as one tree on `target`.

    Without an upper the tree is read-only. `spec.work` is an empty directory beside the upper.
    """
    options = ...
    syscalls.mount("overlay", target, "overlay", 0, options)
'''

_OPTIONS = """\
    words = ["lowerdir=" + ":".join(spec.lowers)]
    if spec.upper:
        words += [f"upperdir={spec.upper}", f"workdir={spec.work}"]
    if spec.user_xattr:
        words.append("userxattr")
    options = ",".join(words)
"""
SOLUTION = HOLE.replace("    options = ...\n", _OPTIONS)

UPSIDE_DOWN = SOLUTION.replace("spec.lowers)", "reversed(spec.lowers))")
NO_WORK = SOLUTION.replace(', f"workdir={spec.work}"', "")
ALWAYS_UPPER = SOLUTION.replace("if spec.upper:", "if True:")
NO_MARKS = SOLUTION.replace('    if spec.user_xattr:\n        words.append("userxattr")\n', "")

SCENE = """

def _scene(lowers, upper, work, marks, target):
    from labcontainer.overlay import Overlay

    mount(Overlay(tuple(lowers), upper, work, marks), target)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    if missing := _no_overlay(trial):
        return missing
    secret = trial.secret()
    base = trial.directory("base", {"both": "base", "old": "", "secret": secret, "dir/old": ""})
    top = trial.directory("top", {"both": "top"})
    upper, work, target = (trial.directory(name) for name in ("upper", "work", "target"))
    with trial.hold("_scene", [top, base], upper, work, True, target) as process:
        return (
            _mounted(process, target, secret)
            or _used(process, target, upper)
            or _still(trial, top, base)
        )


def _no_overlay(trial: Trial) -> Outcome | None:
    code = overlay.try_mount(trial.room, in_user_namespace=False)
    if code in (0, errno.EIO):  # EIO: no room for the marks of a directory, which are not needed
        return None
    return Outcome(NOT_CHECKED, text=f"no overlay can be mounted here: {os.strerror(code)}")


def _mounted(process: Held, target: str, secret: str) -> Outcome | None:
    mounts = [one for one in process.mounts() if one.point == target]
    if not mounts or mounts[-1].fstype != "overlay":
        return not_yet(
            expected=f"overlay on {target} in /proc/PID/mountinfo",
            observed=mounts[-1].fstype if mounts else "no mount there",
            where="the call of mount",
        )
    with open(process.inside(f"{target}/both")) as file:
        both = file.read()
    with open(process.inside(f"{target}/secret")) as file:
        word = file.read()
    if both != "top" or word != secret:
        return not_yet(
            expected="the file that both layers have is the top layer's",
            observed=f"it is the {both} layer's",
            where="lowerdir=",
            hint="The leftmost of lowerdir lies on top, as the first of spec.lowers does.",
        )
    if "userxattr" not in mounts[-1].options:
        return not_yet(
            expected="the option userxattr, as spec.user_xattr is true",
            observed=",".join(o for o in mounts[-1].options if "dir=" not in o),
            where="the options",
            hint="An ordinary user may not write trusted.* marks; userxattr takes user.* for them.",
        )
    return None


def _used(process: Held, target: str, upper: str) -> Outcome | None:
    try:
        os.unlink(process.inside(f"{target}/old"))
    except OSError as error:
        return not_yet(
            expected="a file of the tree can be removed",
            observed=f"{error.strerror}",
            where="upperdir= and workdir=",
            hint="Without upperdir and workdir the tree is read-only.",
        )
    if union.is_whiteout(f"{upper}/old"):
        return None
    return not_yet(expected="a whiteout in the upper directory", observed="none", where="upperdir=")


def _still(trial: Trial, top: str, base: str) -> Outcome:
    """The same layers without an upper: read-only."""
    view = trial.directory("view")
    found = trial.attempt("_scene", [top, base], "", "", True, view)
    if not found.returned:
        return not_yet(
            expected="a spec without an upper is mounted too, read-only",
            observed=found.error,
            where="the options when spec.upper is empty",
            hint="Leave both upperdir and workdir out when there is none.",
        )
    return done("mounted twice by the kernel: once with an upper, once read-only")


EXERCISE = Exercise(
    id="layers.mount",
    notebook="09_layers",
    title="Ask the kernel",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.overlay.mount",
    replaces="labcontainer.overlay.mount",
    check=check,
    needs=("sandbox",),
    errors=(
        (
            errno.ENOENT,
            "The kernel looks for a directory of that name. lowerdir is one text, `:` between.",
        ),
        (errno.EINVAL, "Does the kernel get workdir beside upperdir, and commas between?"),
    ),
    hints=(
        "A text of words with commas between: lowerdir=…,upperdir=…,workdir=…",
        "The lower directories stand with `:` between, the top one first.",
        "upperdir and workdir only if `spec.upper` is set; `userxattr` only if `spec.user_xattr`.",
    ),
    wrong=(
        Wrong(UPSIDE_DOWN, "The leftmost of lowerdir lies on top"),
        Wrong(NO_WORK, "workdir"),
        Wrong(ALWAYS_UPPER, "Leave both upperdir and workdir out"),
        Wrong(NO_MARKS, "An ordinary user may not write trusted"),
    ),
)
