"""The lab where neither root nor a user namespace is to be had: lessons run in a user-mode kernel.

The learner is uid 1000 without capabilities, with no_new_privs and Docker's default seccomp filter.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from labcontainer.lab.exercise import DONE, NOT_YET, Outcome, find
from tests.notebooks.learner import HANGS, JUDGE, NOTEBOOKS, ROOT, Learner, learner, nbval
from tests.vm.guests import kernels

UID = 1000 if os.geteuid() == 0 else os.geteuid()
pytestmark = [pytest.mark.requires("uml", "seccomp"), pytest.mark.timeout(HANGS + 60)]
CONFINED = """
import os, sys
from labcontainer import seccomp, seccomp_default
seccomp.no_new_privs()
seccomp.install(seccomp.compile(seccomp_default.default_profile(())))
os.execvp(sys.argv[1], sys.argv[1:])
"""


def confined(student: Learner, *argv: str | Path, text: str = "", **env: str
             ) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a program as a learner in a container that allows no namespace."""
    words = ["env", *(f"{name}={value}" for name, value in env.items())]
    words += [sys.executable, "-c", CONFINED, *map(str, argv)]
    return student.run(words, text=text)


def python(student: Learner, code: str, place: str = "") -> list[str]:
    done = confined(student, sys.executable, "-c", code, LABCONTAINER_WHERE=place)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_learner_is_as_confined_as_is_said() -> None:
    with learner(UID) as student:
        done = confined(student, "unshare", "-Ur", "true")
        assert "Operation not permitted" in done.stderr
        assert python(student, "from labcontainer.lab import doctor; print(doctor.best_tier())") \
            == ["T0"]  # fmt: skip


OURS = os.uname().release
SWITCH = f"""
import os
from labcontainer.lab import course as lab
from labcontainer.lab import where
os.environ["LABCONTAINER_WORK"] = os.environ["LABCONTAINER_HOME"] + "/not/yet"
lab.start("02_chroot", tier="T1")
print(where.state())
lab.run("import os; print(os.uname().release != '{OURS}', os.geteuid(), os.getpid() < 9)")
lab.run("print(open('/proc/self/cgroup').read().startswith('0::'))", namespaces=("pid", "mnt"))
lab.shell("mount -t tmpfs x /mnt && echo mounted; exit 3")
lab.command("sh", "-c", "hostname; exit 4")
"""


def test_the_doctor_switches_where_there_is_nothing_else() -> None:
    with learner(UID) as student:
        said = python(student, SWITCH)
    assert said[0] == "02_chroot needs T1 · this machine: TU, root in the user-mode kernel"
    assert said[1] == "{'where': 'uml', 'guest': True}"
    assert said[2:] == [
        "True 0 True", "True", "$ mount -t tmpfs x /mnt && echo mounted; exit 3", "mounted",
        "[exit status 3]", "$ sh -c 'hostname; exit 4'", "lab", "[exit status 4]",
    ]  # fmt: skip


def test_whoever_chose_this_machine_stays_there() -> None:
    code = "from labcontainer.lab import course as lab\nlab.start('02_chroot', tier='T1')\n"
    with learner(UID) as student:
        said = python(student, code, place="here")
    assert said[1].startswith("Cells below will fail here. sandbox: ")


def judged(student: Learner, answers: Sequence[tuple[str, str]]) -> list[Outcome]:
    done = confined(student, sys.executable, "-c", JUDGE, text=json.dumps(answers),
                    LABCONTAINER_WHERE="uml")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]


def test_checks_judge_there_as_anywhere() -> None:
    names = ("chroot.enter", "namespaces.own_name", "users.be_root", "cgroups.choose")
    items = [find(name) for name in names]
    answers = [(item.id, code) for item in items for code in (item.solution, item.wrong[0].code)]
    with learner(UID) as student:
        found = judged(student, answers)
    states = [one.state for one in found]
    assert states == [DONE, NOT_YET] * len(items), found


@pytest.mark.parametrize("stem", ["02_chroot", "03_namespaces"])
def test_a_notebook_runs_there_with_the_same_outputs(stem: str) -> None:
    (path,) = [path for path in NOTEBOOKS if path.stem == stem]
    with learner(UID) as student:
        done = confined(student, *nbval(path))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


HOLDS = """
import os, time
from labcontainer.lab import course as lab
lab.where("uml")
lab.run("pass")
print(os.getpid(), flush=True)
time.sleep(100)
"""


def test_a_killed_notebook_leaves_no_kernel() -> None:
    with learner(UID) as student:
        program = subprocess.Popen(
            ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", sys.executable, "-c",
             HOLDS] if os.geteuid() == 0 else [sys.executable, "-c", HOLDS],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"LABCONTAINER_HOME": str(student.home), "TMPDIR": str(student.home)},
        )  # fmt: skip
        assert program.stdout is not None
        assert program.stdout.readline().strip() == str(program.pid)
        assert kernels(student.home)
        program.send_signal(signal.SIGKILL)
        program.communicate()
        ends = time.monotonic() + 60
        while kernels(student.home) and time.monotonic() < ends:
            time.sleep(0.05)
        assert not kernels(student.home)
