"""A released notebook runs from top to bottom, though nobody has solved anything."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from labcontainer.lab import release
from tests.notebooks.learner import NOTEBOOKS, SECONDS_A_CELL, learner, tier, users

NAME = "09_layers"  # quick, and it has exercises with and without the package's own answer
RUN = """
import json, sys
import nbformat
from nbclient import NotebookClient
path, seconds = sys.argv[1:]
notebook = nbformat.read(path, as_version=4)
place = {"metadata": {"path": path.rpartition("/")[0]}}
NotebookClient(notebook, timeout=int(seconds), kernel_name="python3", resources=place).execute()
said = [(cell.metadata.get("tags", []), json.dumps(cell.outputs)) for cell in notebook.cells
        if cell.cell_type == "code"]
print(json.dumps(said))
"""


@pytest.mark.parametrize("uid", users(), ids=lambda uid: f"uid{uid}")
def test_a_released_notebook_runs_to_its_end(uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tier({path.stem: path for path in NOTEBOOKS}[NAME]) in ("T0", "T1")
    with learner(uid) as student:
        top = student.home / "course"
        release.release(top, (NAME,))
        for path in (top, *top.rglob("*")):
            os.chown(path, uid, uid)
        monkeypatch.setenv("PYTHONPATH", str(top))
        script = Path(student.home, "run.py")
        script.write_text(RUN)
        words: list[str | Path] = [
            sys.executable,
            script,
            top / f"notebooks/{NAME}.ipynb",
            str(SECONDS_A_CELL),
        ]
        ended = student.run(words, cwd=top)
    assert ended.returncode == 0, ended.stderr
    cells = json.loads(ended.stdout)
    failed = [tags for tags, outputs in cells if '"output_type": "error"' in outputs]
    assert all(release.MAY_FAIL in tags for tags in failed)
    text = " ".join(outputs for _, outputs in cells)
    assert "not attempted" in text
    assert "is the empty hole" in text
    assert "is yours to write" in text
