"""game.layer: which layer of an image a file comes from."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def layer(layers: list[list[str]], path: str) -> int:
    """The number of the layer that a container sees this file of; -1 if it sees none.

    `layers` are the files of each layer, the lowest one first, which is number 0. A later layer
    covers an earlier one.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    for number in range(len(layers) - 1, -1, -1):
        if path in layers[number]:
            return number
    return -1
""",
)
LOWEST = HOLE.replace(
    "    ...\n",
    """\
    for number, files in enumerate(layers):
        if path in files:
            return number
    return -1
""",
)
FROM_ABOVE = HOLE.replace(
    "    ...\n",
    """\
    for number, files in enumerate(reversed(layers)):
        if path in files:
            return number
    return -1
""",
)
NONE_MISSING = SOLUTION.replace("    return -1\n", "    return 0\n")


def check(trial: Trial) -> Outcome:
    word = trial.token("word")
    layers = [["/bin/sh", "/etc/config", "/greeting"], [f"/{word}", "/etc/config"], ["/greeting"]]
    layers += [[], ["/etc/config"]]
    for path, wanted, hint in (
        ("/bin/sh", 0, "It is in the lowest one alone."),
        ("/greeting", 2, "Two layers have it: the later one covers the earlier one."),
        (f"/{word}", 1, "Layers are counted from below, beginning with 0."),
        ("/etc/config", 4, "Three layers have it."),
        ("/etc", -1, "No layer has a file of that name: -1."),
    ):
        said = trial.attempt("layer", layers, path)
        if not said.returned or said.value != wanted:
            return not_yet(
                expected=f"{path}: {wanted}",
                observed=repr(said.value) if said.returned else said.error,
                where="`layer`",
                hint=hint,
            )
    lines = [line for line in trial.code.splitlines() if line.strip()]
    return done("five paths, each from the right layer", f"{len(lines)} lines")


EXERCISE = Exercise(
    id="game.layer",
    notebook="01_the_whole_game",
    title="Which layer holds it",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Look from the top down: the first one that has it is the one that is seen.",
        "`range(len(layers) - 1, -1, -1)` are the numbers from the highest down to 0.",
        "`if path in layers[number]: return number`, and -1 after the loop.",
    ),
    wrong=(
        Wrong(LOWEST, "the later one covers"),
        Wrong(FROM_ABOVE, "in the lowest one alone"),
        Wrong(NONE_MISSING, "No layer has a file"),
    ),
)
