"""A world of its own for a foreign engine: namespaces in which it may do what it likes.

Its mounts, links, firewall rules, processes and the files in /run end with the world. Its data lie
below one directory, its cgroups below one group of a name that only this world has.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# It dies with the tests, also when those are interrupted or killed.
TIED = ("setpriv", "--pdeathsig=KILL", "--")
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--mount-proc")
# Places that engines write to, whatever their options say.
PRIVATE = ("/run", "/var/lib/cni", "/var/lib/containers", "/var/lib/docker", "/var/lib/containerd")


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, f"{what} did not happen in {seconds} s"
        time.sleep(0.05)


class World:
    """Namespaces held by one process; the end of that process is the end of all in them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.cgroup = f"labcontainer-engines-{os.getpid()}-{time.monotonic_ns()}"
        self._holder = subprocess.Popen([*TIED, *UNSHARE, "--kill-child", "sleep", "infinity"])
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        wait_for(lambda: bool(children.read_text().split()))
        self.pid = int(children.read_text().split()[0])
        self._first = os.pidfd_open(self.pid)
        wait_for(lambda: Path(f"/proc/{self.pid}/comm").read_text() == "sleep\n")
        for folder in PRIVATE:
            if os.path.isdir(folder):
                self.run("mount", "-t", "tmpfs", "tmpfs", folder)
        self.run("ip", "link", "set", "lo", "up")
        self.runtime = self._runtime()

    def _runtime(self) -> Path:
        """Our runtime as a program of one file, as an installation makes it."""
        path = self.place / "labcontainer-oci"
        path.write_text(
            f"#!{os.path.realpath(sys.executable)} -IS\n"
            f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from labcontainer.runtime.oci import main\nsys.exit(main())\n"
        )
        path.chmod(0o755)
        return path

    def argv(self, *argv: str | Path) -> list[str]:
        """A command as it is to be called from outside to run inside."""
        return [
            "nsenter",
            f"--target={self.pid}",
            "-m",
            "-n",
            "-p",
            "-u",
            "-i",
            "--",
            *map(str, argv),
        ]

    def call(
        self,
        *argv: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        timeout: float = 90,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, to its end."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            self.argv(*argv),
            env={**os.environ, **(env or {})},
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd="/",
        )
        text = (done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        return subprocess.CompletedProcess(done.args, done.returncode, *text)

    def run(self, *argv: str | Path, **options: str) -> str:
        """What a command that must succeed prints."""
        done = self.call(*argv, stdin=options.get("stdin"))
        assert done.returncode == 0, f"{argv}: {done.returncode}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def start(self, *argv: str | Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a daemon inside."""
        with log.open("wb") as file:
            return subprocess.Popen(
                self.argv(*argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/"
            )

    def answers(
        self, daemon: subprocess.Popen[bytes], log: Path, question: Callable[[], bool]
    ) -> None:
        """Wait until a daemon does; say its own last words where it ends, or does not in time."""

        def settled() -> bool:
            return question() or daemon.poll() is not None

        try:
            wait_for(settled, 90)
            assert daemon.returncode is None, f"it ended with {daemon.returncode}"
        except AssertionError as error:
            raise AssertionError(f"{error}: {log.read_text()[-2000:]}") from None

    def close(self, daemons: Sequence[subprocess.Popen[bytes]] = ()) -> None:
        """End everything: by the death of the PID namespace's first process.

        That one is dead when all others of its namespace are: pid_namespaces(7).
        """
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                pass
        self._holder.kill()
        self._holder.wait()
        ended, _, _ = select.select([self._first], [], [], 60)
        os.close(self._first)
        assert ended, "processes of the world outlive SIGKILL"
        for daemon in daemons:
            daemon.wait()
        wait_for(self._cgroups_are_gone)
        shutil.rmtree(self.place, ignore_errors=True)

    def _cgroups_are_gone(self) -> bool:
        left = False
        for top in Path("/sys/fs/cgroup").glob(f"*/{self.cgroup}"):
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    pass
                except OSError:
                    left = True
        return not left
