"""runtime.counterexample: a property test of the state machine."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import random

from labcontainer.errors import StateError
from labcontainer.runtime.lifecycle import TRANSITIONS


def counterexample(runtime, verbs: list[str], walks: int = 200) -> list[str]:
    """Some of these verbs after which a runtime is not as the table says; [] if no walk finds any.

    `runtime()` makes a container that is "created". `.do(verb)` does a verb or raises StateError;
    `.state` is its state, "" once it is deleted. TRANSITIONS[(state, verb)] is the state that
    follows; what is not in it is to be refused, and then nothing changes.
    """
    for seed in range(walks):
        chance = random.Random(seed)
        container, state, walk = runtime(), "created", []
        while state and len(walk) < 8:
            verb = chance.choice(verbs)
            walk.append(verb)
            ...
    return []
'''

_BODY = """\
            allowed = (state, verb) in TRANSITIONS
            state = TRANSITIONS.get((state, verb), state)
            try:
                container.do(verb)
                refused = False
            except StateError:
                refused = True
            if refused == allowed or container.state != state:
                return walk
"""
SOLUTION = HOLE.replace("            ...\n", _BODY)

NO_REFUSALS = SOLUTION.replace("refused == allowed or ", "")
NO_STATES = SOLUTION.replace(" or container.state != state", "")
ALARM = SOLUTION.replace("refused == allowed or", "refused or")
ONE_WALK = SOLUTION.replace("range(walks)", "range(1)")

# Runtimes with one fault each. `_scene` says what the learner's function finds in each.
SCENE = '''

import labcontainer.errors
from labcontainer.runtime import lifecycle


class Right:
    def __init__(self):
        self.state, self.paused = "created", 0

    def do(self, verb):
        following = lifecycle.check(self.state, verb, "box")
        self.paused += verb == "pause"
        self.state = following


class StartsTwice(Right):
    def do(self, verb):
        if (self.state, verb) != ("running", "start"):
            super().do(verb)


class DeletesWhatRuns(Right):
    def do(self, verb):
        if (self.state, verb) == ("running", "delete"):
            self.state = ""
        else:
            super().do(verb)


class KillsNoPaused(Right):
    def do(self, verb):
        if (self.state, verb) == ("paused", "kill"):
            raise labcontainer.errors.StateError("cannot kill what stands still")
        super().do(verb)


class StaysAsleep(Right):
    def do(self, verb):
        super().do(verb)
        if verb == "resume" and self.paused > 1:
            self.state = "paused"


class StopsWhenRefused(Right):
    def do(self, verb):
        try:
            super().do(verb)
        except labcontainer.errors.StateError:
            if verb == "resume":
                self.state = "stopped"
            raise


class SaysRunning(Right):
    """Does everything right and tells it wrong."""

    def __init__(self):
        self.paused, self.real = 0, "created"

    @property
    def state(self):
        return "running" if self.real == "paused" else self.real

    def do(self, verb):
        self.real = lifecycle.check(self.real, verb, "box")


FAULTY = {
    "starts what runs already": StartsTwice,
    "deletes what still runs": DeletesWhatRuns,
    "refuses to kill what is paused": KillsNoPaused,
    "calls what is paused running": SaysRunning,
    "stays paused after the second pause": StaysAsleep,
    "a refused resume stops the container": StopsWhenRefused,
}


VERBS = ["start", "kill", "pause", "resume", "exec", "update", "delete"]


def _scene():
    return {title: counterexample(runtime, VERBS) for title, runtime in FAULTY.items()} | {
        "": counterexample(Right, VERBS)
    }


def _differs(title, walk):
    """Whether this walk shows that runtime's fault."""
    right, wrong = Right(), FAULTY[title]()
    for verb in walk:
        answers = []
        for one in (right, wrong):
            try:
                one.do(verb)
                answers.append(one.state)
            except labcontainer.errors.StateError:
                answers.append(["refused", one.state])
        if answers[0] != answers[1]:
            return True
        if not right.state:
            right, wrong = Right(), FAULTY[title]()
    return False
'''

HINTS = {
    "starts what runs already": "It should have been refused and was not: that is a fault as well.",
    "deletes what still runs": "It should have been refused and was not.",
    "refuses to kill what is paused": "What the table allows must not be refused.",
    "calls what is paused running": "Compare the state after each verb, too.",
    "stays paused after the second pause": "One walk is too few to find what happens seldom.",
    "a refused resume stops the container": "Refused is not yet well: nothing may have changed.",
}


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    found = trial.call("_scene")
    if found[""]:
        return not_yet(
            expected="[] for a runtime without a fault",
            observed=f"{' '.join(found[''])} is called one",
            where="the condition",
            hint="A refusal is right where the table has no such transition.",
        )
    for title, hint in HINTS.items():
        walk = found[title]
        if not walk or not trial.call("_differs", title, walk):
            return not_yet(
                expected=f"verbs that show a runtime which {title}",
                observed=f"{' '.join(walk)}: it is as it should be"
                if walk
                else "[]: no fault seen",
                where="the loop over a walk",
                hint=hint,
            )
    count = sum(len(walk) for walk in found.values())
    return done("six faults found, and none where there is none", f"{count} verbs for six faults")


EXERCISE = Exercise(
    id="runtime.counterexample",
    notebook="13_runtime",
    title="A property test",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Two questions after each verb: was it refused as it should? Is the state the table's?",
        "`try: container.do(verb)`, `except StateError:`, and note which of the two it was.",
        (
            "`allowed = (state, verb) in TRANSITIONS`, then "
            "`state = TRANSITIONS.get((state, verb), state)`."
        ),
    ),
    wrong=(
        Wrong(NO_REFUSALS, "It should have been refused and was not"),
        Wrong(NO_STATES, "Compare the state after each verb"),
        Wrong(ALARM, "where the table has no such transition"),
        Wrong(ONE_WALK, "no fault seen"),
    ),
)
