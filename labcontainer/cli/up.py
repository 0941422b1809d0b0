"""`labcontainer up`: start the lab where there is no Linux to build on: macOS, Windows.

The lab runs in a Linux that another program keeps: a container engine's (Docker Desktop, podman
machine), Lima's, or Windows' own (WSL 2). This command chooses one that is installed, prints the
steps, and runs them. On Linux it says `make lab`, which needs nothing of this.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from argparse import ArgumentParser, Namespace

IMAGE = "labcontainer-lab"
INSIDE = "/home/jovyan/labcontainer"
WAYS = ("make", "docker", "podman", "lima", "wsl")
PROGRAMS = {"make": "make", "docker": "docker", "podman": "podman", "lima": "limactl", "wsl": "wsl"}
# The first that is installed is taken: an engine's machine is up already, others must be made.
ORDER = {"linux": ("make",), "darwin": ("docker", "podman", "lima"),
         "win32": ("docker", "podman", "wsl")}  # fmt: skip


def configure(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--print", action="store_true", help="print the steps, run nothing")
    parser.add_argument("--with", dest="way", choices=WAYS, help="by this program")
    parser.add_argument("--port", type=int, default=8888, metavar="N", help="JupyterLab's port")


def run(args: Namespace) -> int:
    """Print the steps; run them one after another, until one fails."""
    import subprocess

    top = checkout()
    chosen = args.way or choose(sys.platform)
    for words in steps(chosen, top, args.port):
        print("$", shlex.join(words), flush=True)
        if args.print:
            continue
        status = subprocess.run(words, cwd=top, check=False).returncode
        if status:
            return status
    return 0


def checkout() -> str:
    """The course's folder: the parent of this package.

    Raises:
        NotFoundError: the package was installed without it.
    """
    import labcontainer
    from labcontainer.errors import NotFoundError

    top = os.path.dirname(os.path.dirname(os.path.abspath(labcontainer.__file__)))
    if not os.path.exists(os.path.join(top, "binder", "Dockerfile")):
        raise NotFoundError(f"{top} is no checkout of the course: binder/Dockerfile does not exist")
    return top


def choose(platform: str) -> str:
    """The way for a kind of machine that is installed on it.

    Raises:
        UnsupportedError: none is; what to install.
    """
    from labcontainer.errors import UnsupportedError

    ways = ORDER.get(platform, ())
    for way in ways:
        if shutil.which(PROGRAMS[way]):
            return way
    wanted = " or ".join(PROGRAMS[way] for way in ways) or "a Linux machine"
    fix = "install Docker Desktop, podman, Lima (macOS) or WSL 2 (Windows)"
    raise UnsupportedError("labcontainer up", f"nothing here can run Linux: no {wanted}", fix)


def steps(way: str, top: str, port: int) -> list[list[str]]:
    """The commands of a way, in their order; they run in the checkout."""
    lab = f"--no-browser --port {port}"
    if way == "make":
        return [["make", "lab", f"LAB_ARGS=--port {port}"]]
    if way in ("docker", "podman"):
        own = os.path.join(top, "mycontainer")  # what the learner writes stays outside
        address = f"127.0.0.1:{port}:8888"
        return [
            [way, "build", "--tag", IMAGE, "--file", "binder/Dockerfile", "."],
            [way, "run", "--rm", "--interactive", "--tty", "--publish", address, "--volume",
             f"{own}:{INSIDE}/mycontainer", IMAGE],
        ]  # fmt: skip
    if way == "lima":
        make = ["limactl", "start", "--name=labcontainer", "--mount-writable", "template://debian"]
        enter = ["limactl", "shell", "--workdir", top, "labcontainer"]
        packages = ["sudo", "apt-get", "install", "--yes", "make", "python3-venv"]
        return [make, [*enter, *packages], [*enter, "make", "lab", f"LAB_ARGS={lab}"]]
    return [["wsl", "--cd", top, "--", "make", "lab", f"LAB_ARGS={lab}"]]
