"""breakouts.rules: no new user namespace, by the fewest system calls."""

from __future__ import annotations

from typing import Any

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
NEWUSER = 0x10000000  # CLONE_NEWUSER, linux/sched.h


def rules() -> list[dict]:
    """Rules of a seccomp profile that allows all else: nobody makes a user namespace.

    Threads, children and CLONE_FILES go on. The score is how many calls are named.
    """
    refuse = {"action": "SCMP_ACT_ERRNO", "errnoRet": 1}  # EPERM
    unknown = {"action": "SCMP_ACT_ERRNO", "errnoRet": 38}  # ENOSYS
    has_flag = {"index": 0, "value": NEWUSER, "valueTwo": NEWUSER, "op": "SCMP_CMP_MASKED_EQ"}
    return [
        ...
    ]
'''

_UNSHARE = '        {"names": ["unshare", "clone"], "args": [has_flag], **refuse},\n'
_CLONE3 = '        {"names": ["clone3"], **unknown},\n'
SOLUTION = HOLE.replace("        ...\n", _UNSHARE + _CLONE3)

ONLY_UNSHARE = SOLUTION.replace(', "clone"', "").replace(_CLONE3, "")
NO_CLONE3 = SOLUTION.replace(_CLONE3, "")
FORBIDDEN = SOLUTION.replace("**unknown", "**refuse")
ALL_CLONES = SOLUTION.replace('["unshare", "clone"], "args": [has_flag],', '["unshare", "clone"],')
ALL_UNSHARES = SOLUTION.replace(
    _UNSHARE,
    '        {"names": ["unshare"], **refuse},\n'
    '        {"names": ["clone"], "args": [has_flag], **refuse},\n',
)

SCENE = """

from labcontainer.lab import attacks_kernel, box

def _tried(treasure):
    box.furnish(treasure)
    return attacks_kernel.root_again(rules)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    named = {name for rule in trial.value("rules") for name in rule["names"]}
    found: dict[str, Any] = trial.call("_tried", trial.secret(), timeout=20)
    told = dict(part.split(": ") for part in found["told"].split(", "))
    open_ways = [name for name, answer in told.items() if answer == "all rights"]
    if open_ways:
        hints = {
            "unshare": "unshare makes namespaces for the caller; its flags are its first argument.",
            "clone": "clone makes them for the child, by the same flag in its first argument.",
            "clone3": "clone3's flags are behind a pointer, where no filter can look: "
            "there must be no clone3.",
        }
        return not_yet(
            expected="CapEff 0 in every child",
            observed=f"all rights by {', '.join(open_ways)}",
            where="the rules",
            hint=hints[open_ways[0]],
        )
    if not found["honest"]:
        return _broken(found["answer"], told)
    return done("three ways into a new user namespace, all closed", f"{len(named)} calls named")


def _broken(answer: str, told: dict[str, str]) -> Outcome:
    hint = "Threads and children are made by clone, too: refuse it with the flag only."
    if told["clone3"] == "Operation not permitted":
        hint = "EPERM says: you may not. Told ENOSYS, the C library takes the older clone."
    elif told["clone"] == "Operation not permitted" and "start new thread" not in answer:
        hint = "unshare has honest uses: refuse it with the flag only."
    return not_yet(
        expected="a thread, a child, unshare(CLONE_FILES), and clone3 missing but not forbidden",
        observed=answer or "the program was killed",
        where="the rules",
        hint=hint,
    )


EXERCISE = Exercise(
    id="breakouts.rules",
    notebook="19_breakouts",
    title="Not root again",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "seccomp"),
    seconds=45,
    hints=(
        "unshare, clone, clone3 make namespaces. Only two of them show a filter their flags.",
        '`{"names": […], "args": [has_flag], **refuse}` for the two.',
        '`{"names": ["clone3"], **unknown}` for the third: ENOSYS, "there is no such call".',
    ),
    wrong=(
        Wrong(ONLY_UNSHARE, "clone makes them for the child"),
        Wrong(NO_CLONE3, "behind a pointer"),
        Wrong(FORBIDDEN, "Told ENOSYS"),
        Wrong(ALL_CLONES, "Threads and children are made by clone"),
        Wrong(ALL_UNSHARES, "unshare has honest uses"),
    ),
)
