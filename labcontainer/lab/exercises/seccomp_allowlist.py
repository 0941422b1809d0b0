"""seccomp.allowlist: a profile from what a program was seen to call."""

from __future__ import annotations

from typing import Any

from labcontainer import seccomp
from labcontainer.errors import LabError
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import re


def allowlist(trace: list[str]) -> dict:
    """An OCI profile that allows what a trace by strace -f shows, and answers the rest with EPERM.

    Lines that begin with --- or +++ tell of signals and ends, and name no call.
    """
    names = ...
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }
'''

SOLUTION = HOLE.replace(
    "names = ...",
    """names = sorted(
        {found[1] for line in trace if (found := re.match(r"(?:\\[pid \\d+\\] )?(\\w+)\\(", line))}
    )""",
)

NO_PID = SOLUTION.replace("(?:\\[pid \\d+\\] )?", "")
FIRST_WORD = HOLE.replace(
    "names = ...", 'names = sorted({line.split("(")[0].split()[-1] for line in trace})'
)
EVERYTHING = SOLUTION.replace("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW")

CALLS = {
    "openat": 'openat(AT_FDCWD, "/etc/page(1)", O_RDONLY) = 3',
    "read": 'read(3, "exit(0) is no call here", 4096) = 23',
    "clone3": "clone3({flags=CLONE_VM}, 88) = 12",
    "write": '[pid 12] write(1, "hello", 5) = 5',
    "futex": "[pid 12] futex(0x7f00, FUTEX_WAIT, 1, NULL <unfinished ...>",
    "close": "close(3) = 0",
    "exit_group": "exit_group(0) = ?",
}


def check(trial: Trial) -> Outcome:
    more = trial.choice("more", ["mkdirat", "unlinkat", "fchmodat"])
    wanted = {*CALLS, more}
    trace = [
        *CALLS.values(),
        f'{more}(AT_FDCWD, "x") = 0',
        "[pid 12] <... futex resumed>) = 0",
        "--- SIGCHLD {si_signo=SIGCHLD, si_status=exit(0)} ---",
        "+++ exited with 0 +++",
    ]
    profile: Any = trial.call("allowlist", trace)
    if profile.get("defaultAction") != "SCMP_ACT_ERRNO":
        return not_yet(
            expected="the rest is refused: SCMP_ACT_ERRNO",
            observed=str(profile.get("defaultAction")),
            where="defaultAction",
            hint="A list of what is allowed is worth something only if the rest is not.",
        )
    names = {name for rule in profile["syscalls"] for name in rule["names"]}
    if names != wanted:
        missing, extra = sorted(wanted - names), sorted(names - wanted)
        return not_yet(
            expected=f"{len(wanted)} calls: {', '.join(sorted(wanted))}",
            observed=(f"missing: {', '.join(missing)}; " if missing else "")
            + (f"no call of the trace: {', '.join(extra)[:60]}" if extra else ""),
            where="`names`",
            hint="A line of another process begins with [pid N]: the name comes after it."
            if missing
            else "Only `name(` at the beginning of a line is a call.",
        )
    try:
        count = len(seccomp.compile(profile).instructions)
    except LabError as error:
        return not_yet(expected="a profile that compiles", observed=str(error), where="the profile")
    return done(f"{len(names)} calls, {count} instructions", f"{len(names)} calls allowed")


EXERCISE = Exercise(
    id="seccomp.allowlist",
    notebook="07_seccomp",
    title="A profile from a trace",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "seccomp"),
    hints=(
        "The name stands before the first `(`, at the line's beginning or after [pid N].",
        "A regular expression with an optional part: `(?:\\[pid \\d+\\] )?(\\w+)\\(`.",
        "`re.match` looks at the beginning alone; a set keeps each name once; sort it.",
    ),
    wrong=(
        Wrong(NO_PID, "the name comes after it"),
        Wrong(FIRST_WORD, "at the beginning of a line"),
        Wrong(EVERYTHING, "only if the rest is not"),
    ),
)
