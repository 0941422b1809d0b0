"""The system tests once more, under a kernel of their own: cgroup v2, and no privilege on the host.

They run as root of some guests, and as an ordinary user of another. A guest has one processor, and
a process takes ten times as long to start in it: so they are dealt out to guests, which the workers
of the step run side by side, and tests that walk through every step of our own code, the same under
any kernel, are left out.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from labcontainer.vm import uml

ROOT = Path(__file__).resolve().parents[2]
HOST_UID = 1000 if os.geteuid() == 0 else None
BUSY_SECONDS = 600
pytestmark = [pytest.mark.requires("uml"), pytest.mark.timeout(BUSY_SECONDS + 60)]


@dataclass
class Part:
    """What one guest runs: files of tests/system by name, other tests, and pytest's `-k`."""

    name: str
    uid: int
    system: str
    others: tuple[str, ...] = ()
    only: str = ""
    heard: bytearray = field(default_factory=bytearray)

    @property
    def argv(self) -> tuple[str, ...]:
        python = str(ROOT / ".venv/bin/python") if (ROOT / ".venv").exists() else sys.executable
        words = "-B -m pytest -p no:cacheprovider -q --tb=short -rfE --color=no"
        files = [f"tests/system/test_{name}.py" for name in self.system.split()]
        chosen = ("-k", self.only) if self.only else ()
        return (python, *words.split(), *files, *self.others, *chosen)

    def run(self) -> int:
        """The exit status of pytest in the guest; the guest's end, if it ends, is raised."""
        program = uml.Program(self.argv, uid=self.uid, cwd=str(ROOT))
        with uml.Guest(uml.Machine(memory="1G", uid=HOST_UID)) as guest:
            number = guest.exec(program, self.heard.extend, self.heard.extend)
            return guest.wait(number, BUSY_SECONDS)


# The longest first.
PARTS = (
    Part("run", 0, "run run_network run_terminal zygote overlay"),
    Part("runtime", 0, "oci users"),
    Part("network", 0, "network", only="not each_step"),
    Part("ladder", 0, "capabilities cgroups mounts namespaces rootfs seccomp"),
    Part("user", 1000, "rootfs seccomp overlay run_rootless users doctor"),
    # With a group of version 2 as systemd gives a user: elsewhere nobody may run these.
    Part("user-cgroups", 1000, "", ("tests/notebooks/test_exercises.py",), "cgroups and solution"),
)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_they_pass_inside(part: Part) -> None:
    try:
        status = part.run()
    except Exception as error:
        pytest.fail(f"{error}\n{part.heard.decode(errors='replace')[-12000:]}")
    inner = part.heard.decode(errors="replace")
    summary = inner.rstrip().rpartition("\n")[2]
    print(f"{part.name}, inside as uid {part.uid}: {summary}")
    passed = re.search(r"(\d+) passed", summary)
    assert passed and int(passed[1]) > 0, f"no test ran inside:\n{inner[-4000:]}"
    assert status == 0, f"{summary}\n{inner[-12000:]}"
