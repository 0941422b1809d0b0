"""compose.order: the rounds in which services can start."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def order(needs: dict[str, list[str]]) -> list[list[str]]:
    """The rounds of starting: in each are all services of which everything they need has started.

    `needs` has for each service those that it needs. ValueError where some wait for one another.
    """
    rounds: list[list[str]] = []
    started: set[str] = set()
    while len(started) < len(needs):
        ...
    return rounds
'''

_BODY = """\
        ready = [name for name in needs if name not in started and started.issuperset(needs[name])]
        if not ready:
            raise ValueError("some services wait for one another")
        rounds.append(ready)
        started.update(ready)
"""
SOLUTION = HOLE.replace("        ...\n", _BODY)

ONE_BY_ONE = SOLUTION.replace("        rounds.append(ready)", "        ready = ready[:1]\n"
                              "        rounds.append(ready)")  # fmt: skip
ANY_NEED = SOLUTION.replace(
    "started.issuperset(needs[name])", "(not needs[name] or started.intersection(needs[name]))"
)
NO_CYCLE = SOLUTION.replace(
    'raise ValueError("some services wait for one another")', "return rounds"
)
AT_ONCE = HOLE.replace(
    "        ...\n",
    """\
        ready = []
        for name in needs:
            if name not in started and started.issuperset(needs[name]):
                ready.append(name)
                started.add(name)
        if not ready:
            raise ValueError("some services wait for one another")
        rounds.append(ready)
""",
)
AGAIN = SOLUTION.replace("name not in started and ", "").replace(
    "        started.update(ready)\n",
    "        started.update(ready)\n        if len(rounds) > 9:\n            break\n",
)


def check(trial: Trial) -> Outcome:
    web, db = trial.token("web"), trial.token("db")
    needs = {"proxy": [web, "log"], web: [db, "cache"], db: ["disk"], "cache": [], "log": [],
             "disk": []}  # fmt: skip
    # Turned round, what is needed comes before who needs it: that alone is no earlier round.
    for asked in (needs, dict(reversed(needs.items()))):
        rounds = trial.call("order", asked)
        wrong = _judge(rounds, needs)
        if wrong:
            problem, hint = wrong
            return not_yet(
                expected="rounds in which all that a service needs stands in an earlier one",
                observed=f"{rounds}: {problem}",
                where="the loop",
                hint=hint,
            )
    circle = {"a": [], web: ["a", db], db: [web]}
    result = trial.attempt("order", circle)
    if "ValueError" not in result.error:
        return not_yet(
            expected=f"ValueError: {web} and {db} need each other",
            observed=f"{result.value}" if result.ok else result.error,
            where="a round in which nothing is ready",
            hint="If nothing is ready and some are left, they wait for one another for ever.",
        )
    return done("each as early as it can, and a circle is refused", score=f"{len(rounds)} rounds")


ALL = "*All* that it needs must have started, in an earlier round. Note it when a round is whole."


def _judge(rounds: object, needs: dict[str, list[str]]) -> tuple[str, str] | None:
    if not isinstance(rounds, list) or not all(isinstance(one, list) for one in rounds):
        return "no list of lists", "Append a list of names for each round."
    names = [name for one in rounds for name in one]
    if sorted(names) != sorted(needs):
        return "not each service once", "Take only those that have not started yet."
    place = {name: at for at, one in enumerate(rounds) for name in one}
    for name, others in needs.items():
        late = [other for other in others if place[other] >= place[name]]
        if late:
            return f"{name} starts before {late[0]}, or in the same round", ALL
        earliest = max((place[other] + 1 for other in others), default=0)
        if place[name] > earliest:
            return f"{name} could start earlier", "All that are ready go into the same round."
    return None


EXERCISE = Exercise(
    id="compose.order",
    notebook="16_compose",
    title="In which order",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "In each round: who has not started, and needs only what has?",
        "`started.issuperset(needs[name])` is true where everything that it needs has started.",
        "No one ready: raise. Else append the list to `rounds` and add the names to `started`.",
    ),
    wrong=(
        Wrong(ONE_BY_ONE, "go into the same round"),
        Wrong(ANY_NEED, "must have started"),
        Wrong(AT_ONCE, "when a round is whole"),
        Wrong(NO_CYCLE, "wait for one another for ever"),
        Wrong(AGAIN, "have not started yet"),
    ),
)
