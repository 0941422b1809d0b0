"""daemon.stop: ask, wait, force; and say so if there is nothing to do."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import subprocess


def stop(process: subprocess.Popen, seconds: float) -> int:
    """POST /containers/{id}/stop: the HTTP status.

    Ask the process to end (SIGTERM), give it so many seconds, then kill it (SIGKILL). When it has
    ended, 204. Where it has ended before, 304: nothing was changed. Whoever asks twice gets what
    they want twice, and no error.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    if process.poll() is not None:
        return 304
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return 204
""",
)

KILLS = SOLUTION.replace("    process.terminate()\n", "    process.kill()\n")
NEVER_FORCES = HOLE.replace(
    "    ...\n",
    """\
    if process.poll() is not None:
        return 304
    process.terminate()
    process.wait()
    return 204
""",
)
NOT_AGAIN = SOLUTION.replace("    if process.poll() is not None:\n        return 304\n", "")
TOO_EARLY = HOLE.replace(
    "    ...\n",
    """\
    if process.poll() is not None:
        return 304
    process.terminate()
    return 204
""",
)

SCENE = """


import time

GOOD = "trap 'echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
SLOW = "trap 'sleep 0.4; echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
DEAF = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


def _scene(script, seconds, times):
    process = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    answers = [stop(process, seconds) for _ in range(times)]
    ended = process.poll()
    if ended is None:
        process.kill()
    return answers, ended, process.communicate()[0].strip()
"""


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    for what, script, seconds, times, wanted, hint in (
        ("a program that tidies up at SIGTERM", "GOOD", 3, 1, [[204], 0, "tidied"],
         "SIGKILL can't be caught: the program had no chance to tidy up. Ask first."),
        ("one that needs 0.4 s for it", "SLOW", 3, 1, [[204], 0, "tidied"],
         "204 says that it has ended. Wait for that."),
        ("one that does not listen", "DEAF", 0.3, 1, [[204], -9, ""],
         "After so many seconds: SIGKILL."),
        ("two stops, one after the other", "GOOD", 3, 2, [[204, 304], 0, "tidied"],
         "Look first: who has ended needs no signal, and the answer is 304."),
    ):  # fmt: skip
        name = f"_{script.lower()}"
        code = f"\n\ndef {name}(seconds, times):\n    return _scene({script}, seconds, times)\n"
        scene = trial.with_code(trial.code + code)
        result = scene.attempt(name, seconds, times, timeout=seconds + 2)
        if not result.returned or result.value != wanted:
            return not_yet(
                expected=f"{what}: answers {wanted[0]}, then ended with {wanted[1]}",
                observed=_shown(result.value) if result.returned
                else "it waits for ever" if result.timed_out else result.error,
                where="`stop`",
                hint=hint,
            )  # fmt: skip
    return done("asked, waited, forced, and nothing to do")


def _shown(value: list[object]) -> str:
    answers, ended, said = value
    return f"answers {answers}, ended with {ended}" + (", tidied up" if said else ", not tidied up")


EXERCISE = Exercise(
    id="daemon.stop",
    notebook="14_daemon",
    title="An idempotent stop",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=25,
    hints=(
        "`process.poll()` is None as long as it runs.",
        "`process.terminate()` is SIGTERM, `process.kill()` SIGKILL.",
        "`process.wait(seconds)` raises subprocess.TimeoutExpired if it is not over by then.",
    ),
    wrong=(
        Wrong(KILLS, "Ask first"),
        Wrong(NEVER_FORCES, "After so many seconds"),
        Wrong(NOT_AGAIN, "Look first"),
        Wrong(TOO_EARLY, "answers [204], ended with None"),
    ),
)
