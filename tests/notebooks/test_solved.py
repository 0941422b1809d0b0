"""The course as a good student leaves it: every hole filled, every notebook run to its end.

What the cells below an exercise do with the package's function they must do with the learner's.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest

from labcontainer.lab.exercise import NOT_CHECKED, every, find
from tests.notebooks.learner import (
    HANGS,
    LEAN,
    NOTEBOOKS,
    SECONDS_A_CELL,
    Learner,
    code_cells,
    learner,
    users,
)

pytestmark = [pytest.mark.requires("sandbox"), pytest.mark.timeout(HANGS + 60)]


def solved(path: Path, home: Path) -> Path:
    """A copy of a notebook with the solutions in its exercise cells."""
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        if cell.source.startswith("%%exercise"):
            item = find(cell.source.split()[1])
            cell.source = f"%%exercise {item.id}\n{item.solution}"
    target = home / path.name
    nbformat.write(notebook, target)
    return target


def run(student: Learner, path: Path) -> list[str]:
    """Run it as `author execute` does, in the student's own home; the texts of its outputs."""
    say = (
        f"{LEAN}from pathlib import Path; from labcontainer.lab import author;"
        "import nbformat; from nbclient import NotebookClient;"
        "path = Path(sys.argv[1]); notebook = nbformat.read(path, as_version=4);"
        f"NotebookClient(notebook, timeout={SECONDS_A_CELL}, kernel_name='python3',"
        " resources={'metadata': {'path': str(path.parent)}}).execute();"
        "nbformat.write(notebook, path)"
    )
    ended = student.run([sys.executable, "-c", say, path])
    assert ended.returncode == 0, ended.stderr[-3000:]
    outputs = [o for c in code_cells(nbformat.read(path, as_version=4)) for o in c.outputs]
    return [o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_solved_notebook_runs_to_its_end(path: Path) -> None:
    ids = [item.id for item in every() if item.notebook == path.stem]
    with learner(os.geteuid()) as student:
        texts = run(student, solved(path, student.home))
        for name in ids:
            answers = [text for text in texts if text[1:].startswith(f" {name} · ")]
            assert len(answers) == 1, texts
            if NOT_CHECKED not in answers[0]:
                assert f"{name} · done" in answers[0]
        record = json.loads((student.home / "mycontainer/progress.json").read_text())
        assert all(record["answers"][name]["done"] for name in ids)
        modules = {find(name).module for name in ids}
        assert all((student.home / f"mycontainer/{module}.py").exists() for module in modules)


@pytest.mark.requires("busybox")
@pytest.mark.parametrize("uid", users(), ids=lambda uid: f"uid{uid}")
def test_a_container_runs_on_what_the_learner_wrote(uid: int) -> None:
    """All that can be replaced is; then one function is spoiled, and is the one that is missed."""
    program = Path(sys.executable).parent / "labcontainer"
    argv = [str(program), "run", "--rm", "--network", "none", "--using", "mycontainer", "busybox",
            "sh", "-c", "echo $$; hostname >/dev/null; echo ok"]  # fmt: skip
    with learner(uid) as student:
        ended = student.run([sys.executable, "-c", _WRITE_ALL])
        assert ended.returncode == 0, ended.stderr
        replaces = json.loads((student.home / "mycontainer/replaces.json").read_text())
        assert "labcontainer.rootfs.pivot_root" in replaces
        ended = student.run(argv, cwd=student.home)
        assert (ended.returncode, ended.stdout) == (0, "1\nok\n"), ended.stderr
        with (student.home / "mycontainer/chroot.py").open("a") as file:
            file.write("\n\ndef pivot(root):\n    raise OSError(1, 'this is mine')\n")
        ended = student.run(argv, cwd=student.home)
        assert ended.returncode == 125
        assert "this is mine" in ended.stderr


# Every exercise done, as far as `mycontainer/` is concerned.
_WRITE_ALL = """
from labcontainer.lab import mine, progress
from labcontainer.lab.exercise import every
record = progress.load()
for item in every():
    record.of(item.id).update(state="done", done=item.solution)
progress.save(record)
mine.write(record)
"""
