"""A figure that moves, in a real Jupyter kernel: other cells run meanwhile, one frame is kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from labcontainer.lab import figures, live
from tests.notebooks.learner import ROOT

DRAWS = """
from labcontainer.lab import course as lab
import time
count = 0
def draw():
    global count
    count += 1
    time.sleep(0.05)
    return lab.bars([("frames", count)], "", alt="One bar that grows with each frame.")
moving = lab.live(draw, seconds={seconds}, every=0.02)
"""


def run(*cells: str, static: str = "") -> list[list[dict[str, Any]]]:
    """Run cells in a kernel as JupyterLab does, which takes updates of a display at any time (and
    nbclient only those of the cell that runs); the outputs of each cell."""
    environment = dict(os.environ) | {"LABCONTAINER_STATIC": static, "PYTHONPATH": str(ROOT)}
    manager, client = start_new_kernel(kernel_name="python3", env=environment)
    try:
        return FrontEnd(client).run(cells)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


class FrontEnd:
    """The little of JupyterLab that matters here: outputs by cell, displays by their ids."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.outputs: dict[str, list[dict[str, Any]]] = {}
        self.displays: dict[str, dict[str, Any]] = {}

    def run(self, cells: Sequence[str]) -> list[list[dict[str, Any]]]:
        for cell in cells:
            self.wait_for(self.client.execute(cell))
        return list(self.outputs.values())

    def wait_for(self, cell: str) -> None:
        self.outputs[cell] = []
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            kind, content = message["msg_type"], message["content"]
            parent = message["parent_header"].get("msg_id")
            if kind == "status" and content["execution_state"] == "idle" and parent == cell:
                return
            if kind == "update_display_data":
                self.displays[content["transient"]["display_id"]].update(data=content["data"])
            elif kind in ("stream", "display_data", "execute_result", "error"):
                self.outputs[parent].append(content)
                if name := content.get("transient", {}).get("display_id"):
                    self.displays[name] = content


def text(outputs: list[dict[str, Any]]) -> str:
    return "".join(output.get("text", "") for output in outputs)


@pytest.fixture(autouse=True)
def kernel_of_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def until(fact: str) -> str:
    """Code that waits for something in the loop, as a cell may."""
    return f"import asyncio\nwhile not ({fact}): await asyncio.sleep(0.01)\n"


def test_other_cells_run_while_it_moves() -> None:
    cells = run(
        DRAWS.format(seconds=300),
        f"before = count\n{until('count > before')}print(moving.task.done())",
        f"moving.stop()\n{until('moving.task.done()')}"
        "await asyncio.get_running_loop().shutdown_default_executor()  # a frame under way\n"
        "stopped = count\nawait asyncio.sleep(0.3)\nprint(count == stopped)",
    )
    assert text(cells[1]) == "False\n"
    assert text(cells[2]) == "True\n"


def test_the_last_frame_is_what_a_saved_notebook_keeps() -> None:
    cells = run(DRAWS.format(seconds=0.5), "await moving\nprint(moving.frames)")
    (output,) = cells[0]
    assert "application/vnd.jupyter.widget-view+json" not in output["data"]
    assert int(text(cells[1])) > 1
    rows = output["data"]["text/plain"].splitlines()
    assert any(row.split() == ["frames", text(cells[1]).strip()] for row in rows), rows
    assert "data:image/svg+xml" in output["data"]["text/html"]


def test_a_cell_that_runs_again_ends_its_own_figure() -> None:
    again = DRAWS.format(seconds=300).replace("moving =", "first, moving = moving,")
    cells = run(
        DRAWS.format(seconds=300),
        again,
        f"{until('first.task.done()')}print(moving.task.done())\nmoving.stop()",
    )
    assert text(cells[2]) == "False\n"


def test_an_error_of_the_drawing_is_shown_in_its_place() -> None:
    fails = DRAWS.format(seconds=30).replace(
        "    time.sleep", "    1 / (3 - count)\n    time.sleep"
    )
    cells = run(fails, "await moving")
    (output,) = cells[0]
    assert output["data"]["text/plain"] == "ZeroDivisionError: division by zero"


def test_where_outputs_are_compared_there_is_one_frame() -> None:
    cells = run(DRAWS.format(seconds=30) + "moving", "print(count)", static="1")
    assert text(cells[1]) == "1\n"
    assert "<img" in cells[0][0]["data"]["text/html"]


def test_without_a_notebook_it_is_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCONTAINER_STATIC", raising=False)
    drawn = figures.bars([("a", 1)], "", alt="One bar of the length one.")
    assert live.live(lambda: drawn) is drawn
