"""users.be_root: become root of a new user namespace by writing its id maps."""

from __future__ import annotations

import os

from labcontainer import users
from labcontainer.kernel import files
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import LearnerError, Trial

HOLE = '''\
import os

from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import CLONE


def be_root() -> None:
    """An ordinary user becomes 0:0 inside a new user namespace; outside nothing changes."""
    uid, gid = os.getuid(), os.getgid()
    syscalls.unshare(CLONE.NEWUSER)
    ...
'''

SOLUTION = '''\
import os

from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import CLONE


def be_root() -> None:
    """An ordinary user becomes 0:0 inside a new user namespace; outside nothing changes."""
    uid, gid = os.getuid(), os.getgid()
    syscalls.unshare(CLONE.NEWUSER)
    files.write("/proc/self/setgroups", "deny")
    files.write("/proc/self/gid_map", f"0 {gid} 1")
    files.write("/proc/self/uid_map", f"0 {uid} 1")
'''

NO_DENY = SOLUTION.replace('    files.write("/proc/self/setgroups", "deny")\n', "")
TURNED = SOLUTION.replace('f"0 {uid} 1"', 'f"{uid} 0 1"')
ONLY_USER = SOLUTION.replace('    files.write("/proc/self/gid_map", f"0 {gid} 1")\n', "")
SAME_ID = SOLUTION.replace('f"0 {uid} 1"', 'f"{uid} {uid} 1"')
ASKED_LATE = SOLUTION.replace(
    "    uid, gid = os.getuid(), os.getgid()\n    syscalls.unshare(CLONE.NEWUSER)\n",
    "    syscalls.unshare(CLONE.NEWUSER)\n    uid, gid = os.getuid(), os.getgid()\n",
)


def check(trial: Trial) -> Outcome:
    try:
        return _check(trial)
    except LearnerError as error:
        return _refused(error.result.error) or _raise(error)


def _raise(error: LearnerError) -> Outcome:
    raise error


def _refused(text: str) -> Outcome | None:
    """A write that the kernel refused, and which of its rules that was."""
    if "cannot write" not in text or "_map" not in text:
        return None
    hint = "An ordinary user may put one id outside: the own one. INSIDE OUTSIDE COUNT."
    if f" {users.OVERFLOW_ID} " in text:
        hint = "Without a map you are nobody, 65534. Ask for your ids before you unshare."
    elif "gid_map" in text:
        hint = NO_DENY_HINT
    return not_yet(
        expected="the kernel takes both maps", observed=text, where="that write", hint=hint
    )


NO_DENY_HINT = "A group may be mapped only after `deny` went to /proc/self/setgroups."


def _check(trial: Trial) -> Outcome:
    outside = _outside(trial)
    with trial.hold("be_root", as_user=True) as process:
        inside = [process.ask(f"__import__('os').get{kind}()") for kind in ("uid", "gid")]
        if inside != [0, 0]:
            kind = "user" if inside[0] else "group"
            return not_yet(
                expected="user 0, group 0 inside",
                observed=f"user {inside[0]}, group {inside[1]} inside",
                where=f"the {kind} map",
                hint="65534 is nobody: an id that has no line in the map."
                if 65534 in inside
                else "A line reads: first id inside, first id outside, how many.",
            )
        about = os.stat(f"/proc/{process.pid}")
        if (about.st_uid, about.st_gid) != outside:
            return not_yet(
                expected=f"still {outside[0]}:{outside[1]} for who is outside",
                observed=f"{about.st_uid}:{about.st_gid}",
                where="the second column of the maps",
            )
        if process.read("setgroups") != "deny":
            return not_yet(
                expected="deny in /proc/PID/setgroups",
                observed=process.read("setgroups"),
                where="before the group map",
            )
    if files.read("/proc/self/setgroups") == "deny" and "setgroups" not in trial.code:
        # Denied for us all already, so the kernel could not complain.
        return not_yet(
            expected="setgroups is denied by you",
            observed="it was denied here before you came",
            where="before the group map",
            hint=NO_DENY_HINT,
        )
    return done("0:0 inside, the same ordinary user outside; the kernel's own maps say so")


def _outside(trial: Trial) -> tuple[int, int]:
    """Who the ordinary user is, seen from the check."""
    plain = trial.with_code("def be_root(): pass")
    with plain.hold("be_root", as_user=True) as process:
        about = os.stat(f"/proc/{process.pid}")
    return about.st_uid, about.st_gid


EXERCISE = Exercise(
    id="users.be_root",
    notebook="04_users",
    title="Become root in a namespace of your own",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "userns"),
    hints=(
        "Three files of /proc/self: setgroups, gid_map, uid_map, each written once.",
        'A map\'s line is "INSIDE OUTSIDE COUNT". You want 0 inside.',
        'files.write("/proc/self/uid_map", f"0 {uid} 1"), the same for the group, `deny` first.',
    ),
    wrong=(
        Wrong(NO_DENY, "only after `deny` went"),
        Wrong(TURNED, "the own one. INSIDE OUTSIDE COUNT"),
        Wrong(ONLY_USER, "the group map"),
        Wrong(SAME_ID, "first id inside, first id outside"),
        Wrong(ASKED_LATE, "Ask for your ids before"),
    ),
)
