"""cluster.write: a disk that does not listen to who has been replaced."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def write(disk: dict, number: int, value: str) -> bool:
    """Write to a disk that two tasks may believe is theirs; whether it was done.

    `number` is that of the task, from the manager: each new one gets a higher number. The disk has
    the highest "number" that ever wrote, and the "value". Who comes with a lower one was replaced:
    nothing is written.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    if number < disk["number"]:
        return False
    disk.update(number=number, value=value)
    return True
""",
)

EVERYBODY = SOLUTION.replace('if number < disk["number"]:', "if number < 0:")
ONCE = SOLUTION.replace("number < disk", "number <= disk")
FORGETFUL = SOLUTION.replace("disk.update(number=number, value=value)", 'disk["value"] = value')
FIRST_OWNER = SOLUTION.replace("number < disk", "number != disk")
SAYS_NO = SOLUTION.replace("        return False\n", "        pass\n    else:\n").replace(
    "    disk.update(number=number, value=value)\n    return True\n",
    "        disk.update(number=number, value=value)\n    return True\n",
)

SCENE = """


def _writes(number, writes):
    disk = {"number": number, "value": "nothing yet"}
    return [[write(disk, number, value), disk["value"], disk["number"]] for number, value in writes]
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    first = trial.number("first", 2, 40)
    second = first + trial.number("more", 1, 9)
    old, new = trial.token("old"), trial.token("new")
    refused = "A lower number than the disk has seen: it was replaced, and does not know."
    for what, writes, wanted, hint in (
        ("one task writes twice", [(first, old), (first, new)],
         [[True, old, first], [True, new, first]],
         "The same number again is the same task: it may write as often as it likes."),
        ("a new task takes over", [(first, old), (second, new)],
         [[True, old, first], [True, new, second]],
         "A higher number is the manager's newer word: it takes over."),
        ("the old one comes back", [(second, new), (first, old), (first, old)],
         [[True, new, second], [False, new, second], [False, new, second]], refused),
    ):  # fmt: skip
        found = trial.call("_writes", first, writes)
        if found != wanted:
            return not_yet(
                expected=f"{what}, by numbers {[number for number, _ in writes]}; "
                f"answer, value and number each time: {wanted}",
                observed=str(found),
                where="`write`",
                hint=_hint(found, wanted) or hint,
            )
    return done("the newest task writes, and who was replaced is told")


def _hint(found: list[list[object]], wanted: list[list[object]]) -> str:
    """What is right but for one thing; "" for others."""
    _, values, numbers = ([row[at] for row in found] for at in range(3))
    if values != [row[1] for row in wanted]:
        return ""
    if numbers != [row[2] for row in wanted]:
        return "Note the number with the value: the next one is compared with it."
    return "Say so: who is not told goes on believing that all is well."


EXERCISE = Exercise(
    id="cluster.write",
    notebook="20_many_machines",
    title="Fencing",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "One comparison: `number` with the number that the disk has seen.",
        "Lower: False, and the disk is not touched. The same or higher: write.",
        "Note both: `disk.update(number=number, value=value)`.",
    ),
    wrong=(
        Wrong(EVERYBODY, "it was replaced"),
        Wrong(ONCE, "as often as it likes"),
        Wrong(FORGETFUL, "Note the number"),
        Wrong(FIRST_OWNER, "newer word"),
        Wrong(SAYS_NO, "goes on believing"),
    ),
)
