"""layers.listdir: the names that a merged directory shows."""

from __future__ import annotations

from labcontainer import union
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import os

from labcontainer.union import is_whiteout


def listdir(directories: list[str]) -> list[str]:
    """The names that these directories show together, sorted; the first one is on top."""
    shown: set[str] = set()
    gone: set[str] = set()
    for directory in directories:
        for name in os.listdir(directory):
            ...
    return sorted(shown)
'''

_BODY = """\
            if name in shown or name in gone:
                continue
            if is_whiteout(f"{directory}/{name}"):
                gone.add(name)
            else:
                shown.add(name)
"""
SOLUTION = HOLE.replace("            ...\n", _BODY)

EVERYTHING = SOLUTION.replace(_BODY, "            shown.add(name)\n            gone.add(name)\n")
ONLY_SKIPPED = SOLUTION.replace("gone.add(name)", "continue")
FROM_ALL = SOLUTION.replace("in shown or name in gone:", "in gone:").replace(
    "gone.add(name)", "gone.add(name)\n                shown.discard(name)"
)


def check(trial: Trial) -> Outcome:
    word = trial.token("word")[:4]
    top = trial.directory("top", {f"{word}-new": "", "back": "", "both": ""})
    middle = trial.directory("middle", {"middle": "", "both": ""})
    base = trial.directory("base", {f"{word}-old": "", "back": "", "both": "", "below": ""})
    union.make_whiteout(f"{top}/{word}-old")
    union.make_whiteout(f"{middle}/back")
    union.make_whiteout(f"{middle}/nothing")
    found = trial.call("listdir", [top, middle, base])
    wanted = sorted([f"{word}-new", "back", "both", "middle", "below"])
    if found != wanted:
        return not_yet(
            expected=str(wanted),
            observed=str(found),
            where="the loop of `listdir`",
            hint=_hint(found, word),
        )
    return done("whiteouts hide what lies below them, and nothing above")


def _hint(found: object, word: str) -> str:
    """What the wrong list tells."""
    if not isinstance(found, list):
        return "Return the sorted names."
    if "nothing" in found:
        return "To os.listdir a whiteout is an entry like any other: ask is_whiteout."
    if f"{word}-old" in found:
        return f"{word}-old comes back from the base: remember what a whiteout above has hidden."
    if "back" not in found:
        return "`back` was removed in the middle and made again on top: what is above wins."
    return "Each name that some layer has and no whiteout above it hides, once."


EXERCISE = Exercise(
    id="layers.listdir",
    notebook="09_layers",
    title="List a merged directory",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "The first layer that knows a name decides: shown, or gone.",
        "If the name is in `shown` or in `gone`, a layer above has decided it: continue.",
        "Else `is_whiteout(...)` adds it to `gone`, anything else to `shown`.",
    ),
    wrong=(
        Wrong(EVERYTHING, "an entry like any other: ask"),
        Wrong(ONLY_SKIPPED, "remember what a whiteout above has hidden"),
        Wrong(FROM_ALL, "what is above wins"),
    ),
)
