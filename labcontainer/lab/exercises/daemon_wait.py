"""daemon.wait: an answer that comes when the container has ended, and not before."""

from __future__ import annotations

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
def wait(container) -> int:
    """Wait until a container has ended; its exit status.

    `container.running` and `container.status` are changed by other threads, always with
    `container.changed` held, a threading.Condition that they notify at *any* change: a pause, a new
    name, the end.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    with container.changed:
        while container.running:
            container.changed.wait()
        return container.status
""",
)

ONCE = SOLUTION.replace("        while container.running:\n", "        if container.running:\n")
LOST = HOLE.replace(
    "    ...\n",
    """\
    while container.running:
        with container.changed:
            container.changed.wait()
    return container.status
""",
)
BUSY = HOLE.replace(
    "    ...\n",
    """\
    while container.running:
        pass
    return container.status
""",
)
NOT_IF_ENDED = SOLUTION.replace(
    "        while container.running:\n", "        while True:\n"
).replace(
    "            container.changed.wait()\n",
    "            container.changed.wait()\n            if not container.running:\n"
    "                break\n",
)

SCENE = '''


import threading
import time


class _Container:
    """What a daemon knows of one. `look` is called each time that somebody looks at `running`."""

    def __init__(self, status, look=lambda: None):
        self.changed = threading.Condition()
        self.status, self._running, self.looked, self.look = status, True, 0, look

    @property
    def running(self):
        self.looked += 1
        now = self._running
        self.look()
        return now

    def end(self):
        with self.changed:
            self._running = False
            self.changed.notify_all()


def _ask(container, seconds):
    """What `wait` gives, or None if it does not come back."""
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(wait(container)), daemon=True)
    waiting.start()
    waiting.join(seconds)
    return answers[0] if answers else None


def _ended(status):
    container = _Container(status)
    container.end()
    return _ask(container, 1)


def _later(status):
    """It ends after a while; before that, something else happens to it."""
    container = _Container(status)

    def life():
        for _ in range(3):
            time.sleep(0.1)
            with container.changed:
                container.changed.notify_all()
        time.sleep(0.1)
        container.end()
        lives.append(time.monotonic())

    lives = []
    threading.Thread(target=life, daemon=True).start()
    answer = _ask(container, 2)
    return answer, bool(lives) or not container._running, container.looked


def _between(status):
    """It ends just between the look and the wait of whoever looks without holding the lock."""
    ending = []

    def look():
        if not ending:
            ending.append(True)
            thread = threading.Thread(target=container.end, daemon=True)
            thread.start()
            thread.join(0.2)  # who holds the lock while looking makes this wait in vain

    container = _Container(status, look)
    return _ask(container, 1.5)
'''


def check(trial: Trial) -> Outcome:
    trial.code += SCENE
    status = trial.number("status", 1, 120)
    answer, over, looked = trial.call("_later", status)
    if looked > 100:
        return not_yet(
            expected="a thread that sleeps until something changes",
            observed="it looked more than a hundred times in half a second",
            where="the loop",
            hint="`container.changed.wait()` sleeps, and lets go of the lock while it does.",
        )
    if answer is not None and not over:
        return not_yet(
            expected="an answer when the container has ended",
            observed="one at the first change, while it still runs",
            where="after `changed.wait()`",
            hint="You are woken at *any* change: look again, and wait again. `while`, not `if`.",
        )
    if answer != status:
        return not_yet(expected=f"status {status}", observed=str(answer), where="`wait`")
    for scene, what, hint in (
        ("_ended", "a container that has ended before anybody asked",
         "Nothing will change any more: look first, and wait only if it runs."),
        ("_between", "one that ends just after you looked, and before you wait",
         "Look with the lock held: then nobody can change it between the look and the wait."),
    ):  # fmt: skip
        answer = trial.call(scene, status)
        if answer != status:
            return not_yet(
                expected=f"{what}: status {status}",
                observed="it waits for ever" if answer is None else str(answer),
                where="the look at `running`",
                hint=hint,
            )
    return done("before, after, and just in between")


EXERCISE = Exercise(
    id="daemon.wait",
    notebook="14_daemon",
    title="/wait",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox",),
    seconds=20,
    hints=(
        "`with container.changed:` holds the lock; `.wait()` lets go of it while it sleeps.",
        "Look with the lock held, in a loop: being woken does not say what has changed.",
        "`with container.changed:` / `while container.running:` / `container.changed.wait()`.",
    ),
    wrong=(
        Wrong(ONCE, "`while`, not `if`"),
        Wrong(LOST, "between the look and the wait"),
        Wrong(BUSY, "sleeps, and lets go"),
        Wrong(NOT_IF_ENDED, "Nothing will change any more"),
    ),
)
