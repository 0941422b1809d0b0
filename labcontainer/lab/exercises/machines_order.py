"""machines.order: load modules in an order in which each finds what it needs."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def order(needs: dict[str, list[str]], wanted: list[str]) -> list[str]:
    """The modules to load, each after all that it needs, and each once.

    `needs` has for each module those that must be loaded before it. What nobody wants or needs
    stays out.
    """
    found: list[str] = []
    for name in wanted:
        ...
    return found
'''

SOLUTION = HOLE.replace(
    "        ...\n",
    "        for one in [*order(needs, needs[name]), name]:\n"
    "            if one not in found:\n"
    "                found.append(one)\n",
)
TWICE = SOLUTION.replace(
    "            if one not in found:\n                found", "            found"
)
ONE_STEP = SOLUTION.replace("order(needs, needs[name])", "needs[name]")
AFTER = SOLUTION.replace("[*order(needs, needs[name]), name]", "[name, *order(needs, needs[name])]")


def check(trial: Trial) -> Outcome:
    bus = trial.token("bus")
    needs: dict[str, list[str]] = {
        "console": [bus, "ring"],
        "ring": [],
        bus: ["ring"],
        "disk": [bus],
        "mmio": ["core", bus],
        "core": ["base", "early"],
        "base": ["early"],
        "early": [],
        "sound": [],
    }
    for wanted in (["mmio", "console"], ["console"], ["disk", "mmio"], ["ring"]):
        said = trial.call("order", needs, wanted)
        if problem := _problem(needs, wanted, list(said or [])):
            return problem
    return done("every module finds what it needs")


def _problem(needs: dict[str, list[str]], wanted: list[str], said: list[str]) -> Outcome | None:
    if len(set(said)) != len(said):
        twice = next(one for one in said if said.count(one) > 1)
        return not_yet(
            expected="each module once",
            observed=f"{twice} {said.count(twice)} times",
            where="what you append",
            hint="insmod refuses a module that is loaded already: File exists.",
        )
    for at, name in enumerate(said):
        missing = [one for one in needs[name] if one not in said[:at]]
        if missing:
            later = missing[0] in said
            return not_yet(
                expected=f"{name} after {missing[0]}",
                observed=f"{missing[0]} {'comes later' if later else 'is not there'}",
                where=f"for wanted = {wanted}",
                hint="What a module needs comes first."
                if later
                else "What it needs has needs of its own: ask `order` about those as well.",
            )
    unwanted = set(said) - _closure(needs, wanted)
    if unwanted or not set(wanted) <= set(said):
        return not_yet(
            expected=f"{sorted(_closure(needs, wanted))}, in an order that works",
            observed=f"{sorted(said)}",
            where=f"for wanted = {wanted}",
            hint="Only what is wanted, and what that needs.",
        )
    return None


def _closure(needs: dict[str, list[str]], wanted: list[str]) -> set[str]:
    found = set(wanted)
    while more := {one for name in found for one in needs[name]} - found:
        found |= more
    return found


EXERCISE = Exercise(
    id="machines.order",
    notebook="17_virtual_machines",
    title="Drivers in order",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    hints=(
        "What a module needs, needs something too: the function can ask itself.",
        "`order(needs, needs[name])` is what must come before `name`.",
        "For each of `[*order(needs, needs[name]), name]`: append it unless it is in `found`.",
    ),
    wrong=(
        Wrong(TWICE, "each module once"),
        Wrong(ONE_STEP, "ask `order` about those"),
        Wrong(AFTER, "What a module needs comes first"),
    ),
)
