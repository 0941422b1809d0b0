"""Our daemon and Debian's dockerd are asked the same about images, and answer the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.plain import TAR, archive, ask
from tests.api.world import Daemon
from tests.engines.world import World

pytestmark = pytest.mark.requires("root", "dockerd", "docker", "busybox")

V = "/v1.41"  # the newest that Debian's dockerd speaks


class Both:
    """The two daemons, each with the image `base`, and with `used`, of which there is a container.

    `theirs` has the socket of dockerd alone.
    """

    def __init__(self, ours: Daemon, theirs: Daemon) -> None:
        self.ours, self.theirs = ours, theirs

    def ask(self, method: str, path: str, body: bytes = b"") -> list[tuple[int, bytes]]:
        """Both answers: (status, body)."""
        headers = {**TAR, "X-Registry-Auth": "e30="}
        return [ask(one, method, f"{V}{path}", body, headers) for one in (self.ours, self.theirs)]

    def documents(self, method: str, path: str, body: bytes = b"") -> list[Any]:
        """Both answers, which must be good ones."""
        answers = self.ask(method, path, body)
        assert {status for status, _ in answers} <= {200, 201}, answers
        return [json.loads(data) for _, data in answers]


@pytest.fixture(scope="module")
def both(rootfs: Path) -> Iterator[Both]:
    place = Path(tempfile.mkdtemp(prefix="lc-same-"))
    world = World(place)
    theirs, ours = Daemon(place), Daemon(Path(tempfile.mkdtemp(prefix="lc-same-")))
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        daemons.append(world.start(
            "dockerd", f"--host=unix://{theirs.socket}", f"--data-root={place}/data",
            f"--exec-root={place}/exec", f"--pidfile={place}/pid", "--bridge=none",
            "--iptables=false", "--ip-forward=false", f"--cgroup-parent=/{world.cgroup}",
            log=place / "log",
        ))  # fmt: skip
        asks = lambda: theirs.call("docker", "version").returncode == 0  # noqa: E731
        world.answers(daemons[0], place / "log", asks)
        ours.start()
        tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], capture_output=True, check=True)
        for one in (ours, theirs):
            for name in ("base", "used"):
                lines = ('CMD ["sh"]', f"LABEL name={name}")
                words = [word for line in lines for word in ("-c", line)]
                one.docker("import", *words, "-", name, stdin=tar.stdout)
            one.docker("create", "--network", "none", "used", "true")
        yield Both(ours, theirs)
        ours.clean()
    finally:
        world.close(daemons)
        if ours.process is not None:
            ours.stop()
        shutil.rmtree(ours.place)


def without_ids(text: str) -> str:
    """A text with a mark in the place of each id."""
    return re.sub(r"\b[0-9a-f]{12}\b|\b[0-9a-f]{64}\b", "ID", text)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/images/nothing/history"),
        ("GET", '/images/json?filters={"before":["nothing"]}'),
        ("POST", "/images/nothing/tag?repo=a"),
        ("POST", "/images/base/tag?repo=sha256:abc"),
        ("POST", f"/images/base/tag?repo=a@sha256:{'0' * 64}"),
        ("DELETE", "/images/nothing"),
        ("DELETE", "/images/used"),
        ("POST", "/build?target=nothing"),
    ],
)
def test_what_is_refused(both: Both, method: str, path: str) -> None:
    body = archive({"Dockerfile": b""}) if path.startswith("/build") else b""
    path = path.replace("{", "%7B").replace('"', "%22")
    ours, theirs = both.ask(method, path, body)
    assert ours[0] == theirs[0]
    assert without_ids(json.loads(ours[1])["message"]) == without_ids(
        json.loads(theirs[1])["message"]
    )


def test_conflicts_of_an_id(both: Both) -> None:
    assert {status for status, _ in both.ask("POST", "/images/used/tag?repo=other")} == {201}
    said = []
    for one in (both.ours, both.theirs):
        identity = one.docker("inspect", "-f", "{{.Id}}", "used")
        said.append(ask(one, "DELETE", f"{V}/images/{identity}"))
    assert [status for status, _ in said] == [409, 409]
    found = [without_ids(json.loads(data)["message"]) for _, data in said]
    assert found[0].partition(" - ")[0] == found[1].partition(" - ")[0]
    ours, theirs = both.documents("DELETE", "/images/other")
    assert ours == theirs == [{"Untagged": "other:latest"}]


def test_fields_of_images(both: Both) -> None:
    for path in ("/images/base/json", "/images/base/history", "/images/json"):
        ours, theirs = both.documents("GET", path)
        if isinstance(ours, list):
            assert len(ours) == len(theirs)
            ours, theirs = ours[0], theirs[0]
        assert set(ours) == set(theirs), path
        if "Config" in ours:
            assert set(ours["Config"]) == set(theirs["Config"])
            assert ours["RootFS"] == theirs["RootFS"]
            assert (ours["Config"]["Cmd"], ours["Config"]["Labels"]) == (
                theirs["Config"]["Cmd"], theirs["Config"]["Labels"])  # fmt: skip


def test_a_push_of_nothing(both: Both) -> None:
    (_, ours), (_, theirs) = both.ask("POST", "/images/nothing/push")
    assert [json.loads(line) for line in ours.splitlines()] == [
        json.loads(line) for line in theirs.splitlines()]  # fmt: skip


def test_prunes_of_nothing(both: Both) -> None:
    for path in ("/images/prune", "/build/prune"):
        ours, theirs = both.documents("POST", path)
        assert ours == theirs


def told(data: bytes) -> tuple[list[str], dict[str, Any]]:
    """(lines of a build without ids and what only dockerd's containers need, the last document)."""
    found = [json.loads(line) for line in data.splitlines()]
    text = without_ids("".join(one.get("stream", "") for one in found))
    lines = [line for line in text.splitlines() if not line.startswith((" ---> ID", "Removing"))
             and not line.startswith(" ---> Running in")]  # fmt: skip
    return lines, found[-1]


def test_builds(both: Both) -> None:
    text = b"FROM base\nRUN echo hello > /x; echo told\nCOPY f /f\n"
    text += b'ENV A=b PATH=$PATH:/more\nCMD ["a"]\n'
    body = archive({"Dockerfile": text, "f": b"f"})
    for query in ("t=made&t=made:2", "t=made"):  # built, then found in the cache
        (_, ours), (_, theirs) = both.ask("POST", f"/build?networkmode=none&{query}", body)
        assert told(ours)[0] == told(theirs)[0]
    ours, theirs = both.documents("GET", "/images/made/json")
    for name in ("Env", "Cmd", "Labels", "Entrypoint", "WorkingDir"):
        assert ours["Config"][name] == theirs["Config"][name], name
    assert {status for status, _ in both.ask("DELETE", "/images/made:2")} == {200}


@pytest.mark.parametrize(
    "text", [b"FROM base\nRUN exit 3\n", b"FROM base\nRUN nosuch\n", b"FROM base\nBOGUS x\n"]
)
def test_builds_that_fail(both: Both, text: bytes) -> None:
    ours, theirs = both.ask("POST", "/build?networkmode=none", archive({"Dockerfile": text}))
    assert ours[0] == theirs[0]
    assert told(ours[1])[1] == told(theirs[1])[1]
