"""seccomp.deny: a filter by hand that refuses one call, whoever's numbers it uses."""

from __future__ import annotations

import errno
import os
import signal
import socket

from labcontainer import seccomp_profile
from labcontainer.kernel import syscall_numbers
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.kernel.classic_bpf import ARCH, JEQ, LD, NUMBER, RET
from labcontainer.seccomp_profile import ALLOW, EPERM, ERRNO, KILL_PROCESS


def deny(number: int, architecture: int) -> list[tuple[int, int, int, int]]:
    """A filter that answers the call `number` with EPERM and allows all others.

    Who calls by another architecture's numbers is killed: they mean other calls there.
    """
    return [
        (LD, 0, 0, NUMBER),
        ...,
        (RET, 0, 0, ALLOW),
    ]
'''

SOLUTION = HOLE.replace(
    """\
        (LD, 0, 0, NUMBER),
        ...,
        (RET, 0, 0, ALLOW),
""",
    """\
        (LD, 0, 0, ARCH),
        (JEQ, 1, 0, architecture),
        (RET, 0, 0, KILL_PROCESS),
        (LD, 0, 0, NUMBER),
        (JEQ, 0, 1, number),
        (RET, 0, 0, ERRNO | EPERM),
        (RET, 0, 0, ALLOW),
""",
)
_ARCH = SOLUTION[SOLUTION.index("        (LD, 0, 0, ARCH)") :].partition("        (LD, 0, 0, NUM")[
    0
]

NO_ARCHITECTURE = SOLUTION.replace(_ARCH, "")
UPSIDE_DOWN = SOLUTION.replace("(JEQ, 0, 1, number)", "(JEQ, 1, 0, number)")
PAST_THE_END = SOLUTION.replace("(JEQ, 0, 1, number)", "(JEQ, 0, 9, number)")
KILLS = SOLUTION.replace("ERRNO | EPERM", "KILL_PROCESS")
NOTHING = SOLUTION.replace("(JEQ, 0, 1, number)", "(JEQ, 1, 1, number)")

SCENE = """

def _under(number, architecture, name):
    import os, socket, errno
    from labcontainer import seccomp
    from labcontainer.kernel import classic_bpf
    program = tuple(tuple(one) for one in deny(number, architecture))
    seccomp.no_new_privs()
    classic_bpf.install(classic_bpf.encode(program))
    try:
        socket.sethostname(name) if name else os.chroot("/")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "it worked"
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    native = seccomp_profile.ARCHITECTURES[seccomp_profile.native()]
    table = syscall_numbers.numbers(native.table)
    refused, other = ("sethostname", "chroot") if trial.number("which", 0, 1) else (
        "chroot", "sethostname")  # fmt: skip
    program = trial.call("deny", table[refused], native.audit)
    name = socket.gethostname()
    for call, wanted, hint in (
        (refused, "EPERM", "The call itself: JEQ jumps over if_true or if_false instructions."),
        (other, "it worked", "All other calls go on to ALLOW."),
    ):
        result = trial.attempt("_under", table[refused], native.audit,
                               name if call == "sethostname" else "")  # fmt: skip
        if result.value != wanted:
            return not_yet(
                expected=f"{call}: {wanted}",
                observed=_seen(result),
                where="the filter",
                hint=_hint(result, hint),
            )
    foreign = next(one.audit for one in seccomp_profile.ARCHITECTURES.values()
                   if one.audit != native.audit)  # fmt: skip
    result = trial.attempt("_under", table[refused], foreign, name)
    if not _killed(result):
        return not_yet(
            expected="killed by SIGSYS where the architecture is another",
            observed=_seen(result),
            where="the beginning of the filter",
            hint="The number alone says nothing: look at ARCH first. In i386 ptrace is 26.",
        )
    return done(f"{refused} is refused, {other} is not, and no other numbers are let in",
                f"{len(program)} instructions")  # fmt: skip


def _hint(result: object, otherwise: str) -> str:
    if _killed(result):
        return "Killed, not refused: EPERM is ERRNO | EPERM."
    if getattr(result, "errno", 0) == errno.EINVAL:
        return "The kernel takes no filter with a jump past its end, or whose end is no RET."
    return otherwise


def _killed(result: object) -> bool:
    return getattr(result, "status", 0) in (-signal.SIGSYS, 128 + signal.SIGSYS)


def _seen(result: object) -> str:
    if _killed(result):
        return "killed by SIGSYS"
    return str(getattr(result, "value", None) or getattr(result, "error", "") or os.strerror(0))


EXERCISE = Exercise(
    id="seccomp.deny",
    notebook="07_seccomp",
    title="A filter by hand",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "seccomp"),
    seconds=20,
    hints=(
        "Load ARCH, compare, kill if it is another. Then load NUMBER, compare, refuse or allow.",
        "(JEQ, 1, 0, x) skips one instruction if A == x; (JEQ, 0, 1, x) skips one if it is not.",
        "Seven instructions: LD JEQ RET for the architecture, LD JEQ RET RET for the number.",
    ),
    wrong=(
        Wrong(NO_ARCHITECTURE, "look at ARCH first"),
        Wrong(UPSIDE_DOWN, "jumps over if_true or if_false"),
        Wrong(PAST_THE_END, "a jump past its end"),
        Wrong(KILLS, "Killed, not refused"),
        Wrong(NOTHING, "jumps over if_true or if_false"),
    ),
)
