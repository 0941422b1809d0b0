"""cluster.ask: what a node's daemon says that it runs, or that nobody knows."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

from labcontainer.lab import engine, nodes
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.client import address, api
from labcontainer.errors import LabError


def ask(node: str, path: str, patience: float) -> list[dict] | None:
    """The tasks that a node's daemon says it runs; None where it does not answer.

    GET /containers/json gives the containers that run. Those with a label "service" are the
    manager's: a task has "service" and "node", and as numbers "slot", "memory" and "number" from
    its "Labels". LabError: nobody is there. TimeoutError: no answer in `patience` seconds.
    """
    client = api.Client(address.parse(f"unix://{path}"), patience)
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    try:
        found = client.get("/containers/json", filters={"label": ["service"]})
    except (LabError, TimeoutError):
        return None
    tasks = []
    for labels in [one["Labels"] for one in found]:
        task = {"service": labels["service"], "node": node}
        tasks.append(task | {key: int(labels[key]) for key in ("slot", "memory", "number")})
    return tasks
""",
)

ENDED_TOO = SOLUTION.replace('"/containers/json", ', '"/containers/json", all=True, ')
STRANGERS = SOLUTION.replace(', filters={"label": ["service"]}', "")
NOTHING = SOLUTION.replace("return None", "return []")
RAISES = SOLUTION.replace("(LabError, TimeoutError)", "TimeoutError")
WAITS = SOLUTION.replace("(LabError, TimeoutError)", "LabError")
TEXTS = SOLUTION.replace("int(labels[key])", "labels[key]")


def check(trial: Trial) -> Outcome:
    slot, memory = trial.number("slot", 2, 30), trial.number("memory", 16, 256)
    labels = {"service": trial.token("service"), "slot": str(slot), "memory": str(memory)}
    task = {"service": labels["service"], "node": "far", "slot": slot, "memory": memory}
    path = nodes.socket_of("far")
    daemon = _begin(trial)
    _run({**labels, "number": "8"}, "true", wait=True)
    _run({}, "sleep", "1000")
    _run({**labels, "number": "9"}, "sleep", "1000")
    said = trial.attempt("ask", "far", path, 30, timeout=40)
    if not said.returned or said.value != [task | {"number": 9}]:
        return not_yet(
            expected=f"of a daemon with a task, one that has ended and somebody else's: "
            f"{[task | {'number': 9}]}",
            observed=str(said.value) if said.returned else said.error,
            where="what you make of the answer",
            hint=_hint(said.value) if said.returned else STRANGER,
        )
    for what, number, hint in (
        ("a daemon that stands still (SIGSTOP)", signal.SIGSTOP,
         "No answer in time is a TimeoutError: catch that as well."),
        ("a daemon that was killed", signal.SIGKILL, "Nobody is there: that is a LabError."),
    ):  # fmt: skip
        daemon.send_signal(number)
        if number == signal.SIGKILL:
            daemon.wait()
        said = trial.attempt("ask", "far", path, 0.3)
        if not said.returned or said.value is not None:
            return not_yet(
                expected=f"{what}: None",
                observed=str(said.value) if said.returned else said.error or "it waits for ever",
                where="where there is no answer",
                hint="An empty list says: it runs nothing. But you do not know that."
                if said.value == []
                else hint,
            )
    return done("one task of three containers, and a silence that is told as one")


STRANGER = (
    "Somebody's own container runs there as well, without your labels: ask for those with one."
)


def _hint(found: Any) -> str:
    if len(found) > 1:
        return "One of these has ended. What is asked for is what runs: leave `all` out."
    return "A label is a text, a slot is a number: int()."


def _begin(trial: Trial) -> subprocess.Popen[bytes]:
    """A daemon in this sandbox, and an image with two programs."""
    nodes.furnish()
    log = open(f"{nodes.HOME}/far.log", "w")
    words = [*engine.LABCONTAINER, "daemon", "--host", f"unix://{nodes.socket_of('far')}"]
    daemon = subprocess.Popen(words, env=nodes.environment("far"), stdout=log, stderr=log)
    nodes.import_images(["far"])
    return daemon


def _run(labels: dict[str, str], *words: str, wait: bool = False) -> None:
    client = nodes.client("far")
    body = {"Image": "tools", "Cmd": words, "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
    made = client.post("/containers/create", body)["Id"]
    client.post(f"/containers/{made}/start")
    if wait:
        client.post(f"/containers/{made}/wait")


EXERCISE = Exercise(
    id="cluster.ask",
    notebook="20_many_machines",
    title="Ask a node",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=90,
    hints=(
        '`client.get("/containers/json")` gives a list; each has "Labels", a dict of texts.',
        'Ask for `filters={"label": ["service"]}`, or leave out those without that label.',
        "Put a `try` around the call, and `except (LabError, TimeoutError): return None`.",
    ),
    wrong=(
        Wrong(ENDED_TOO, "One of these has ended"),
        Wrong(STRANGERS, "ask for those with one"),
        Wrong(NOTHING, "But you do not know that"),
        Wrong(RAISES, "Nobody is there"),
        Wrong(WAITS, "No answer in time"),
        Wrong(TEXTS, "a slot is a number"),
    ),
)
