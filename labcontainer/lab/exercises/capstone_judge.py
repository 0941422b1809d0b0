"""capstone.judge: the whole box, on a blank page, against every program of the suite."""

from __future__ import annotations

import ast
import os
from typing import Any

from labcontainer import cgroups
from labcontainer.lab import capstone, hostile
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import json
import os
import signal
import time
from typing import Any

from labcontainer import namespaces, seccomp, seccomp_default
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import PR
from labcontainer.lab import capstone


def judge(program: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Run a stranger's Python program; {"ended": a word of `capstone.why`, "output": its text}.

    `limits` is as `capstone.LIMITS`. When this returns, nothing of the program is left.
    """
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    deadline, part = time.monotonic() + limits["wall"], capstone.parts()
    screen = seccomp.compile(seccomp_default.default_profile(()))
    group = capstone.new_group(limits)
    (ready, go), (output, prints), (report, tells) = os.pipe(), os.pipe(), os.pipe()
    pid, _ = syscalls.clone3(namespaces.clone_flags(KINDS))
    if pid == 0:
        try:
            os.close(go)
            if os.read(ready, 1):
                first(program, limits, part, screen, prints, tells)
        finally:
            os._exit(1)
    for fd in (ready, prints, tells):
        os.close(fd)
    try:
        capstone.admit(pid, group)
        os.write(go, b"g")
        said, taken = part["collect"](output, limits["output"], deadline)
        told, late = (b"", "") if taken else part["collect"](report, 4096, deadline)
        kills = group.oom_kills() if group else 0
        ended = taken or late or capstone.why(json.loads(told or b"{}"), limits, kills)
        return {"ended": ended, "output": said.decode(errors="replace")}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (go, output, report):
            os.close(fd)
        if group:
            group.delete()


KINDS = ("user", "pid", "mount", "network", "ipc", "uts", "cgroup")


def first(program, limits, part, screen, prints, tells) -> None:
    # PID 1: furnish, start the program, report its end.
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    syscalls.prctl(PR.SET_DUMPABLE, 0)
    null = os.open("/dev/null", os.O_RDONLY)
    part["furnish"](capstone.ROOM, capstone.shown(), limits["disk"])
    child = os.fork()
    if child == 0:
        try:
            for fd, source in enumerate((null, prints, prints)):
                os.dup2(source, fd)
            part["give_up"](screen)
            part["limit"](limits)
            python = capstone.PYTHON
            os.execve(python, [python, "-I", "-S", "-c", program], capstone.ENVIRONMENT)
        finally:
            os._exit(126)
    os.close(prints)
    os.write(tells, json.dumps(part["supervise"](child)).encode())
    os._exit(0)
""",
)

BORROWED = HOLE.replace("    ...\n", "    return capstone.judge(program, limits)\n")
NO_NETWORK = SOLUTION.replace('"network", ', "")
FULL_HANDS = SOLUTION.replace(
    '            part["give_up"](screen)\n', "            syscalls.close_range(3)\n"
)
INHERITS = SOLUTION.replace("capstone.ENVIRONMENT)", "dict(os.environ))")
NO_LIMITS = SOLUTION.replace('            part["limit"](limits)\n', "")
STRICT = SOLUTION.replace('part["limit"](limits)', 'part["limit"]({**limits, "processes": 2})')

# What an honest program reads of itself in /proc, inside.
WITNESS = """
for line in open("/proc/self/status"):
    name, value = line.split(":", 1)
    if name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp"): print(name, int(value, 16))
print(len([line for line in open("/proc/self/mountinfo") if line.split()[4] == "/"]), "root")
"""
WITNESSED = "CapEff 0\nCapBnd 0\nNoNewPrivs 1\nSeccomp 2\n1 root\n"
# The cheap ones first; those that take their time last.
LAST = ("loop", "sleeper", "hog")
GROUPED = ("sums", "bomb", "hog", "witness")  # a cgroup takes its time to go: so not for all

# In a process of its own: the programs one after the other, until one gets through.
SCENE = """
def _scene(names, limits, witness, grouped):
    from labcontainer.lab import hostile
    with hostile.Stage("/mnt/stage") as stage:
        for program in [*map(hostile.find, names), hostile.Program("witness", "", witness)]:
            group = limits["group"] if program.name in grouped else ""
            verdict = hostile.run(judge, program, stage, {**limits, "group": group})
            seen = stage.seen(program, verdict)
            if program.name == "witness":
                return ["witness", "", verdict]
            if seen:
                return [program.name, seen, verdict]
"""


def check(trial: Trial) -> Outcome:
    if outcome := _borrowed(trial.code):
        return outcome
    quick = [one.name for one in hostile.HOSTILE if one.name not in LAST]
    names = [*(one.name for one in hostile.HONEST), *quick, *LAST]
    seconds = capstone.LIMITS["seconds"] // 2
    limits = {**capstone.LIMITS, "seconds": seconds, "group": f"/{trial.group}"}
    scene = trial.with_code(trial.code + SCENE)
    spaces = ("pid", "mnt")
    asked = (names, limits, WITNESS, GROUPED)
    found = scene.call("_scene", *asked, namespaces=spaces, timeout=100)
    if outcome := _got_through(*found):
        return outcome
    if left := _left(f"/{trial.group}"):
        return not_yet(
            expected="no cgroup of the box is left",
            observed=left,
            where="the end of `judge`",
            hint="`group.delete()` when its processes have ended, in a `finally`.",
        )
    return done(f"{len(hostile.HOSTILE)} contained, {len(hostile.HONEST)} untouched",
                score=f"{lines_of(trial.code)} lines")  # fmt: skip


def _borrowed(code: str) -> Outcome | None:
    """The package's own judge is no answer: this page is to be written."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "capstone.judge":
            return not_yet(
                expected="a `judge` of your own, of the parts",
                observed="a call of capstone.judge",
                where=f"line {node.lineno} of the cell",
                hint="That one is the package's. `lab.show_source` shows it; then write.",
            )
    return None


def _got_through(name: str, seen: str, verdict: dict[str, Any] | None) -> Outcome | None:
    if name == "witness":
        said = str((verdict or {}).get("output"))
        if said == WITNESSED:
            return None
        wanted = WITNESSED.split("\n")
        lines = [*said.split("\n"), *[""] * len(wanted)]
        wrong = next(n for n in range(len(wanted)) if lines[n] != wanted[n])
        return not_yet(
            expected=f"an honest program reads in its /proc: {wanted[wrong]}",
            observed=lines[wrong][:80] or "nothing",
            where="the new process, before execve",
            hint="All of `give_up`, with the filter, and a root by `furnish`.",
        )
    program = hostile.find(name)
    if program.honest:
        return not_yet(
            expected=f"`{name}` is honest ({program.idea}) and comes through untouched",
            observed=seen,
            where="a limit, or the way from pipe to verdict",
            hint="What does it need that your box does not give? Run it alone and look at `ended`.",
        )
    return not_yet(
        expected=f"`{name}` is contained: it {program.idea}",
        observed=f"{seen}; verdict: {(verdict or {}).get('ended')}",
        where="the layer that is there for it",
        hint=program.hint,
    )


def _left(path: str) -> str:
    layout = cgroups.detect()
    tops = [top for top in (*layout.v1.values(), layout.v2) if top]
    return next((top + path for top in tops if os.path.exists(top + path)), "")


def lines_of(code: str) -> int:
    """Lines with code in them: no blank ones, no comments, no documentation."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1 and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant):
                del body[0]
    return len(ast.unparse(tree).replace("\n\n", "\n").strip().splitlines())


EXERCISE = Exercise(
    id="capstone.judge",
    notebook="21_capstone",
    title="The whole box, on a blank page",
    hole=HOLE,
    solution=SOLUTION,
    names=("judge",),
    check=check,
    needs=("sandbox",),
    writes=("cgroup",),
    seconds=110,
    hints=(
        (
            "Three pipes: go, output, report. clone3 with all kinds; the child waits, you write "
            "its map (`capstone.admit`), then say go, collect, collect the report, kill, wait."
        ),
        (
            "PID 1: setresgid, setresuid, PR.SET_DUMPABLE 0, `furnish`, fork, `supervise`, report. "
            "Its child: dup2 of /dev/null and the output, `give_up`, `limit`, execve."
        ),
        (
            "All parts are in `part = capstone.parts()`. "
            "`lab.show_source(capstone.judge)` shows the package's, which can leave layers out."
        ),
    ),
    wrong=(
        Wrong(BORROWED, "is the package's"),
        Wrong(STRICT, "comes through untouched"),
        Wrong(NO_NETWORK, "no way out"),
        Wrong(INHERITS, "an environment of its own"),
        Wrong(FULL_HANDS, "Drop its capabilities"),
        Wrong(NO_LIMITS, "it had all that it asked for"),
    ),
)
