"""A JupyterLab of its own on copies of the notebooks, and a Chromium that looks at it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "lc-test"
CHROMIUM_FLAGS = [
    "--no-sandbox",  # root's Chromium has none; the only pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Lab:
    """A running JupyterLab; `home` holds the copies and what a learner would write."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str) -> Any:
        """A GET of the server's REST interface."""
        with urllib.request.urlopen(f"{self.url}/api/{path}?token={TOKEN}", timeout=10) as answer:
            return json.load(answer)

    def page_of(self, notebook: str) -> str:
        """The address of a notebook, in a workspace that nobody has arranged."""
        return f"{self.url}/lab/tree/{notebook}?reset&token={TOKEN}"

    def outputs(self, notebook: str) -> list[dict[str, Any]]:
        """All outputs in the saved file."""
        cells = json.loads((self.home / notebook).read_text())["cells"]
        return [output for cell in cells for output in cell.get("outputs", ())]

    def is_done(self, notebook: str) -> bool:
        """Whether every cell in the saved file was run, or one has failed."""
        cells = json.loads((self.home / notebook).read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code" and cell["source"]]
        failed = any(one["output_type"] == "error" for cell in code for one in cell["outputs"])
        return failed or all(cell["execution_count"] for cell in code)


def copy_without_outputs(source: Path, target: Path) -> None:
    """A notebook as it was before anyone ran it, so that what is in it later was made here."""
    document = json.loads(source.read_text())
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    target.write_text(json.dumps(document))


@contextmanager
def lab(home: Path) -> Iterator[Lab]:
    """JupyterLab as `make lab` starts it, in `home`."""
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        copy_without_outputs(notebook, home / notebook.name)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--ServerApp.port={port}",
            f"--IdentityProvider.token={TOKEN}", "--allow-root",
            f"--ServerApp.root_dir={home}"]  # fmt: skip
    private = {name: str(home / f".{name}") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR",
               "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}  # fmt: skip
    environment = os.environ | private | {"HOME": str(home), "LABCONTAINER_HOME": str(home)}
    log = (home / ".log").open("w")
    server = subprocess.Popen(argv, cwd=home, env=environment, stdout=log, stderr=log)
    try:
        running = Lab(home, port)
        _wait_for(running, server)
        yield running
    finally:
        server.terminate()
        server.wait(60)
        log.close()


def _wait_for(running: Lab, server: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 180
    while time.monotonic() < ends:
        try:
            running.ask("status")
            return
        except (OSError, urllib.error.URLError):
            assert server.poll() is None, (running.home / ".log").read_text()
            time.sleep(0.3)
    raise AssertionError("JupyterLab did not answer in three minutes")


@contextmanager
def browser(profile: Path, width: int = 1280, height: int = 1000) -> Iterator[Page]:
    """A fresh Chromium with one page."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=CHROMIUM_FLAGS,
            env={**os.environ, "HOME": str(profile), "TMPDIR": str(profile)},
        )
        page = chromium.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(180_000)
        yield page
        chromium.close()


def run_all(page: Page, running: Lab, notebook: str) -> None:
    """Open a notebook, run all of it by the menu, and save it, as a learner would."""
    page.goto(running.page_of(notebook))
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # before, it asks for a kernel
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    ends = time.monotonic() + 180
    while not running.is_done(notebook):
        assert time.monotonic() < ends, f"{notebook} was not run and saved in three minutes"
        page.keyboard.press("Control+s")  # a cell has its number when it is done
        page.wait_for_timeout(500)
