"""layers.after: what rm, mv and >> leave in the upper directory."""

from __future__ import annotations

import errno
import os
import subprocess

from labcontainer import overlay, union
from labcontainer.kernel import syscalls
from labcontainer.lab.exercise import NOT_CHECKED, Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial
from labcontainer.overlay import Overlay

HOLE = '''\
def after(removed: str, old: str, new: str, appended: str, own: str) -> dict[str, str]:
    """The upper directory's entries in `etc`: name -> "file" or "whiteout".

    It was empty, and `removed`, `old` and `appended` were files of the lower layer's etc. Then:

        rm etc/$removed
        mv etc/$old etc/$new
        echo more >> etc/$appended
        echo x > etc/$own; rm etc/$own
    """
    return {removed: ..., old: ..., new: ..., appended: ...}
'''

SOLUTION = HOLE.replace(
    "{removed: ..., old: ..., new: ..., appended: ...}",
    '{removed: "whiteout", old: "whiteout", new: "file", appended: "file"}',
)

ONE_WHITEOUT = SOLUTION.replace('old: "whiteout", ', "")
ONLY_NEWS = SOLUTION.replace('removed: "whiteout", old: "whiteout", ', "")
OWN_TOO = SOLUTION.replace('appended: "file"}', 'appended: "file", own: "whiteout"}')
NOT_APPENDED = SOLUTION.replace(', appended: "file"}', "}")

COMMANDS = """
rm etc/$removed
mv etc/$old etc/$new
echo more >> etc/$appended
echo x > etc/$own; rm etc/$own
"""


def check(trial: Trial) -> Outcome:
    names = {
        role: f"{role[:3]}-{trial.token(role)[:4]}"
        for role in ("removed", "old", "new", "appended", "own")
    }
    code = overlay.try_mount(trial.room, in_user_namespace=False)
    if code not in (0, errno.EIO):  # EIO: no room for a directory's marks; none is needed here
        return Outcome(NOT_CHECKED, text=f"no overlay can be mounted here: {os.strerror(code)}")
    said = trial.call("after", *names.values())
    seen = _by_the_kernel(trial, names)
    if said == seen:
        return done("as the kernel's overlay does it, entry for entry")
    for role, name in names.items():
        found = said.get(name, "nothing") if isinstance(said, dict) else "no dictionary"
        if found != seen.get(name, "nothing"):
            return not_yet(
                expected=f"`{role}` in the upper directory: {seen.get(name, 'nothing')}",
                observed=f"you say: {found}",
                where=f"the entry of `{role}`",
                hint=HINTS[role],
            )
    return not_yet(expected=str(seen), observed=str(said), where="the keys")


HINTS = {
    "removed": "The lower layer is never written: what hides its file?",
    "old": "A rename is a copy up under the new name. And the lower file under the old name?",
    "new": "A name that no lower layer has: it can only be in the upper one.",
    "appended": "To add five bytes the whole file is copied up first.",
    "own": "It was in the upper directory alone, so nothing had to be hidden.",
}


def _by_the_kernel(trial: Trial, names: dict[str, str]) -> dict[str, str]:
    lower = trial.directory(
        "lower", {f"etc/{names[role]}": role for role in ("removed", "old", "appended")}
    )
    upper, work, merged = (trial.directory(name) for name in ("upper", "work", "merged"))
    overlay.mount(Overlay((lower,), upper, work, user_xattr=not trial.privileged), merged)
    trial.undo.push(syscalls.umount2, merged, 0)
    subprocess.run(["/bin/sh", "-ec", COMMANDS], cwd=merged, env=os.environ | names, check=True)
    folder = f"{upper}/etc"
    return {
        name: "whiteout" if union.is_whiteout(f"{folder}/{name}") else "file"
        for name in os.listdir(folder)
    }


EXERCISE = Exercise(
    id="layers.after",
    notebook="09_layers",
    title="Predict the upper directory",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Ask for each name: must something of the lower layer be hidden, or shown otherwise?",
        "rm hides: a whiteout. mv is a copy up and a whiteout. >> is a copy up.",
        "`own` was never in the lower layer: it leaves nothing, so it has no key.",
    ),
    wrong=(
        Wrong(ONE_WHITEOUT, "the lower file under the old name"),
        Wrong(ONLY_NEWS, "what hides its file"),
        Wrong(OWN_TOO, "nothing had to be hidden"),
        Wrong(NOT_APPENDED, "the whole file is copied up first"),
    ),
)
