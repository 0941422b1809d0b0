"""`labcontainer up`: the one command that starts the lab in a Linux of its own.

For macOS, Windows, and a Linux on which nothing shall be installed. It uses nothing of the engine,
since there is no Linux where it runs. docs/running.md says what was tried.
"""

from __future__ import annotations

import os
import platform
import secrets
import shlex
import shutil
import subprocess

from labcontainer import errors
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

IMAGE = "labcontainer-lab"
WORK = "/home/jovyan/work"  # what is kept, inside the container
DEBIAN = "wsl --install -d Debian"
# The engines by which a container can be started, the first that there is; then the whole machines.
ENGINES = ("docker", "podman")
INSTALL = {
    "Darwin": "brew install lima (or Docker Desktop, or Podman)",
    "Windows": f"{DEBIAN} (or Docker Desktop, or Podman)",
    "Linux": "apt install podman, or run `make lab` on this machine itself",
}
PACKAGES = "make python3-venv busybox-static iproute2 iptables uidmap slirp4netns strace"
INSIDE = (  # in a Debian of one's own; the environment is not made in the shared folder
    "sudo apt-get update && sudo apt-get install --yes {packages} && "
    "make lab VENV=$HOME/.labcontainer-venv LAB_ARGS='--no-browser --port {port}'"
)


class Plan(Record):
    """The commands that start the lab, in their order; `address` is what to open then."""

    way: str
    commands: tuple[tuple[str, ...], ...]
    address: str


class Wish(Record):
    """What the user asked for. `work` is the folder that keeps the learner's work."""

    source: str
    work: str
    port: int
    token: str
    memory: str


def plan(wish: Wish, system: str, way: str = "") -> Plan:
    """How the lab starts on this system, by the way that was asked for or the first there is.

    Raises:
        UnsupportedError: nothing that could run a Linux was found here.
    """
    for one in (way,) if way else ways(system, platform.machine()):
        if shutil.which("limactl" if one == "lima" else one):
            return WAYS[one](wish, system)
    what = f"the {way} way" if way else "a Linux for the lab"
    raise errors.UnsupportedError(what, f"no program for it on this {system}", INSTALL[system])


def ways(system: str, processor: str) -> tuple[str, ...]:
    """What is looked for, in this order.

    User-mode Linux is for x86-64: on Apple's own processors a whole machine comes first.

    Raises:
        UnsupportedError: this system is none that the lab knows.
    """
    own = {"Darwin": ("lima",), "Windows": ("wsl",), "Linux": ()}
    if system not in own:
        raise errors.UnsupportedError("starting the lab", f"{system} is not known", "use Linux")
    return (*own[system], *ENGINES) if processor == "arm64" else (*ENGINES, *own[system])


def _container(engine: str, wish: Wish, system: str) -> Plan:
    """A container of binder/Dockerfile's image, with no privilege: it has a kernel of its own."""
    folder, found = wish.source, ("--platform", "linux/amd64")
    build = (engine, "build", "--tag", IMAGE, *found, *_user(system),
             "--file", os.path.join(folder, "binder", "Dockerfile"), folder)  # fmt: skip
    owner = ("--userns", "keep-id") if (engine, system) == ("podman", "Linux") else ()
    run = (
        engine, "run", "--rm", *found, "--memory", wish.memory, *owner,
        "--publish", f"127.0.0.1:{wish.port}:8888", "--volume", f"{wish.work}:{WORK}",
        "--env", f"LABCONTAINER_WORK={WORK}", "--env", f"JUPYTER_TOKEN={wish.token}", IMAGE,
    )  # fmt: skip
    return Plan(engine, (*_machine(engine, system), build, run), _address(wish))


def _address(wish: Wish) -> str:
    return f"http://127.0.0.1:{wish.port}/lab?token={wish.token}"


def _user(system: str) -> tuple[str, ...]:
    """The image's user has the number of this one: elsewhere the shared folder is everybody's."""
    if system != "Linux" or not os.getuid():
        return ()
    return ("--build-arg", f"NB_UID={os.getuid()}")


def _machine(engine: str, system: str) -> tuple[tuple[str, ...], ...]:
    """Podman's virtual machine, made and started where it is not: Docker Desktop has its own."""
    if engine != "podman" or system == "Linux":
        return ()
    return (("podman", "machine", "init", "--now"),)


def _lima(wish: Wish, _system: str) -> Plan:
    """A virtual machine by Lima: its root is root, and its ports are this machine's, too."""
    start = ("limactl", "start", "--tty=false", "--name=labcontainer", "--mount-writable",
             "template://debian")  # fmt: skip
    known = f"export JUPYTER_TOKEN={wish.token} LABCONTAINER_WORK={shlex.quote(wish.work)}"
    script = f"{known}; {INSIDE.format(packages=PACKAGES, port=wish.port)}"
    enter = ("limactl", "shell", "--workdir", wish.source, "labcontainer")
    return Plan("lima", (start, (*enter, "sh", "-c", script)), _address(wish))


def _wsl(wish: Wish, _system: str) -> Plan:
    """Debian in WSL 2. Its localhost is Windows's; `--cd` takes a path of Windows, and the work
    stays beside the notebooks. `--exec`: no second shell that would expand the script's `$`."""
    known = f"export JUPYTER_TOKEN={wish.token}"
    script = f"{known}; {INSIDE.format(packages=PACKAGES, port=wish.port)}"
    enter = ("wsl", "--distribution", "Debian", "--cd", wish.source, "--exec")
    return Plan("wsl", ((*enter, "sh", "-c", script),), _address(wish))


WAYS = {
    "docker": lambda wish, system: _container("docker", wish, system),
    "podman": lambda wish, system: _container("podman", wish, system),
    "lima": _lima,
    "wsl": _wsl,
}


def source() -> str:
    """The folder that the course was fetched to.

    Raises:
        NotFoundError: this package was installed without the course.
    """
    found = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if not os.path.exists(os.path.join(found, "binder", "Dockerfile")):
        raise errors.NotFoundError(
            f"no binder/Dockerfile in {found}: run this from the course's own folder"
        )
    return found


def shown(command: tuple[str, ...], system: str) -> str:
    """A command as the system's shell takes it."""
    return subprocess.list2cmdline(command) if system == "Windows" else shlex.join(command)


def configure(parser: ArgumentParser) -> None:
    """Add the words of `labcontainer up`."""
    add = parser.add_argument
    add("--run", action="store_true", help="run it; without this the commands are only printed")
    add("--with", dest="way", choices=tuple(WAYS), default="", help="not the first that is found")
    add("--port", type=int, default=8888, help="where the lab answers on this machine (8888)")
    add("--work", default="", metavar="DIR", help="keeps your work (~/labcontainer-work)")
    add("--memory", default="2g", metavar="SIZE", help="what the container may use (2g)")


def run(args: Namespace) -> int:
    """Print the commands, or run them one after the other."""
    system = platform.system()
    folder = source()
    work = os.path.abspath(args.work or os.path.expanduser("~/labcontainer-work"))
    wish = Wish(folder, work, args.port, secrets.token_hex(16), args.memory)
    found = plan(wish, system, args.way)
    for command in found.commands:
        print(shown(command, system), flush=True)
    print(f"# then open {found.address}", flush=True)
    return _run_all(found, work) if args.run else 0


def _run_all(found: Plan, work: str) -> int:
    """The exit status of the last, or of the first that failed."""
    if found.way != "wsl" and not os.path.isdir(work):
        os.makedirs(work)
        if platform.system() == "Linux" and not os.getuid():
            os.chown(work, 1000, 1000)  # the image's user
    for command in found.commands:
        status = _already(command) or subprocess.run(command, check=False).returncode
        if status > 0:
            return status
    return 0


def _already(command: tuple[str, ...]) -> int:
    """-1 for a virtual machine that was made before and only needs a start, which is done here."""
    probe: tuple[str, ...]
    again: tuple[str, ...]
    if command[:3] == ("podman", "machine", "init"):
        probe, again = ("podman", "machine", "inspect"), ("podman", "machine", "start")
    elif command[:2] == ("limactl", "start"):
        probe = ("limactl", "list", "--quiet", "labcontainer")
        again = ("limactl", "start", "labcontainer")
    else:
        return 0
    there = subprocess.run(probe, capture_output=True, check=False)
    if there.returncode or not there.stdout.strip():
        return 0
    subprocess.run(again, check=False)  # fails where it runs already, which is as well
    return -1
