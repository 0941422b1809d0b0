"""dockerfile.needed: which stages a target needs, in an order that can be built."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def needed(stages: dict[str, list[str]], target: str) -> list[str]:
    """What must be built for `target`: each stage once, after all that it stands on.

    `stages` has for each stage those that it stands on, by FROM or COPY --from.
    """
    found: list[str] = []
    for stage in stages[target]:
        ...
    return [*found, target]
'''

_VISIT = """\
        for one in needed(stages, stage):
            if one not in found:
                found.append(one)
"""
SOLUTION = HOLE.replace("        ...\n", _VISIT)

EVERYTHING = SOLUTION.replace(
    "    for stage in stages[target]:\n" + _VISIT + "    return [*found, target]",
    "    return list(stages)",
)
ONE_LEVEL = SOLUTION.replace(_VISIT, "        found.append(stage)\n")
TWICE = SOLUTION.replace("            if one not in found:\n    ", "")
UPSIDE_DOWN = SOLUTION.replace("[*found, target]", "[target, *found]")


def check(trial: Trial) -> Outcome:
    base, tools = trial.token("base"), trial.token("tools")
    stages = {
        base: [],
        "docs": [base],
        tools: [base],
        "compile": [tools],
        "test": ["compile"],
        "run": [base, "compile"],
    }
    for target in ("run", "docs", base):
        found = trial.call("needed", stages, target)
        wrong = _judge(found, stages, target)
        if wrong:
            problem, hint = wrong
            return not_yet(
                expected=f"the stages for {target}, each once and after what it stands on",
                observed=f"{found}: {problem}",
                where="`needed`",
                hint=hint,
            )
    return done("three targets, and no stage was built for nothing")


def _judge(found: object, stages: dict[str, list[str]], target: str) -> tuple[str, str] | None:
    if not isinstance(found, list):
        return "no list", "Return a list of names."
    if len(set(found)) != len(found):
        return "one is built twice", "Two ways may lead to one stage: add it only if it is new."
    for place, stage in enumerate(found):
        for one in stages.get(stage, []):
            if one not in found[:place]:
                return f"{one} is not there before {stage}", "What a stage stands on comes first."
    surplus = [one for one in found if one not in _closure(stages, target)]
    if surplus:
        return f"{surplus[0]} is built for nothing", "Follow only what the target stands on."
    return None if target in found else (f"no {target}", "The target itself is built as well.")


def _closure(stages: dict[str, list[str]], target: str) -> set[str]:
    todo, seen = [target], {target}
    while todo:
        fresh = set(stages[todo.pop()]) - seen
        seen |= fresh
        todo += fresh
    return seen


EXERCISE = Exercise(
    id="dockerfile.needed",
    notebook="12_dockerfile",
    title="Only what the target needs",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "What a stage needs, its own needs need too: the function can call itself.",
        "`needed(stages, stage)` is all for one stage that the target stands on, in order.",
        "Go through that list, and append each name that is not in `found` yet.",
    ),
    wrong=(
        Wrong(EVERYTHING, "built for nothing"),
        Wrong(ONE_LEVEL, "What a stage stands on comes first"),
        Wrong(TWICE, "add it only if it is new"),
        Wrong(UPSIDE_DOWN, "What a stage stands on comes first"),
    ),
)
