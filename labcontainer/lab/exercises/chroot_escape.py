"""chroot.escape: root gets out of a chroot."""

from __future__ import annotations

import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os

from labcontainer import rootfs


def escape(jail: str) -> None:
    """Be locked in `jail`, and get out: `/` is the real root again at the end."""
    rootfs.enter_chroot(jail)
    os.mkdir("inner")
    ...
'''

SOLUTION = '''\
import os

from labcontainer import rootfs


def escape(jail: str) -> None:
    """Be locked in `jail`, and get out: `/` is the real root again at the end."""
    rootfs.enter_chroot(jail)
    os.mkdir("inner")
    os.chroot("inner")
    for _ in range(40):
        os.chdir("..")
    os.chroot(".")
'''

ONLY_CLIMBS = SOLUTION.replace('    os.chroot("inner")\n', "")
STAYS_LOCKED = SOLUTION.replace('    os.chroot(".")\n', "")
CLIMBS_FROM_INSIDE = SOLUTION.replace(
    '    os.chroot("inner")\n', '    os.chroot("inner")\n    os.chdir("/")\n'
)


def check(trial: Trial) -> Outcome:
    jail = trial.directory("jail", {"cell": None})
    secret = trial.secret()
    trial.directory("outside", {"treasure": secret})
    with trial.hold("escape", jail) as process:
        seen = os.readlink(f"/proc/{process.pid}/root")
        stands = os.readlink(f"/proc/{process.pid}/cwd")
        if seen == "/":
            return done("/proc/PID/root is the real root: the file that was out of reach is open")
        hint = (
            "`..` stops at the root directory of the process, so first the root must lie below"
            " where you stand: chroot into `inner` and stay outside of it."
        )
        if not stands.startswith(jail):
            hint = "You stand outside already. Make where you stand your root."
        elif seen.startswith(f"{jail}/"):
            hint = "You went into `inner` with your feet too: then `..` ends there. Don't chdir."
        return not_yet(
            expected="/proc/PID/root -> /",
            observed=f"/proc/PID/root -> {seen}, /proc/PID/cwd -> {stands}",
            where="the lines after mkdir",
            hint=hint,
        )


EXERCISE = Exercise(
    id="chroot.escape",
    notebook="02_chroot",
    title="Out of a chroot",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "The kernel stops `..` at one place only: the root directory of the process.",
        "chroot moves that place and leaves the working directory. Move it below you.",
        '`os.chroot("inner")`, no chdir; many times `os.chdir("..")`; `os.chroot(".")`.',
    ),
    wrong=(
        Wrong(ONLY_CLIMBS, "stops at the root directory of the process"),
        Wrong(STAYS_LOCKED, "Make where you stand your root"),
        Wrong(CLIMBS_FROM_INSIDE, "Don't chdir"),
    ),
)
