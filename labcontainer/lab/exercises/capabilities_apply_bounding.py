"""capabilities.apply_bounding: the most that any program of a container can ever have."""

from __future__ import annotations

import errno

from labcontainer import capabilities
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Held, Trial

HOLE = '''\
from collections.abc import Iterable

from labcontainer.capabilities import NAMES, last
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import PR


def apply_bounding(wanted: Iterable[str]) -> tuple[str, ...]:
    """Drop from this process's bounding set all capabilities that are not wanted; returns ()."""
    wanted = tuple(wanted)
    for number in range(last() + 1):
        ...
    return ()
'''

_DROP = """\
        if number >= len(NAMES) or NAMES[number] not in wanted:
            syscalls.prctl(PR.CAPBSET_DROP, number)
"""
SOLUTION = HOLE.replace("        ...\n", _DROP)

READS = SOLUTION.replace("PR.CAPBSET_DROP", "PR.CAPBSET_READ")
THE_WANTED = SOLUTION.replace("not in wanted", "in wanted")
FEW = SOLUTION.replace("range(last() + 1)", "range(20)")
EFFECTIVE = SOLUTION.replace(
    _DROP, "        break\n    from labcontainer.capabilities import mask\n"
    "    syscalls.capset(mask(wanted), mask(wanted), 0)\n"
)  # fmt: skip


def check(trial: Trial) -> Outcome:
    some = trial.random().sample(capabilities.NAMES[:30], 5)
    wanted = capabilities.names(capabilities.mask([*some, "CAP_SETPCAP"]))
    with trial.hold("apply_bounding", list(wanted)) as process:
        found = capabilities.names(int(process.status("CapBnd"), 16))
        if found != wanted:
            return _other(process, found, wanted)
    empty = trial.attempt("apply_bounding", [])
    if empty.error:
        return not_yet(
            expected="an empty set can be had as well",
            observed=empty.error,
            where="`apply_bounding`",
            hint="CAP_SETPCAP must be effective while you drop, not in the bounding set.",
        )
    return done(f"CapBnd has {len(wanted)} bits, those that were wanted")


def _other(process: Held, found: tuple[str, ...], wanted: tuple[str, ...]) -> Outcome:
    more = [name for name in found if name not in wanted]
    effective = capabilities.names(int(process.status("CapEff"), 16))
    if set(effective) <= set(wanted) and more:
        hint = "The effective set is what counts now; the next exec fills it up to the bound again."
    elif not [name for name in wanted if name in found]:
        hint = "You dropped what was wanted, and kept the rest."
    elif more and capabilities.BITS.get(more[0], 99) < 20:
        hint = "Nothing was dropped. CAPBSET_READ only asks."
    else:
        hint = "This kernel's last capability has the number last()."
    return not_yet(
        expected=f"CapBnd: {', '.join(wanted)}",
        observed=f"{len(found)} capabilities" + (f", also {more[0]}" if more else ""),
        where="the loop",
        hint=hint,
    )


EXERCISE = Exercise(
    id="capabilities.apply_bounding",
    notebook="06_capabilities",
    title="The bound",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.capabilities.apply_bounding",
    replaces="labcontainer.capabilities.apply_bounding",
    check=check,
    needs=("sandbox",),
    errors=((errno.EINVAL, "Numbers above last() are unknown to this kernel."),),
    hints=(
        "prctl(PR.CAPBSET_DROP, number) drops one, by its number.",
        "Drop it if NAMES has no such number, or if NAMES[number] is not wanted.",
        "`if number >= len(NAMES) or NAMES[number] not in wanted: syscalls.prctl(…)`.",
    ),
    wrong=(
        Wrong(READS, "CAPBSET_READ only asks"),
        Wrong(THE_WANTED, "kept the rest"),
        Wrong(FEW, "has the number last()"),
        Wrong(EFFECTIVE, "fills it up to the bound again"),
    ),
)
