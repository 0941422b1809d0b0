"""namespaces.own_name: a host name for one process, and not for the machine."""

from __future__ import annotations

import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Held, Trial

HOLE = '''\
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE


def own_name(name: str) -> None:
    """Give this process a host name of its own; everybody else keeps theirs."""
    ...
'''

SOLUTION = '''\
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE


def own_name(name: str) -> None:
    """Give this process a host name of its own; everybody else keeps theirs."""
    syscalls.unshare(CLONE.NEWUTS)
    syscalls.sethostname(name)
'''

FOR_ALL = SOLUTION.replace("    syscalls.unshare(CLONE.NEWUTS)\n", "")
NO_NAME = SOLUTION.replace("    syscalls.sethostname(name)\n", "")
OTHER_KIND = SOLUTION.replace("CLONE.NEWUTS", "CLONE.NEWIPC")
TOO_LATE = FOR_ALL + "    syscalls.unshare(CLONE.NEWUTS)\n"
TOO_MUCH = SOLUTION.replace("CLONE.NEWUTS", "CLONE.NEWUTS | CLONE.NEWNS")


def check(trial: Trial) -> Outcome:
    name, before = trial.token("name"), os.uname().nodename
    with trial.hold("own_name", name) as process:
        if os.uname().nodename != before:
            return _changed_for_all(process)
        inside = process.ask("__import__('os').uname().nodename")
        theirs, ours = process.namespaces(), trial.namespaces()
        if theirs["uts"] == ours["uts"]:
            return not_yet(
                expected="another namespace behind /proc/PID/ns/uts",
                observed="the one that everybody is in",
                where="the flag of unshare",
                hint="The host name belongs to the UTS namespace: CLONE.NEWUTS.",
            )
        if inside != name:
            return not_yet(
                expected=f"the process is called {name}",
                observed=f"it is called {inside}",
                where="the line after unshare",
                hint="A new UTS namespace begins with a copy of the old name. Set yours.",
            )
        more = sorted(kind for kind in ours if kind != "uts" and theirs[kind] != ours[kind])
        if more:
            return not_yet(
                expected="a new UTS namespace and nothing else",
                observed=f"new too: {', '.join(more)}",
                where="the flag of unshare",
                hint="One kind of isolation at a time: what else you asked for was not needed.",
            )
    return done("/proc/PID/ns/uts has another number, and the name is in there alone")


def _own() -> dict[str, int]:
    return {kind: os.stat(f"/proc/self/ns/{kind}").st_ino for kind in os.listdir("/proc/self/ns")}


def _changed_for_all(process: Held) -> Outcome:
    alone = process.namespaces()["uts"] != _own()["uts"]
    return not_yet(
        expected="the name of everybody else stays",
        observed="every process outside is called that now",
        where="the order of the two calls" if alone else "before sethostname",
        hint="You named the old namespace, then left it: leave first."
        if alone
        else "sethostname names the UTS namespace that you are in. Get one of your own first.",
    )


EXERCISE = Exercise(
    id="namespaces.own_name",
    notebook="03_namespaces",
    title="A name of one's own",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Two calls: one leaves a namespace for a new one, one sets the name.",
        "`syscalls.unshare(flag)` takes the kind of namespace; the names are in `CLONE`.",
        "`syscalls.unshare(CLONE.NEWUTS)`, then `syscalls.sethostname(name)`.",
    ),
    wrong=(
        Wrong(FOR_ALL, "Get one of your own first"),
        Wrong(NO_NAME, "begins with a copy of the old name"),
        Wrong(OTHER_KIND, "every process outside is called that now"),
        Wrong(TOO_LATE, "You named the old namespace"),
        Wrong(TOO_MUCH, "new too: mnt"),
    ),
)
