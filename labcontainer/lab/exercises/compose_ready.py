"""compose.ready: go on, wait on, or give up."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def ready(condition: str, state: dict) -> bool | None:
    """Whether what a service waits for is so: True, not yet (None), or never (False).

    `condition` is service_started, service_healthy or service_completed_successfully. `state` has
    "Status" (created, running, exited), "ExitCode", and "Health" (starting, healthy, unhealthy).
    """
    ended = state["Status"] == "exited"
    if condition == "service_started":
        return True if state["Status"] != "created" else None
    ...
'''

_BODY = """\
    if condition == "service_completed_successfully":
        return state["ExitCode"] == 0 if ended else None
    if ended or state["Health"] == "unhealthy":
        return False
    return True if state["Health"] == "healthy" else None
"""
SOLUTION = HOLE.replace("    ...\n", _BODY)

PATIENT = SOLUTION.replace(
    '    if ended or state["Health"] == "unhealthy":\n        return False\n', ""
)
ANY_END = SOLUTION.replace('return state["ExitCode"] == 0 if ended', "return True if ended")
RUNNING = SOLUTION.replace('state["Health"] == "healthy" else None',
                           'state["Status"] == "running" else None')  # fmt: skip
HASTY = SOLUTION.replace(
    'True if state["Health"] == "healthy" else None', 'state["Health"] == "healthy"'
)


def check(trial: Trial) -> Outcome:
    failed = trial.number("status", 1, 120)
    for condition, status, code, health, right, hint in (
        ("service_started", "running", 0, "starting", True, "The first line has that already."),
        ("service_healthy", "running", 0, "healthy", True, "Healthy is what was waited for."),
        ("service_healthy", "running", 0, "starting", None,
         "It runs, and nobody has heard yet whether it is well: not yet."),
        ("service_healthy", "created", 0, "starting", None, "It has not begun: that is no never."),
        ("service_healthy", "running", 0, "unhealthy", False,
         "Who waits for what can't come any more waits for ever: give up, and tell."),
        ("service_healthy", "exited", failed, "starting", False,
         "What has ended will not become healthy: give up, and tell."),
        ("service_completed_successfully", "running", 0, "", None, "It has not ended yet."),
        ("service_completed_successfully", "exited", 0, "", True, "It has ended, and well."),
        ("service_completed_successfully", "exited", failed, "", False,
         "It has ended, and not *successfully*: the exit status tells."),
    ):  # fmt: skip
        state = {"Status": status, "ExitCode": code, "Health": health}
        found = trial.call("ready", condition, state)
        if found is not right:
            words = {True: "True: go on", None: "None: wait on", False: "False: give up"}
            return not_yet(
                expected=f"{condition}, {state} -> {words[right]}",
                observed=str(found),
                where="`ready`",
                hint=hint,
            )
    return done("go on, wait on, give up")


EXERCISE = Exercise(
    id="compose.ready",
    notebook="16_compose",
    title="Go on, wait on, give up",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    hints=(
        "Three answers: which states can still change into what is waited for?",
        "service_completed_successfully looks at `ended` and the exit status, and at nothing else.",
        "service_healthy: never, if it has ended or is unhealthy; True if healthy; else None.",
    ),
    wrong=(
        Wrong(PATIENT, "waits for ever"),
        Wrong(ANY_END, "not *successfully*"),
        Wrong(RUNNING, "nobody has heard yet"),
        Wrong(HASTY, "nobody has heard yet"),
    ),
)
