"""seccomp.answer: the kernel's small machine, by hand."""

from __future__ import annotations

from typing import Any

from labcontainer import seccomp, seccomp_profile
from labcontainer.kernel import syscall_numbers
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.kernel.classic_bpf import AND, JA, JEQ, JGE, JGT, LD, RET


def answer(program: list, words: dict[int, int]) -> int:
    """Run a filter: what it answers. `words` has what is at each offset of seccomp_data.

    An instruction is (code, if_true, if_false, k); the jumps are counted from the next one.
    """
    a, here = 0, 0
    while True:
        code, if_true, if_false, k = program[here]
        here += 1
        if code == LD:
            a = words[k]
        elif code == AND:
            a &= k
        elif code == JA:
            here += k
        ...
'''

SOLUTION = HOLE.replace(
    "        ...\n",
    """\
        elif code == RET:
            return k
        else:
            holds = {JEQ: a == k, JGT: a > k, JGE: a >= k}[code]
            here += if_true if holds else if_false
""",
)

NEVER_FALSE = SOLUTION.replace("here += if_true if holds else if_false", "here += if_true * holds")
FROM_HERE = SOLUTION.replace(
    "if_true if holds else if_false", "(if_true if holds else if_false) - 1"
)
ONE_MORE = SOLUTION.replace("JGE: a >= k", "JGE: a > k")


SCENE = """

def _answer(program, words):
    by_number = {int(place): word for place, word in words.items()}
    return answer([tuple(one) for one in program], by_number)
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    table = syscall_numbers.numbers(seccomp_profile.ARCHITECTURES[seccomp_profile.native()].table)
    names = sorted(trial.random().sample(sorted(table), 8))
    profile: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [seccomp_profile.native()],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }
    program = seccomp.compile(profile)
    audit = seccomp_profile.ARCHITECTURES[seccomp_profile.native()].audit
    steps = [list(one) for one in program.instructions]
    for name in [*names, *trial.random().sample(sorted(set(table) - set(names)), 12)]:
        words = {0: table[name], 4: audit} | {place: 0 for place in range(8, 64, 4)}
        wanted = seccomp_profile.ERRNO | 1 if name in names else seccomp_profile.ALLOW
        result = trial.attempt("_answer", steps, words, timeout=1)
        if result.value != wanted:
            return not_yet(
                expected=f"the call {name}: {seccomp_profile.action_name(wanted)}",
                observed=_seen(result.value, result.error, result.timed_out),
                where="the jumps",
                hint="A jump has two ends, and both are counted from the instruction after it. "
                "JGE is `at least`.",
            )
    return done(f"{len(steps)} instructions, twenty calls, each answered as the profile says")


def _seen(value: object, error: str, late: bool) -> str:
    if late:
        return "it runs in a circle"
    return error or (seccomp_profile.action_name(value) if isinstance(value, int) else repr(value))


EXERCISE = Exercise(
    id="seccomp.answer",
    notebook="07_seccomp",
    title="The small machine",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "seccomp"),
    seconds=30,
    hints=(
        "Two kinds of instructions are missing: RET, and the three that compare.",
        "RET ends with the answer k. JEQ, JGT and JGE compare `a` with `k`.",
        "`here += if_true if holds else if_false`: here is the next instruction already.",
    ),
    wrong=(
        Wrong(NEVER_FALSE, "A jump has two ends"),
        Wrong(FROM_HERE, "A jump has two ends"),
        Wrong(ONE_MORE, "JGE is `at least`"),
    ),
)
