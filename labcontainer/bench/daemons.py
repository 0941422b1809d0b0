"""The subjects: the same command at our daemon and at dockerd; ours with many containers running.

    docker run --rm IMAGE true      on a bridge network, by docker's command and by ours
    docker exec CONTAINER true
    8 runs at once; the list of 100 containers; a life by the API with none and with 200 running

dockerd gets namespaces of its own (builds.dockerd), with a bridge and its rules; our daemon works
on the machine itself. Both have the same image, of busybox.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labcontainer.bench import builds
from labcontainer.errors import LabError

IMAGE = builds.BASE
AT_ONCE, LISTED, MANY = 8, 100, 200
Actions = dict[str, Callable[[], None]]


class Socket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("engine")
        self._path = str(path)

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The parsed answer.

        Raises:
            LabError: it is a refusal.
        """
        data = json.dumps(body) if body is not None else None
        self.request(method, path, data, {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise LabError(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text) if text.strip() else None


@contextmanager
def ours(place: Path) -> Iterator[Path]:
    """Our daemon with the image; its socket."""
    home, path = place / "home", place / "s.sock"
    environment = {**os.environ, "LABCONTAINER_HOME": str(home)}
    builds.call([*own_command(), "image", "from-host", "busybox"], environment)
    builds.call([*own_command(), "tag", "busybox", IMAGE], environment)
    builds.call([*own_command(), "save", "-o", str(place / "base.tar"), IMAGE], environment)
    ready, theirs = os.pipe()
    words = [*own_command(), "daemon", "--host", f"unix://{path}", "--ready-fd", str(theirs)]
    with (place / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(words, env=environment, pass_fds=[theirs], stderr=log)
    os.close(theirs)
    try:
        if not os.read(ready, 1):
            raise LabError(f"our daemon did not begin: see {place}/daemon.log")
        yield path
    finally:
        os.close(ready)
        daemon.terminate()
        daemon.wait()


def own_command() -> list[str]:
    """Our command line, as it is installed."""
    script = Path(sys.executable).parent / "labcontainer"
    return [str(script)] if script.exists() else [sys.executable, "-m", "labcontainer.cli.main"]


def docker(path: Path) -> list[str]:
    """docker's command for a socket."""
    return ["docker", f"--host=unix://{path}"]


def runs(own: Path, their: list[str]) -> Actions:
    """A container from its creation to its removal, by each command."""
    words = ["run", "--rm", IMAGE, "true"]
    mine = {**os.environ, "LABCONTAINER_HOST": f"unix://{own}"}
    # A label is what makes our command ask the daemon: else it would run the container itself.
    labelled = ["run", "--rm", "--label", "bench=1", IMAGE, "true"]
    return {
        "docker at ours": _action([*docker(own), *words]),
        "labcontainer at ours": _action([*own_command(), *labelled], mine),
        "dockerd": _action([*their, *words]),
    }


def execs(own: Path, their: list[str]) -> Actions:
    """One more process in a running container."""
    found: Actions = {}
    for name, command in (("docker at ours", docker(own)), ("dockerd", their)):
        builds.call([*command, "run", "-d", "--name", "idle", IMAGE, "sleep", "100000"])
        found[name] = _action([*command, "exec", "idle", "true"])
    return found


def api_execs(own: Path, their: Path) -> Actions:
    """The same without a command's own start: three calls of the API, to the program's end."""
    return {"ours": _exec(own), "dockerd": _exec(their)}


def _exec(path: Path) -> Callable[[], None]:
    connection = Socket(path)
    body = {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}

    def go() -> None:
        identity = connection.ask("POST", "/containers/idle/exec", body)["Id"]
        head = (f"POST /exec/{identity}/start HTTP/1.1", "Host: engine", "Connection: Upgrade",
                "Upgrade: tcp", "Content-Type: application/json", "Content-Length: 2")  # fmt: skip
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(path))
            stream.sendall("\r\n".join((*head, "", "{}")).encode())
            while stream.recv(65536):
                pass
        if connection.ask("GET", f"/exec/{identity}/json")["ExitCode"] != 0:
            raise LabError("the exec has not ended well")

    return go


def at_once(own: Path, their: list[str]) -> Actions:
    """Several runs side by side."""

    def all_of(command: list[str]) -> Callable[[], None]:
        one = _action([*command, "run", "--rm", IMAGE, "true"])

        def go() -> None:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda _: one(), range(AT_ONCE)))

        return go

    return {"docker at ours": all_of(docker(own)), "dockerd": all_of(their)}


def lists(own: Path, their: Path) -> Actions:
    """The list of a hundred containers, over one connection."""
    found: Actions = {}
    for name, path in (("docker at ours", own), ("dockerd", their)):
        connection = Socket(path)
        for _ in range(LISTED):
            connection.ask("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"]})

        def ask(connection: Socket = connection) -> None:
            connection.ask("GET", "/containers/json?all=1")

        found[name] = ask
    return found


def life(own: Path) -> Callable[[], None]:
    """A container by four calls of the API: created, started, waited for, removed."""
    connection = Socket(own)

    def go() -> None:
        made = connection.ask("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"]})
        identity = made["Id"]
        connection.ask("POST", f"/containers/{identity}/start")
        connection.ask("POST", f"/containers/{identity}/wait")
        connection.ask("DELETE", f"/containers/{identity}")

    return go


@contextmanager
def crowd(own: Path, count: int = MANY) -> Iterator[None]:
    """So many containers running meanwhile, each on the bridge network."""

    def begin(_number: int) -> str:
        connection = Socket(own)
        body = {"Image": IMAGE, "Cmd": ["sleep", "100000"]}
        identity = str(connection.ask("POST", "/containers/create", body)["Id"])
        connection.ask("POST", f"/containers/{identity}/start")
        connection.close()
        return identity

    def end(identity: str) -> None:
        connection = Socket(own)
        connection.ask("DELETE", f"/containers/{identity}?force=1")
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(begin, range(count)))
        try:
            yield
        finally:
            list(pool.map(end, names))


def memory(own: Path, place: Path) -> tuple[int, int]:
    """Bytes of private memory of what stands beside one idle container: our monitor, their shim."""
    found = Socket(own).ask("GET", "/containers/idle/json")
    return _private(_parent(found["State"]["Pid"])), _private(_shim(place))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _shim(place: Path) -> int:
    """The shim of dockerd's one container, as this namespace sees it: by its socket's path."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        if b"containerd-shim" in words[0] and any(os.fsencode(place) in one for one in words):
            return int(path.parent.name)
    raise LabError("no containerd-shim of this dockerd runs")


def _private(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _action(words: list[str], environment: dict[str, str] | None = None) -> Callable[[], None]:
    return lambda: builds.call(words, environment)
