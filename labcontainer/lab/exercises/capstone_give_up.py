"""capstone.give_up: what a stranger must not have in its hands."""

from __future__ import annotations

import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer import capabilities, seccomp
from labcontainer.kernel import syscalls


def give_up(screen: seccomp.Program | None) -> None:
    """Let go of all that a stranger must not have: descriptors, capabilities, system calls.

    Every descriptor but 0, 1 and 2 is closed, all five sets are empty, no_new_privs is set, and if
    there is a `screen`, a seccomp program, this process is under it.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    syscalls.close_range(3)
    capabilities.apply_bounding(())
    capabilities.apply(capabilities.Sets(), no_new_privs=True)
    if screen is not None:
        seccomp.install(screen)
""",
)

OPEN = SOLUTION.replace("    syscalls.close_range(3)\n", "")
NO_BOUNDING = SOLUTION.replace("    capabilities.apply_bounding(())\n", "")
MAY_GAIN = SOLUTION.replace(", no_new_privs=True", "")
NO_SCREEN = SOLUTION.replace("seccomp.install(screen)", "pass")
BOUNDING_LAST = SOLUTION.replace("    capabilities.apply_bounding(())\n", "").replace(
    "    if screen", "    capabilities.apply_bounding(())\n    if screen"
)

# A child gives up and waits: its descriptor 0 is a pipe to us, which tells when it is through.
SCENE = """
def _scene():
    import os, signal
    reads, out = os.pipe()
    screen = seccomp.compile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]})
    pid = os.fork()
    if pid == 0:
        os.dup2(out, 0)
        kept = [os.dup(0) for _ in range(4)]
        try:
            give_up(screen)
            os.write(0, b"through")
            signal.pause()
        except BaseException as error:
            os.write(0, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os.close(out)
    return [pid, os.read(reads, 4096).decode()]
"""
SETS = ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")
HINTS = {
    "descriptors": "A stranger would inherit them. `syscalls.close_range(3)`.",
    "CapBnd": "What is in the bounding set can come back by an exec, or in a new user namespace. "
    "`capabilities.apply_bounding(())`.",
    "NoNewPrivs": "A set-uid program would give it rights again: no_new_privs. Nor takes the "
    "kernel a filter from who has no right and has not promised that.",
    "order": "Each line takes a right away, which the next one may need. Dropping from the "
    "bounding set needs CAP_SETPCAP.",
    "Seccomp": "Two means that a filter is there. `seccomp.install(screen)`.",
}


def check(trial: Trial) -> Outcome:
    with trial.with_code(trial.code + SCENE).hold("_scene") as process:
        pid, said = process.value
        if said != "through":
            return not_yet(
                expected="`give_up` returns",
                observed=said or "it ended",
                where="the order of the lines",
                hint=HINTS["NoNewPrivs" if "seccomp(" in said else "order"],
            )
        with open(f"/proc/{pid}/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        opened = sorted(map(int, os.listdir(f"/proc/{pid}/fd")))
    facts = {"descriptors": (str([0, 1, 2]), str(opened))}
    facts |= {name: ("0" * 16, status[name]) for name in SETS}
    facts |= {"NoNewPrivs": ("1", status["NoNewPrivs"]), "Seccomp": ("2", status["Seccomp"])}
    for name, (wanted, seen) in facts.items():
        if wanted != seen:
            return not_yet(
                expected=f"{name} {wanted}",
                observed=f"{name} {seen}",
                where="`give_up`",
                hint=HINTS.get(name, "`capabilities.apply(capabilities.Sets(), …)`"),
            )
    return done("three descriptors, no capability, a filter")


EXERCISE = Exercise(
    id="capstone.give_up",
    notebook="21_capstone",
    title="Empty hands",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.lab.capstone.give_up",
    check=check,
    needs=("sandbox",),
    hints=(
        "Descriptors, bounding set, the other four sets with no_new_privs, filter: in this order.",
        "`capabilities.Sets()` is five empty sets. `capabilities.apply(sets, no_new_privs=True)`.",
        (
            "`close_range(3)`, `apply_bounding(())`, `apply(Sets(), no_new_privs=True)`, and "
            "`seccomp.install(screen)` if there is one."
        ),
    ),
    wrong=(
        Wrong(OPEN, "would inherit them"),
        Wrong(NO_BOUNDING, "can come back"),
        Wrong(MAY_GAIN, "set-uid program"),
        Wrong(NO_SCREEN, "a filter is there"),
        Wrong(BOUNDING_LAST, "needs CAP_SETPCAP"),
    ),
)
