"""bench.claim: what may be said of two subjects, and what the data leave open."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def claim(low: float, high: float, enough: float) -> str:
    """What the data support, by the interval of the ratio b / a (in time).

    "slower": b takes longer than a, and at least `enough` times as long matters to us.
    "as fast": whatever the true ratio is, it lies within 1 / enough and enough.
    "faster": as slower, the other way round. "open": none of these is sure.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    if low >= enough:
        return "slower"
    if high <= 1 / enough:
        return "faster"
    if 1 / enough < low and high < enough:
        return "as fast"
    return "open"
""",
)
MIDDLE = HOLE.replace(
    "    ...\n",
    """\
    middle = (low + high) / 2
    if middle >= enough:
        return "slower"
    if middle <= 1 / enough:
        return "faster"
    return "as fast"
""",
)
NOT_SURE_IS_EQUAL = SOLUTION.replace('    return "open"\n', '    return "as fast"\n')
ABOVE_ONE = SOLUTION.replace("low >= enough", "low > 1").replace("high <= 1 / enough", "high < 1")


def check(trial: Trial) -> Outcome:
    cases = [
        (1.8, 2.1, 1.1, "slower", "all of it is above 1.1"),
        (0.3, 0.5, 1.1, "faster", "all of it is below 1 / 1.1"),
        (0.97, 1.04, 1.1, "as fast", "whatever it is, it is close to 1"),
        (1.01, 1.04, 1.1, "as fast", "it is sure, and too small to matter"),
        (0.7, 1.9, 1.1, "open", "it may be faster, it may be slower: nobody knows"),
        (1.05, 1.6, 1.1, "open", "it may matter, and may not"),
        (0.6, 0.97, 1.1, "open", "it may matter, and may not"),
    ]
    for low, high, enough, wanted, why in cases:
        said = trial.call("claim", low, high, enough)
        if said != wanted:
            return not_yet(
                expected=f"{low} to {high}, enough = {enough}: {wanted!r}",
                observed=repr(said),
                where="which bound is asked",
                hint=f"{why[0].upper()}{why[1:]}. {_hint(wanted)}",
            )
    return done("seven intervals, and no claim beyond them")


def _hint(wanted: str) -> str:
    if wanted == "open":
        return "No difference seen is not the same as no difference."
    return "Both bounds have a say, and `enough` is the measure."


EXERCISE = Exercise(
    id="bench.claim",
    notebook="18_vm_vs_container",
    title="The claim that the data support",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    hints=(
        "For slower, the least that it may be must be enough: which bound is that?",
        "As fast needs both bounds within 1 / enough and enough.",
        "`low >= enough`, `high <= 1 / enough`, both within; all else is open.",
    ),
    wrong=(
        Wrong(MIDDLE, "nobody knows"),
        Wrong(NOT_SURE_IS_EQUAL, "is not the same as no difference"),
        Wrong(ABOVE_ONE, "too small to matter"),
    ),
)
