"""namespaces.clone_flags: the kinds that a container asks for, in one number."""

from __future__ import annotations

from labcontainer import namespaces
from labcontainer.kernel.flags import CLONE
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from collections.abc import Iterable

from labcontainer import namespaces
from labcontainer.kernel.flags import CLONE


def clone_flags(names: Iterable[str]) -> CLONE:
    """The flags of unshare(2) and clone(2) for these kinds, such as `mount` or `network`."""
    flags = CLONE(0)
    for name in names:
        one = namespaces.kind(name).flag
        ...
    return flags
'''

SOLUTION = '''\
from collections.abc import Iterable

from labcontainer import namespaces
from labcontainer.kernel.flags import CLONE


def clone_flags(names: Iterable[str]) -> CLONE:
    """The flags of unshare(2) and clone(2) for these kinds, such as `mount` or `network`."""
    flags = CLONE(0)
    for name in names:
        one = namespaces.kind(name).flag
        flags |= one
    return flags
'''

LAST_ONLY = SOLUTION.replace("flags |= one", "flags = CLONE(one)")
ADDED = SOLUTION.replace("flags |= one", "flags = CLONE(flags + one)")
COMMON = SOLUTION.replace("flags |= one", "flags &= one")


def check(trial: Trial) -> Outcome:
    for names in (("uts",), ("mount", "pid", "uts"), ("network", "ipc", "network"), (), ("mnt",)):
        wanted = int(_flags(names))
        answer = trial.call("clone_flags", list(names))
        if answer != wanted:
            return not_yet(
                expected=f"{list(names)}: {CLONE(wanted)!r}",
                observed=repr(CLONE(answer)) if isinstance(answer, int) else repr(answer),
                where="the line in the loop",
                hint=_hint(answer, names),
            )
    return done("one number says which namespaces: a bit for each kind")


def _flags(names: tuple[str, ...]) -> CLONE:
    flags = CLONE(0)
    for name in names:
        flags |= namespaces.kind(name).flag
    return flags


def _hint(answer: object, names: tuple[str, ...]) -> str:
    if len(set(names)) < len(names):
        return "A kind that is named twice is asked for once: put its bit in, don't add the number."
    if answer == 0:
        return "`&` keeps the bits that both have, and at first there are none."
    return "Each kind is one bit. Put it to the bits that are there already."


EXERCISE = Exercise(
    id="namespaces.clone_flags",
    notebook="03_namespaces",
    title="One number for all kinds",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.namespaces.clone_flags",
    replaces="labcontainer.namespaces.clone_flags",
    check=check,
    hints=(
        "Each flag has one bit set, and each kind another one.",
        "Which operator puts a bit in and leaves the others as they are?",
        "`flags |= one`",
    ),
    wrong=(
        Wrong(LAST_ONLY, "Put it to the bits that are there already"),
        Wrong(ADDED, "is asked for once"),
        Wrong(COMMON, "keeps the bits that both have"),
    ),
)
