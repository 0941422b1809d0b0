"""capabilities.after_exec: what a program has when it begins."""

from __future__ import annotations

import subprocess

from labcontainer import capabilities
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import PR
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def after_exec(bounding: set, inheritable: set, ambient: set, root: bool) -> set:
    """The effective set of an ordinary program after execve, from the sets of who executes it.

    For root the bounding and inheritable sets count, for everybody else the ambient set alone.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    "    if root:\n        return bounding | inheritable\n    return ambient\n",
)

ALWAYS_BOUND = SOLUTION.replace("    return ambient\n", "    return bounding & inheritable\n")
ALWAYS_AMBIENT = SOLUTION.replace("bounding | inheritable", "ambient")
BOTH = SOLUTION.replace("bounding | inheritable", "bounding & inheritable")

SCENE = """

def _after(bounding, inheritable, ambient, root):
    return sorted(after_exec(set(bounding), set(inheritable), set(ambient), root))
"""
NO_ROOT = 1  # SECBIT_NOROOT: uid 0 is nobody special at an exec, capabilities(7)


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    some = trial.random().sample([one for one in capabilities.DEFAULT if one != "CAP_SETPCAP"], 4)
    cases = [
        (some, [], [], True, "Root's programs get all that the bounding set has."),
        (some, [], [], False, "An ordinary user's program gets nothing from the bounding set."),
        (some, some[:2], [], False, "Inheritable alone gives nothing to an ordinary program."),
        (some, some[:2], some[:1], False, "The ambient set is what an ordinary user passes on."),
        (some, some[:2], some[:1], True, "For root the bounding set counts, whatever is ambient."),
    ]
    for bounding, inheritable, ambient, root, hint in cases:
        said = trial.call("_after", bounding, inheritable, ambient, root)
        seen = sorted(_by_the_kernel(bounding, inheritable, ambient, root))
        if said != seen:
            who = "root" if root else "an ordinary user"
            return not_yet(
                expected=f"{who}'s program has {', '.join(seen) or 'none'}",
                observed=", ".join(said) or "none",
                where=f"bounding {len(bounding)}, inheritable {len(inheritable)}, "
                f"ambient {len(ambient)}",
                hint=hint,
            )
    return done("five programs were started, and each had what you said")


def _by_the_kernel(
    bounding: list[str], inheritable: list[str], ambient: list[str], root: bool
) -> tuple[str, ...]:
    """Execute a program with these sets, and read its own from /proc."""

    def become() -> None:
        capabilities.apply_bounding(bounding)
        if not root:
            syscalls.prctl(PR.SET_SECUREBITS, NO_ROOT)
        sets = {"inheritable": tuple(inheritable), "ambient": tuple(ambient)}
        full = tuple(bounding)
        capabilities.apply(capabilities.Sets(full, full, full, **sets))

    ended = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True,
                           preexec_fn=become, check=True)  # fmt: skip
    return capabilities.names(int(ended.stdout.partition("CapEff:\t")[2].split()[0], 16))


EXERCISE = Exercise(
    id="capabilities.after_exec",
    notebook="06_capabilities",
    title="What outlives an exec",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Two cases: root, and everybody else.",
        "For root: all of the bounding set, and what is inheritable.",
        "For everybody else: what is ambient. `|` puts two sets together.",
    ),
    wrong=(
        Wrong(ALWAYS_BOUND, "Inheritable alone gives nothing"),
        Wrong(ALWAYS_AMBIENT, "all that the bounding set has"),
        Wrong(BOTH, "all that the bounding set has"),
    ),
)
