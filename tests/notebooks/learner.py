"""A learner for the tests: an empty home, the course's own seed, root or an ordinary user."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

from labcontainer.lab import author
from labcontainer.lab.exercise import Outcome

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SANITIZE = ROOT / "tests/notebooks/sanitize.cfg"
ORDINARY = 1000
# Nothing but what hangs takes so long: what may be used is counted in processor time.
SECONDS_A_CELL = 300
HANGS = 900
# What reads notebooks imports jsonschema, which builds a grammar of addresses for a check that no
# notebook needs: two thirds of the processor time of a run's start.
LEAN = "import sys; sys.modules['rfc3987_syntax'] = None\n"
PYTEST = f"{LEAN}import pytest; sys.exit(pytest.console_main())"
# Judges each (id, code) of a list on standard input; one outcome a line.
JUDGE = """
import json, sys
from labcontainer.lab.exercise import find
from labcontainer.lab.judge import judge
for name, code in json.load(sys.stdin):
    print(json.dumps(judge(find(name), code).as_dict()), flush=True)
"""


class Learner:
    """Runs programs as a user whose home, `mycontainer/` and caches are in an own folder."""

    def __init__(self, home: Path, uid: int) -> None:
        self.home = home
        self.uid = uid

    def run(
        self, argv: Sequence[str | Path], *, text: str = "", cwd: Path = ROOT
    ) -> subprocess.CompletedProcess[str]:
        """Run to its end."""
        drop: list[str] = []
        if self.uid != os.geteuid():
            drop = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups",
                    "--inh-caps=-all", "--"]  # fmt: skip
        environment = os.environ | author.environment(self.home) | {
            "HOME": str(self.home),
            "JUPYTER_RUNTIME_DIR": str(self.home / ".runtime"),
            "JUPYTER_DATA_DIR": str(self.home / ".data"),
            "XDG_RUNTIME_DIR": str(self.home),
        }
        return subprocess.run(
            [*drop, *map(str, argv)],
            input=text, capture_output=True, text=True, timeout=HANGS, check=False, cwd=cwd,
            env=environment,
        )  # fmt: skip

    def judge(self, *answers: tuple[str, str]) -> list[Outcome]:
        """What the checks say to answers, (exercise id, code) each, one after the other."""
        ended = self.run([sys.executable, "-c", JUDGE], text=json.dumps(answers))
        assert ended.returncode == 0, ended.stderr
        return [Outcome(**json.loads(line)) for line in ended.stdout.splitlines()]


@contextmanager
def learner(uid: int) -> Iterator[Learner]:
    """A learner with an empty home, which goes at the end."""
    home = Path(tempfile.mkdtemp(prefix="lc-learner-"))
    try:
        if os.geteuid() == 0:
            os.chown(home, uid, uid)
        yield Learner(home, uid)
    finally:
        shutil.rmtree(home, ignore_errors=uid != os.geteuid())


def users() -> list[int]:
    """Who the tests can be: root and an ordinary user where we are root, else ourselves."""
    return [0, ORDINARY] if os.geteuid() == 0 else [os.geteuid()]


def tier(path: Path) -> str:
    """The tier that a notebook's `lab.start` names; T1 where it names none."""
    source = "\n".join(cell.source for cell in code_cells(nbformat.read(path, as_version=4)))
    found = re.search(r"lab\.start\([^)]*tier=\"(T\d)\"", source)
    return found[1] if found else "T1"


def who_can(path: Path) -> list[int]:
    """The users that a notebook and its exercises are tried as: for T2 root alone."""
    return [uid for uid in users() if not uid or tier(path) != "T2"] or users()


def nbval(path: Path, seconds: int = SECONDS_A_CELL) -> list[str]:
    """The command that runs a notebook and compares its outputs with the stored ones."""
    options = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={path.parent}"]
    options += ["--nbval", "--nbval-current-env", f"--nbval-sanitize-with={SANITIZE}"]
    return [sys.executable, "-c", PYTEST, *options, f"--nbval-cell-timeout={seconds}", str(path)]


def code_cells(notebook: Any) -> list[Any]:
    """The cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
