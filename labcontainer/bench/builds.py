"""The subjects: a build of ten steps, all cached, by our command and by dockerd's classic builder.

dockerd gets namespaces of its own, in which its mounts, links and rules end with it. Both commands
read the same context from the disk; docker's sends it to its daemon, which is a part of its way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labcontainer.errors import LabError, UnsupportedError

BASE = "localhost/lcbench:base"
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--mount-proc",
           "--kill-child")  # fmt: skip
START = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec dockerd "$@"'
PATIENCE = 60  # seconds until dockerd answers
FILES = 200
DOCKERFILE = f"""FROM {BASE}
ENV A=1 B=2
WORKDIR /src
COPY few /src/few
COPY many /src/many
RUN echo one > /one
RUN echo two > /two
RUN cat /one /two > /three
LABEL made.by=bench
CMD ["sh"]
"""


def context(place: Path) -> Path:
    """A context of some hundred files, and the Dockerfile of ten steps."""
    top = place / "context"
    for folder, count in (("few", 5), ("many", FILES)):
        (top / folder).mkdir(parents=True)
        for number in range(count):
            (top / folder / f"file{number}").write_text(f"{number}\n" * 500)
    (top / "Dockerfile").write_text(DOCKERFILE)
    return top


def ours(place: Path, top: Path) -> Callable[[], None]:
    """`labcontainer build`, its base made and its cache filled."""
    script = Path(sys.executable).parent / "labcontainer"
    command = [str(script)] if script.exists() else [sys.executable, "-m", "labcontainer.cli.main"]
    environment = {**os.environ, "LABCONTAINER_HOME": str(place / "home")}
    call([*command, "image", "from-host", "busybox"], environment)
    call([*command, "tag", "busybox", BASE], environment)
    call([*command, "save", "-o", str(place / "base.tar"), BASE], environment)
    words = [*command, "build", "--network=none", "--quiet", str(top)]
    call(words, environment)
    return lambda: call(words, environment)


@contextmanager
def dockerd(place: Path, load: bool = True, bridge: str = "") -> Iterator[list[str]]:
    """A dockerd of our own, with the base image unless told; the words that start its command.

    `bridge` is the address of its bridge, as `10.213.9.1/24`; "" for none.

    Raises:
        UnsupportedError: it is not installed.
        LabError: it does not answer.
    """
    if not (shutil.which("dockerd") and shutil.which("docker")):
        raise UnsupportedError("the benchmark", "there is no dockerd", "apt install docker.io")
    (place / "config").write_text("{}")
    flags = [f"--host=unix://{place}/docker.sock", f"--pidfile={place}/pid",
             f"--data-root={place}/data", f"--exec-root={place}/exec",
             f"--config-file={place}/config", "--cgroup-parent=/lcbench"]  # fmt: skip
    flags += [f"--bip={bridge}"] if bridge else ["--bridge=none", "--iptables=false"]
    with (place / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen([*UNSHARE, "sh", "-c", START, "dockerd", *flags], stdout=log,
                                  stderr=log, stdin=subprocess.DEVNULL)  # fmt: skip
    words = ["docker", f"--host=unix://{place}/docker.sock"]
    try:
        _await(words, daemon)
        if load:
            call([*words, "load", f"--input={place}/base.tar"], {**os.environ})
        yield words
    finally:
        daemon.kill()
        daemon.wait()


def _await(words: list[str], daemon: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + PATIENCE
    while subprocess.run([*words, "version"], capture_output=True, check=False).returncode:
        if time.monotonic() > ends or daemon.poll() is not None:
            raise LabError("dockerd does not answer")
        time.sleep(0.2)


def classic(words: list[str], top: Path) -> Callable[[], None]:
    """`docker build` without BuildKit, its cache filled."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    build = [*words, "build", "--network=none", "--quiet", str(top)]
    call(build, environment)
    return lambda: call(build, environment)


def call(words: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command to its end. Raises LabError with its last words where it fails."""
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)  # fmt: skip
    if done.returncode:
        raise LabError(f"{words[0]} ended with {done.returncode}: {done.stderr.strip()}")
