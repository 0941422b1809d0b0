"""The course as a learner sees it: JupyterLab in a browser, first notebook, Run All."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import jupyter

pytestmark = [pytest.mark.requires("chromium"), pytest.mark.timeout(900)]
FIRST = "00_start_here.ipynb"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[jupyter.Lab]:
    with jupyter.lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


def test_first_notebook_runs_from_top_to_bottom(lab: jupyter.Lab, tmp_path: Path) -> None:
    problems: list[str] = []
    with jupyter.browser(tmp_path) as page:
        page.on("pageerror", lambda error: problems.append(str(error)))
        jupyter.run_all(page, lab, FIRST)
        page.screenshot(path=str(jupyter.ROOT / ".test-reports/start.png"))
        text = page.inner_text(".jp-Notebook")
    errors = [output for output in lab.outputs(FIRST) if output["output_type"] == "error"]
    assert errors == []
    assert len(lab.outputs(FIRST)) > 3, "nothing was run"
    assert problems == []
    assert "Error displaying widget" not in text


def test_figures_have_words(lab: jupyter.Lab) -> None:
    """What a picture shows must be there for those who do not see it."""
    html = " ".join(str(output.get("data", "")) for output in lab.outputs(FIRST))
    pictures = re.findall(r"<img [^>]*>", html)
    assert all(re.search(r"alt=['\"\\\\]+\w", picture) for picture in pictures)
