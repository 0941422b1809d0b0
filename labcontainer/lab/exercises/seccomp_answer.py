"""seccomp.answer: the kernel's small machine, by hand."""

from __future__ import annotations

from typing import Any

from labcontainer import seccomp, seccomp_profile
from labcontainer.kernel import classic_bpf, syscall_numbers
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
GREATER = SOLUTION.replace("JGT: a > k", "JGT: a >= k")
ONE_MORE = SOLUTION.replace("JGE: a >= k", "JGE: a > k")


SCENE = """

def _answers(program, numbers, architecture):
    program = [tuple(one) for one in program]
    rest = {place: 0 for place in range(8, 64, 4)}
    return [answer(program, {0: number, 4: architecture} | rest) for number in numbers]
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    native = seccomp_profile.ARCHITECTURES[seccomp_profile.native()]
    table = syscall_numbers.numbers(native.table)
    refused = sorted(trial.random().sample(sorted(table), 8))
    others = trial.random().sample(sorted(set(table) - set(refused)), 12)
    program = seccomp.compile(_profile(refused)).instructions
    names = [*refused, *others]
    numbers = [table[name] for name in names]
    result = trial.attempt("_answers", [list(one) for one in program], numbers, native.audit)
    found = result.value if isinstance(result.value, list) else [None] * len(names)
    for name, said in zip(names, found, strict=True):
        wanted = seccomp_profile.ERRNO | 1 if name in refused else seccomp_profile.ALLOW
        if said != wanted:
            return not_yet(
                expected=f"the call {name}: {seccomp_profile.action_name(wanted)}",
                observed=_seen(said, result.error, result.timed_out),
                where="the jumps",
                hint="A jump has two ends, and both are counted from the instruction after it. "
                "JGE is `at least`.",
            )
    for word, code, holds in (
        ("JEQ", classic_bpf.JEQ, [0, 1, 0]),
        ("JGT", classic_bpf.JGT, [0, 0, 1]),
        ("JGE", classic_bpf.JGE, [0, 1, 1]),
    ):
        load, end = (classic_bpf.LD, 0, 0, 0), classic_bpf.RET
        small = [load, (code, 1, 0, 7), (end, 0, 0, 0), (end, 0, 0, 1)]
        result = trial.attempt("_answers", small, [6, 7, 8], native.audit)
        if result.value != holds:
            return not_yet(
                expected=f"A is 6, 7 and 8: {word} 7 leads to the end that answers {holds}",
                observed=_seen(result.value, result.error, result.timed_out),
                where=f"the case {word}",
                hint="Does it compare as its name says, and jump from where you are?",
            )
    return done(f"{len(program)} instructions, twenty calls, each answered as the profile says")


def _profile(refused: list[str]) -> dict[str, Any]:
    rule = {"names": refused, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [seccomp_profile.native()],
        "syscalls": [rule],
    }


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
        Wrong(GREATER, "the case JGT"),
        Wrong(ONE_MORE, "JGE is `at least`"),
    ),
)
