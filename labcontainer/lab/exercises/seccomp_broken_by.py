"""seccomp.broken_by: why a program fails under a filter."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def broken_by(profile: dict, calls: list[list]) -> str:
    """The first call that the filter refused and not the kernel itself; "" if there is none.

    A call is [name, errno]; errno 0 means that it went well. The filter answers with 1 (EPERM)
    whatever no rule of the profile allows. The kernel says 1 by itself sometimes, too.
    """
    allowed = {name for rule in profile["syscalls"] for name in rule["names"]}
    for name, errno in calls:
        ...
    return ""
'''

SOLUTION = HOLE.replace(
    "        ...\n",
    "        if errno == 1 and name not in allowed:\n            return name\n",
)

ANY_ERROR = SOLUTION.replace("errno == 1 and", "errno and")
ONLY_ERRNO = SOLUTION.replace(" and name not in allowed", "")
LAST = HOLE.replace(
    '        ...\n    return ""\n',
    "        if errno == 1 and name not in allowed:\n            found = name\n    return found\n",
).replace("    for name, errno", '    found = ""\n    for name, errno')


def check(trial: Trial) -> Outcome:
    refused = trial.choice("refused", ["clone3", "statx", "faccessat2"])
    rule = {"names": ["openat", "read", "chown", "kill"], "action": "SCMP_ACT_ALLOW"}
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}
    for calls, wanted, hint in (
        ([["openat", 2], [refused, 1]], refused,
         "ENOENT (2) is the kernel's own word; programs look for files that are not there."),
        ([["openat", 0], ["ioctl", 25], ["read", 0]], "",
         "25 (ENOTTY) is no answer of this filter: it always says 1."),
        ([["chown", 1], ["read", 0], [refused, 1]], refused,
         "chown is allowed by the filter: it was the kernel that said EPERM."),
        ([[refused, 1], ["close", 1]], refused, "What comes later follows from the first."),
        ([["openat", 0], ["read", 0]], "", "Nothing was refused: an empty text."),
    ):  # fmt: skip
        found = trial.call("broken_by", profile, calls)
        if found != wanted:
            return not_yet(
                expected=f"{calls}: {wanted!r}",
                observed=repr(found),
                where="the condition",
                hint=hint,
            )
    return done("five programs, and each time the one that said no")


EXERCISE = Exercise(
    id="seccomp.broken_by",
    notebook="07_seccomp",
    title="What the filter broke",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Two things must be so: the answer is the filter's, and it does not allow the call.",
        "The filter's answer is errno 1; what it allows is in `allowed`.",
        "`if errno == 1 and name not in allowed: return name`.",
    ),
    wrong=(
        Wrong(ANY_ERROR, "is no answer of this filter"),
        Wrong(ONLY_ERRNO, "it was the kernel that said EPERM"),
        Wrong(LAST, "follows from the first"),
    ),
)
