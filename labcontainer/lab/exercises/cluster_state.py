"""cluster.state: what a manager believes of a node, by when it was last heard."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
PERIOD = 5  # seconds from one heartbeat to the next
GRACE = 3  # so many of them may be lost


def state(last: float | None, began: float, now: float) -> str:
    """What to believe of a node: "ready", "unknown" or "down".

    `last` is when it was last heard: for GRACE periods it is believed to be ready, and then down.
    None: it was not heard since this manager began, at `began`. That says as much of the manager as
    of the node: unknown for twice as long, and only then down.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    if last is None:
        return "unknown" if now - began <= 2 * GRACE * PERIOD else "down"
    return "ready" if now - last <= GRACE * PERIOD else "down"
""",
)

NERVOUS = SOLUTION.replace("now - last <= GRACE * PERIOD", "now - last <= PERIOD")
NEW_MANAGER = SOLUTION.replace('"unknown" if now - began <= 2 * GRACE * PERIOD else "down"',
                               '"down"')  # fmt: skip
FOR_EVER = SOLUTION.replace(' if now - began <= 2 * GRACE * PERIOD else "down"', "")
SINCE_BEGAN = SOLUTION.replace("now - last <=", "now - max(last, began) <=")
HASTY = SOLUTION.replace("2 * GRACE", "GRACE")


def check(trial: Trial) -> Outcome:
    began = 1000.0 + trial.number("began", 0, 500)
    few = trial.number("few", 1, 4) / 2
    for what, last, now, wanted, hint in (
        (f"heard {few} s ago", began + 100 - few, began + 100, "ready", "It was just heard."),
        ("heard 11 s ago, two heartbeats were lost", began + 89, began + 100, "ready",
         "Networks lose things: who moves everything at each lost message does more harm."),
        ("heard exactly 15 s ago", began + 85, began + 100, "ready",
         "For GRACE periods: the last moment belongs to them."),
        ("heard 15.5 s ago", began + 84.5, began + 100, "down", "Longer than GRACE periods: down."),
        ("not heard, and the manager began 2 s ago", None, began + 2, "unknown",
         "It has only just begun to listen, and would start everything a second time."),
        ("not heard, and the manager began 29 s ago", None, began + 29, "unknown",
         "Twice as long as usual: the nodes must find the new manager first."),
        ("not heard, and the manager began 31 s ago", None, began + 31, "down",
         "`unknown` is no answer for ever: somebody waits for those tasks."),
        ("heard 16 s ago, by the manager before; this one began 1 s ago", began - 15, began + 1,
         "down", "It counts when the node was heard, whoever listened."),
    ):  # fmt: skip
        found = trial.call("state", last, began, now)
        if found != wanted:
            return not_yet(expected=f"{what}: {wanted}", observed=str(found), where="`state`",
                           hint=hint)  # fmt: skip
    return done("eight moments, and nobody had to wait for them")


EXERCISE = Exercise(
    id="cluster.state",
    notebook="20_many_machines",
    title="When is a node lost?",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "The clock is an argument: `now - last` is how long it has been silent.",
        "Silent for at most `GRACE * PERIOD` seconds: ready.",
        "With `last is None` compare `now - began` with twice as long: unknown, then down.",
    ),
    wrong=(
        Wrong(NERVOUS, "Networks lose things"),
        Wrong(NEW_MANAGER, "start everything a second time"),
        Wrong(FOR_EVER, "no answer for ever"),
        Wrong(SINCE_BEGAN, "whoever listened"),
        Wrong(HASTY, "must find the new manager"),
    ),
)
