"""The subjects: a notebook's kernel from its start to the first cell that has run.

    plain kernel        ipykernel on this machine
    boot                the user-mode kernel alone, to its first program and back
    user-mode kernel    ipykernel inside the user-mode kernel

What the guest may cost is what it is made of: the first two together.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labcontainer.bench import builds
from labcontainer.errors import LabError, UnsupportedError

OWN = [sys.executable, "-m", "labcontainer.cli.main"]
FIRST_CELL = """
import sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name=sys.argv[1], startup_timeout=100)
reply = client.execute_interactive("6 * 7", timeout=100)
client.stop_channels()
manager.shutdown_kernel()
sys.exit(reply["content"]["status"] != "ok")
"""


@contextmanager
def subjects(place: Path) -> Iterator[dict[str, Callable[[], None]]]:
    """Name -> an action; the guest's kernel is known to Jupyter inside the block only.

    Raises:
        UnsupportedError: there is no user-mode kernel, or no Jupyter.
    """
    words = [*OWN, "lab", "kernel", "install", "--prefix", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError("the benchmark", done.stderr.strip(), "apt install user-mode-linux")
    environment = {**os.environ, "JUPYTER_PATH": f"{place}/share/jupyter"}

    def cell(kernel: str) -> Callable[[], None]:
        return lambda: builds.call([sys.executable, "-c", FIRST_CELL, kernel], environment)

    yield {
        "plain kernel": cell("python3"),
        "boot": lambda: builds.call([*OWN, "vm", "run", "true"]),
        "user-mode kernel": cell("labcontainer-uml"),
    }


def ratio(taken: dict[str, list[float]]) -> list[float]:
    """For each round, the guest's time over the plain kernel's and the boot's together."""
    if not all(taken.values()):
        raise LabError("no rounds")
    rounds = zip(taken["user-mode kernel"], taken["plain kernel"], taken["boot"], strict=True)
    return [guest / (plain + boot) for guest, plain, boot in rounds]
