"""chroot.prepare: what pivot_root wants first: a mount point, and no shared mounts."""

from __future__ import annotations

from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer import namespaces
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS


def prepare(root: str) -> None:
    """In a new mount namespace: no mount event gets out, and `root` is a mount point."""
    namespaces.unshare(("mount",))
    ...
'''

SOLUTION = '''\
from labcontainer import namespaces
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import MS


def prepare(root: str) -> None:
    """In a new mount namespace: no mount event gets out, and `root` is a mount point."""
    namespaces.unshare(("mount",))
    syscalls.mount(None, "/", None, MS.PRIVATE | MS.REC)
    syscalls.mount(root, root, None, MS.BIND | MS.REC)
'''

_PRIVATE = '    syscalls.mount(None, "/", None, MS.PRIVATE | MS.REC)\n'
_BIND = "    syscalls.mount(root, root, None, MS.BIND | MS.REC)\n"
STAYS_SHARED = SOLUTION.replace(_PRIVATE, "")
NO_BIND = SOLUTION.replace(_BIND, "")
TOO_LATE = SOLUTION.replace(_PRIVATE + _BIND, _BIND + _PRIVATE)
ONLY_TOP = SOLUTION.replace("MS.PRIVATE | MS.REC", "MS.PRIVATE")


def _points(mountinfo: str) -> dict[str, list[str]]:
    """Mount point -> the words about its propagation."""
    return {row[4]: row[6 : row.index("-")] for row in map(str.split, mountinfo.splitlines())}


def check(trial: Trial) -> Outcome:
    root = trial.directory("root", {"flag": trial.token("inside")})
    syscalls.mount(None, "/", None, MS.SHARED | MS.REC)  # as systemd leaves a machine
    with trial.hold("prepare", root) as process:
        inside = _points(process.read("mountinfo"))
    shared = [point for point, words in inside.items() if "shared" in str(words)]
    if shared:
        return not_yet(
            expected="no `shared:` in /proc/PID/mountinfo",
            observed=f"`shared:` at {shared[0]} and {len(shared) - 1} more",
            where="the call about `/`",
            hint=STILL_SHARED if "/" in shared else BELOW_STILL_SHARED,
        )
    if root in _points(trial.mountinfo()):
        return not_yet(
            expected=f"{root} is a mount point in the new namespace only",
            observed="it is one in the namespace outside too",
            where="the order of your two calls",
            hint="A mount made while `/` is still shared is made in every peer. Cut first.",
        )
    if root not in inside:
        return not_yet(
            expected=f"a mount at {root} in /proc/PID/mountinfo",
            observed="none",
            where="the call about `root`",
            hint="pivot_root answers EINVAL for a directory that is no mount point. A bind mount of"
            " a directory on itself makes it one.",
        )
    return done("`root` is a mount point there, and nothing of it shows outside")


STILL_SHARED = (
    "unshare copies the mounts, and shared ones stay in touch with their copies."
    " mount(None, path, None, MS.PRIVATE | MS.REC) cuts that."
)
BELOW_STILL_SHARED = "MS.PRIVATE alone changes one mount. With MS.REC it changes all below it too."

EXERCISE = Exercise(
    id="chroot.prepare",
    notebook="02_chroot",
    title="A mount point that nobody else sees",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "mount"),
    hints=(
        "Two calls of mount(2): one about `/`, one about `root`; the order matters.",
        "`syscalls.mount(None, path, None, flags)` sets propagation; MS.REC means all below.",
        "`syscalls.mount(root, root, None, MS.BIND | MS.REC)` makes a directory a mount point.",
    ),
    wrong=(
        Wrong(STAYS_SHARED, "stay in touch"),
        Wrong(NO_BIND, "a directory on itself makes it one"),
        Wrong(TOO_LATE, "Cut first"),
        Wrong(ONLY_TOP, "With MS.REC it changes all below"),
    ),
)
