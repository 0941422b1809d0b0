"""compose.value: what a variable of a Compose file becomes."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def value(name: str, operator: str, word: str, values: dict[str, str]) -> str:
    """What `${name}`, `${name:-word}`, `${name-word}`, `${name:+word}`, `${name+word}` become.

    `operator` is "", ":-", "-", ":+" or "+"; `values` are the variables that are set.
    """
    ...
'''

_BODY = """\
    there = bool(values.get(name)) if operator.startswith(":") else name in values
    if operator.endswith("+"):
        return word if there else ""
    if operator.endswith("-") and not there:
        return word
    return values.get(name, "")
"""
SOLUTION = HOLE.replace("    ...\n", _BODY)

NO_COLON = SOLUTION.replace(
    'bool(values.get(name)) if operator.startswith(":") else name in values', "name in values"
)
ALL_COLON = SOLUTION.replace(
    'bool(values.get(name)) if operator.startswith(":") else name in values',
    "bool(values.get(name))",
)
PLUS_IS_VALUE = SOLUTION.replace(
    'return word if there else ""', 'return values[name] if there else ""'
)


def check(trial: Trial) -> Outcome:
    value, word = trial.token("value"), trial.token("word")
    values = {"SET": value, "EMPTY": ""}
    for operator, wanted in (
        ("", {"SET": value, "EMPTY": "", "UNSET": ""}),
        (":-", {"SET": value, "EMPTY": word, "UNSET": word}),
        ("-", {"SET": value, "EMPTY": "", "UNSET": word}),
        (":+", {"SET": word, "EMPTY": "", "UNSET": ""}),
        ("+", {"SET": word, "EMPTY": word, "UNSET": ""}),
    ):
        for name, right in wanted.items():
            found = trial.call("value", name, operator, word, values)
            if found == right:
                continue
            how = {"SET": "it is set", "EMPTY": "it is set, and empty", "UNSET": "it is not set"}
            hint = "A default stands in for what is missing; `+` is its opposite."
            if name == "EMPTY":
                hint = "The colon decides about *empty*: with it, empty counts as not set."
            elif operator.endswith("+"):
                hint = "`+` never gives the value: the word where there is one, else nothing."
            asked = f"${{{name}{operator}{word if operator else ''}}}"
            return not_yet(
                expected=f"{asked} -> {right!r}; {how[name]}",
                observed=repr(found),
                where="`value`",
                hint=hint,
            )
    return done("five forms, with a value, an empty one and none")


EXERCISE = Exercise(
    id="compose.value",
    notebook="16_compose",
    title="What a variable becomes",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "First one question: does the variable count as there? The colon changes the answer.",
        "`name in values` without the colon, `bool(values.get(name))` with it.",
        "`-` gives the word where nothing is there; `+` where something is.",
    ),
    wrong=(
        Wrong(NO_COLON, "The colon decides"),
        Wrong(ALL_COLON, "The colon decides"),
        Wrong(PLUS_IS_VALUE, "never gives the value"),
    ),
)
