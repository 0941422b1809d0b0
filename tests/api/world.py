"""A daemon of ours as a process, and the docker command for it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so; the bound is for a machine that has much else to do."""
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, f"{what} did not happen in {seconds} s"
        time.sleep(0.02)


class Daemon:
    """`labcontainer daemon` with a home and a socket of its own."""

    def __init__(self, place: Path, *words: str) -> None:
        self.place = place
        self.home = place / "home"
        self.socket = place / "s.sock"
        self.words = words
        self.log = place / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.env = {**os.environ, "LABCONTAINER_HOME": str(self.home), "DOCKER_BUILDKIT": "0",
                    "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(place / "docker"),
                    "LABCONTAINER_HOST": f"unix://{self.socket}"}  # fmt: skip

    def start(self) -> Daemon:
        """Start it and wait until it listens."""
        ready, theirs = os.pipe()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command("daemon"), "--host", f"unix://{self.socket}", "--debug",
                 "--ready-fd", str(theirs), *self.words],
                env=self.env, stdout=log, stderr=log, pass_fds=[theirs], cwd=ROOT,
            )  # fmt: skip
        os.close(theirs)
        told = os.read(ready, 1)
        os.close(ready)
        assert told, f"the daemon did not begin: {self.said()}"
        return self

    def said(self) -> str:
        """What it has written."""
        return self.log.read_text(errors="replace")

    @staticmethod
    def command(*words: str) -> list[str]:
        """Our own command line."""
        return [sys.executable, "-m", "labcontainer.cli.main", *words]

    def kill(self) -> None:
        """kill -9: it has no chance to say good-bye."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, as an init system ends it; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def call(
        self, *words: str, stdin: bytes | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Any command in the daemon's environment."""
        return subprocess.run(words, env=self.env, input=stdin, capture_output=True,
                              timeout=seconds, check=False)  # fmt: skip

    def docker(self, *words: str, stdin: bytes | None = None, seconds: float = 60) -> str:
        """The docker command, which must succeed; what it printed."""
        done = self.call("docker", *words, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"docker {words}: {done.returncode}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def fails(self, *words: str) -> tuple[int, str]:
        """The docker command, which must fail: (exit status, what it said)."""
        done = self.call("docker", *words)
        assert done.returncode != 0, f"docker {words} went well: {done.stdout.decode()}"
        return done.returncode, done.stderr.decode() + done.stdout.decode()

    def own(self, *words: str, stdin: bytes | None = None) -> str:
        """Our own command, which must succeed."""
        done = self.call(*self.command(*words), stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.returncode}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def remove_volumes(self) -> None:
        """Remove all volumes: `prune` takes -a only with newer commands."""
        if names := self.docker("volume", "ls", "-q").split():
            self.docker("volume", "rm", *names)

    def clean(self) -> None:
        """Remove all containers, so that tests do not see one another's."""
        names: Sequence[str] = self.docker("ps", "-aq").split()
        if names:
            self.docker("rm", "-f", "-v", *names)


class Typed:
    """A command at a terminal of its own: it is typed to when it has said something."""

    def __init__(self, daemon: Daemon, *words: str, size: tuple[int, int] = (24, 80)) -> None:
        self._master, theirs = os.openpty()
        termios.tcsetwinsize(theirs, size)
        self._process = subprocess.Popen(words, env=daemon.env, stdin=theirs, stdout=theirs,
                                         stderr=theirs, start_new_session=True)  # fmt: skip
        os.close(theirs)
        self.said = b""

    def hears(self, mark: bytes) -> None:
        """Wait until it has said this, and forget what it said up to there."""
        ends = time.monotonic() + 60
        while mark not in self.said:
            assert time.monotonic() < ends and self._read(), f"{mark!r} is not in {self.said!r}"
        self.said = self.said.partition(mark)[2]

    def types(self, data: bytes) -> None:
        """Press keys."""
        os.write(self._master, data)

    def ends(self) -> int:
        """Hear it to its end; its exit status."""
        ends = time.monotonic() + 60
        while self._read():
            assert time.monotonic() < ends, f"it does not end, and said {self.said!r}"
        os.close(self._master)
        return self._process.wait(60)

    def _read(self) -> bool:
        """Hear some more; false when nothing comes for a minute, or ever again."""
        if not select.select([self._master], [], [], 60)[0]:
            return False
        try:
            data = os.read(self._master, 4096)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.said += data
        return bool(data)
