"""compose.plan: the steps from the containers that there are to those that the file asks for."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def plan(scale: int, wanted: str, there: dict[str, str]) -> list[list[str]]:
    """The steps for one service, such as [["keep", "1"], ["recreate", "2"], ["create", "3"]].

    `there` has the hash of each container by its number; `wanted` is the hash of the file's words,
    `scale` how many there shall be. Too many: those of another hash are removed first, then the
    highest numbers. New ones get the numbers after the highest that is left.
    """
    ...
'''

_BODY = """\
    ranked = sorted(there, key=lambda number: (there[number] != wanted, int(number)))
    left = ranked[:scale]
    steps = [["keep" if there[number] == wanted else "recreate", number] for number in left]
    steps += [["remove", number] for number in ranked[scale:]]
    last = max(map(int, left), default=0)
    return steps + [["create", str(last + 1 + more)] for more in range(scale - len(left))]
"""
SOLUTION = HOLE.replace("    ...\n", _BODY)

ALL_ANEW = SOLUTION.replace('"keep" if there[number] == wanted else "recreate"', '"recreate"')
ALL_KEPT = SOLUTION.replace('"keep" if there[number] == wanted else "recreate"', '"keep"')
BY_NUMBER = SOLUTION.replace("(there[number] != wanted, int(number))", "int(number)")
TAKEN = SOLUTION.replace("last + 1 + more", "len(left) + 1 + more")


def check(trial: Trial) -> Outcome:
    new, old = trial.token("new"), trial.token("old")
    steps = 0
    for scale, there, right, hint in (
        (2, {}, [["create", "1"], ["create", "2"]], "There is nothing yet: all are created."),
        (2, {"1": new, "2": new}, [["keep", "1"], ["keep", "2"]],
         "The hash is as it should be: leave it alone, it serves somebody right now."),
        (2, {"1": old, "2": new}, [["keep", "2"], ["recreate", "1"]],
         "Another hash is another configuration: that one is made anew, and only that one."),
        (2, {"1": old, "2": new, "3": new}, [["keep", "2"], ["keep", "3"], ["remove", "1"]],
         "One is too many, and one has to go anyway: remove that one."),
        (1, {"1": new, "2": new}, [["keep", "1"], ["remove", "2"]], "The highest numbers go."),
        (2, {"3": new}, [["create", "4"], ["keep", "3"]],
         "A number may not be taken twice: count on from the highest that is left."),
        (0, {"1": new}, [["remove", "1"]], "With a scale of 0 none is left."),
    ):  # fmt: skip
        found = trial.call("plan", scale, new, there)
        shown = {number: "as wanted" if one == new else "another" for number, one in there.items()}
        if not isinstance(found, list) or sorted(map(list, found)) != right:
            return not_yet(
                expected=f"scale {scale}, there {shown or 'is nothing'}: {right}",
                observed=str(found),
                where="`plan`",
                hint=hint,
            )
        steps += sum(one[0] != "keep" for one in found)
    return done("seven situations, nothing stopped needlessly", score=f"{steps} steps")


EXERCISE = Exercise(
    id="compose.plan",
    notebook="16_compose",
    title="Only what has changed",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Sort the numbers so that those to keep come first; then cut the list at `scale`.",
        "`key=lambda number: (there[number] != wanted, int(number))`: False sorts before True.",
        "Before the cut: keep or recreate. Behind it: remove. Missing ones: create.",
    ),
    wrong=(
        Wrong(ALL_ANEW, "leave it alone"),
        Wrong(ALL_KEPT, "made anew"),
        Wrong(BY_NUMBER, "remove that one"),
        Wrong(TAKEN, "taken twice"),
    ),
)
