"""A place of their own for what `labcontainer` keeps, and ways to run it in the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MAIN = [sys.executable, "-m", "labcontainer.cli.main"]
TOP = str(Path(__file__).resolve().parents[2])
PATIENCE = 60  # seconds; the user-mode kernel and a busy machine are slow


class LabHome:
    """`labcontainer` as one user, with a LABCONTAINER_HOME that only this object has."""

    def __init__(self, uid: int = 0) -> None:
        self.uid = uid
        self.home = tempfile.mkdtemp(prefix="lc-home-")
        os.chmod(self.home, 0o755)
        self.env = {
            **os.environ,
            "LABCONTAINER_HOME": self.home,
            "HOME": self.home,
            "PYTHONPATH": os.pathsep.join(filter(None, [TOP, os.environ.get("PYTHONPATH", "")])),
        }
        self.drop: list[str] = []
        self.started: list[subprocess.Popen[str]] = []
        if uid and os.geteuid() == 0:
            os.chown(self.home, uid, uid)
            self.drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]

    def words(self, *given: str) -> list[str]:
        """The whole command line of `labcontainer …`."""
        return [*self.drop, *MAIN, *given]

    def call(self, *given: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `labcontainer …` to its end."""
        options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
        if options["stdin"] is None:
            del options["stdin"]
        options.setdefault("cwd", self.home)
        return subprocess.run(
            self.words(*given), capture_output=True, text=True, timeout=60, check=False,
            env={**self.env, **options.pop("env", {})}, **options,
        )  # fmt: skip

    def run(self, *given: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`labcontainer run --network none …` to its end: most tests need no network."""
        return self.call("run", "--network", "none", *given, **options)

    def start(self, *given: str, **options: Any) -> subprocess.Popen[str]:
        """`labcontainer run …`, left running, once its program has printed the line `ready`."""
        program = subprocess.Popen(
            self.words("run", *given), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            stdin=subprocess.DEVNULL, env=self.env, cwd=self.home, **options,
        )  # fmt: skip
        self.started.append(program)
        assert program.stdout is not None
        line = program.stdout.readline()
        if line != "ready\n":
            program.kill()
            raise AssertionError(f"{line!r}, {program.communicate()}")
        return program

    def running(self) -> list[str]:
        """The directories of running containers."""
        try:
            return os.listdir(f"{self.home}/single")
        except FileNotFoundError:
            return []

    def remove(self) -> None:
        """Take the place away, and first what a failed test has left running in it."""
        for program in self.started:
            if program.poll() is None:
                program.kill()
                program.communicate()
        eventually(lambda: self.running() == [])
        shutil.rmtree(self.home)


def home(uid: int = 0) -> Iterator[LabHome]:
    """A fixture's body: a LabHome with the busybox root, and nothing running at the end."""
    lab = LabHome(uid)
    try:
        made = lab.call("image", "from-host", "busybox")
        assert made.returncode == 0, made.stderr
        yield lab
        assert lab.running() == []
    finally:
        lab.remove()


def eventually(fact: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Whether a fact comes true in bounded time."""
    ends = time.monotonic() + patience
    while not fact():
        if time.monotonic() > ends:
            return False
        time.sleep(0.02)
    return True


def processes_with(mark: str) -> list[int]:
    """Living processes that have `mark` among their arguments."""
    found = []
    for name in os.listdir("/proc"):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            if name.isdigit() and mark.encode() in words:
                found.append(int(name))
        except OSError:
            continue
    return found


def finish(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit status and the rest of the outputs of a program that is ending."""
    out, err = program.communicate(timeout=60)
    return program.returncode, out, err
