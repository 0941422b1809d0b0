"""The docker command and docker-py build through our daemon, as with the classic builder."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from tests.api import plain, shapes
from tests.api.plain import PASSWORD, TAR, USER, Connection, archive, ask, encoded, refused
from tests.api.world import Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")


@pytest.fixture(autouse=True)
def same_images(running: Daemon) -> Iterator[None]:
    """Each test begins with the image busybox alone, and nothing remembered."""
    yield
    plain.only_busybox(running)
    running.docker("builder", "prune", "-af")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory to build from."""
    place = tmp_path / "context"
    place.mkdir()
    (place / "hello").write_text("hello\n")
    return place


def build(daemon: Daemon, context: Path, dockerfile: str, *flags: str) -> str:
    """What a build that goes well says."""
    (context / "Dockerfile").write_text(dockerfile)
    return daemon.docker("build", "--network", "none", *flags, str(context))


def fails(daemon: Daemon, context: Path, dockerfile: str, *flags: str) -> tuple[int, str]:
    (context / "Dockerfile").write_text(dockerfile)
    return daemon.fails("build", "--network", "none", *flags, str(context))


def lines(data: bytes) -> list[dict[str, Any]]:
    """The documents of a stream."""
    return [json.loads(line) for line in data.splitlines()]


def sent(daemon: Daemon, dockerfile: str, query: str = "", **headers: str) -> tuple[int, bytes]:
    """A plain request to build a Dockerfile."""
    body = archive({"Dockerfile": dockerfile.encode()})
    return ask(daemon, "POST", f"/build?networkmode=none&{query}", body, {**TAR, **headers})


# --- what is built --------------------------------------------------------------------------------


def test_a_build_as_the_docker_command_shows_it(daemon: Daemon, context: Path) -> None:
    said = build(daemon, context, "FROM busybox\nRUN echo made > /made\nCOPY hello /\n",
                 "-t", "app", "-t", "app:2", "--label", "a=b")  # fmt: skip
    found = said.splitlines()
    assert "Step 1/3 : FROM busybox" in found
    assert "Step 3/3 : COPY hello /" in found
    identity = daemon.docker("inspect", "-f", "{{.Id}}", "app")
    tagged = ["Successfully tagged app:latest", "Successfully tagged app:2"]
    assert found[-3:] == [f"Successfully built {identity[7:19]}", *tagged]
    assert daemon.docker("run", "--rm", "--network", "none", "app:2", "cat", "/made", "/hello") == (
        "made\nhello"
    )
    assert daemon.docker("inspect", "-f", "{{.Config.Labels.a}}", "app") == "b"
    again = build(daemon, context, "FROM busybox\nRUN echo made > /made\nCOPY hello /\n")
    assert again.count(" ---> Using cache") == 2
    fresh = build(
        daemon, context, "FROM busybox\nRUN echo made > /made\nCOPY hello /\n", "--no-cache"
    )
    assert "Using cache" not in fresh


def test_arguments_target_and_stages(daemon: Daemon, context: Path) -> None:
    text = "ARG BASE=nothing\nFROM $BASE AS first\nARG WORD\nRUN echo $WORD > /word\n"
    text += "FROM busybox AS second\nCOPY --from=first /word /copied\nFROM second\nRUN false\n"
    build(daemon, context, text, "-t", "app", "--target", "second", "--build-arg", "BASE=busybox",
          "--build-arg", "WORD=told")  # fmt: skip
    assert daemon.docker("run", "--rm", "--network", "none", "app", "cat", "/copied") == "told"
    said = build(daemon, context, "FROM busybox\n", "--build-arg", "UNUSED=1")
    assert "[Warning] One or more build-args [UNUSED] were not consumed" in said


def test_quiet_prints_the_id_alone(daemon: Daemon, context: Path) -> None:
    said = build(daemon, context, "FROM busybox\nENV A=b\n", "-q", "-t", "app")
    assert said == daemon.docker("inspect", "-f", "{{.Id}}", "app")
    status, said = fails(daemon, context, "FROM busybox\nRUN echo why; false\n", "-q")
    assert (status, "why" in said, "returned a non-zero code: 1" in said) == (1, True, True)


def test_dockerfiles_elsewhere_and_what_is_ignored(daemon: Daemon, context: Path) -> None:
    (context / "sub").mkdir()
    (context / "sub" / "other").write_text("FROM busybox\nCOPY . /all\n")
    (context / "secret").write_text("secret")
    (context / ".dockerignore").write_text("secret\n")
    daemon.docker("build", "-f", f"{context}/sub/other", "-t", "app", str(context))
    found = daemon.docker("run", "--rm", "--network", "none", "app", "ls", "/all")
    assert "hello" in found.split()
    assert "secret" not in found.split()
    daemon.docker("build", "-t", "alone", "-", stdin=b"FROM busybox\nENV A=alone\n")
    assert "A=alone" in daemon.docker("inspect", "-f", "{{.Config.Env}}", "alone")


def test_builds_of_docker_py(client: Any) -> None:
    text = b"FROM busybox\nARG WORD\nENV SAID=$WORD\nRUN echo hi\n"
    image, log = client.images.build(
        fileobj=io.BytesIO(text), tag="app", buildargs={"WORD": "told"}, labels={"l": "m"},
        network_mode="none", rm=True,
    )  # fmt: skip
    assert "SAID=told" in image.attrs["Config"]["Env"]
    assert image.labels == {"l": "m"}
    assert {"ID": image.id} in [one.get("aux") for one in log]
    with pytest.raises(docker.errors.BuildError) as caught:
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 7\n"), network_mode="none")
    assert str(caught.value) == "The command '/bin/sh -c exit 7' returned a non-zero code: 7"


def test_a_tag_is_told(daemon: Daemon, context: Path) -> None:
    with subprocess.Popen(
        ["docker", "events", "--filter", "type=image", "--format", "{{.Action}}"],
        env=daemon.env, stdout=subprocess.PIPE, text=True,
    ) as listening:  # fmt: skip
        assert listening.stdout is not None
        try:
            wait_for(lambda: "/events?" in daemon.said())
            build(daemon, context, "FROM busybox\nENV A=b\n", "-t", "app")
            assert listening.stdout.readline() == "tag\n"
        finally:
            listening.terminate()


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_run_that_fails(daemon: Daemon, context: Path) -> None:
    status, said = fails(daemon, context, "FROM busybox\nRUN exit 3\n", "-t", "bad")
    assert status == 3
    assert "The command '/bin/sh -c exit 3' returned a non-zero code: 3" in said
    assert daemon.docker("images", "-q", "bad") == ""
    status, data = sent(daemon, "FROM busybox\nRUN exit 3\n")
    message = "The command '/bin/sh -c exit 3' returned a non-zero code: 3"
    assert status == 200
    assert lines(data)[-1] == {"errorDetail": {"code": 3, "message": message}, "error": message}


@pytest.mark.parametrize(
    ("dockerfile", "query", "said"),
    [
        ("", "", "the Dockerfile (Dockerfile) cannot be empty"),
        (
            "FROM busybox\nBOGUS x\n",
            "",
            "parse error line 2: unknown instruction: BOGUS",
        ),
        ("RUN true\n", "", "no build stage in current context"),
        ("FROM busybox\n", "target=nothing", "target stage 'nothing' could not be found"),
        ("FROM busybox\n", "dockerfile=nothing", "Cannot locate specified Dockerfile: nothing"),
        ("FROM busybox\n", "dockerfile=../../../../etc/passwd", "Cannot locate specified Dockerfi"),
        ("FROM busybox\n", "t=UPPER", "repository name must be lowercase"),
        ("FROM busybox\n", "buildargs=[1]", "error reading buildargs"),
        ("FROM busybox\n", "labels={", "bad parameter labels"),
        ("FROM busybox\n", "cachefrom={}x", "bad parameter cachefrom"),
        ("FROM busybox\n", "extrahosts=none", "NAME:IP"),
        ("FROM busybox\n", "platform=a/b/c/d", "invalid platform"),
        ("FROM busybox\n", "version=2", "this daemon has no BuildKit"),
    ],
)
def test_what_is_refused_before_a_step(
    daemon: Daemon, dockerfile: str, query: str, said: str
) -> None:
    status, data = sent(daemon, dockerfile, query.replace("{", "%7B").replace("[", "%5B"))
    assert status == 400, data
    assert said in json.loads(data)["message"]


def test_what_fails_in_a_step(daemon: Daemon) -> None:
    for text, said in (
        ("FROM busybox\nCOPY nothing /\n", "COPY failed: file not found in build context"),
        ("FROM localhost:1/nothing\n", "cannot reach http://localhost:1: "),
        ("FROM busybox\nUSER nobody-knows\nRUN true\n", "unable to find user nobody-knows"),
    ):
        status, data = sent(daemon, text)
        last = lines(data)[-1]
        assert (status, said in last["error"]) == (200, True), last
        assert last["errorDetail"] == {"message": last["error"]}


def special(name: str, kind: bytes, target: str = "") -> bytes:
    """An archive of one member that is no honest file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as written:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        written.addfile(info)
    return out.getvalue()


def test_contexts_that_are_none(daemon: Daemon, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("FROM busybox\nENV A=secret\n")
    evil = special("../../../../../tmp/lc-evil", tarfile.REGTYPE)
    linked = special("Dockerfile", tarfile.SYMTYPE, str(secret))
    waiting = special("Dockerfile", tarfile.FIFOTYPE)  # who opens it waits for ever
    looping = special("Dockerfile", tarfile.SYMTYPE, "Dockerfile")
    torn = archive({"Dockerfile": b"FROM busybox\n" * 200})[:1000]
    packed = (b"\x1f\x8bgarbage", b"BZhgarbage", b"\xfd7zXZ\x00x")
    for data in (b"garbage", *packed, torn, evil, linked, waiting, looping):
        assert refused(daemon, "POST", "/build", data, TAR)[0] in (400, 500), data[:10]
    assert not Path("/tmp/lc-evil").exists()
    assert daemon.docker("images", "-q").split() == daemon.docker("images", "-q", "busybox").split()


def test_a_client_that_hangs_up_ends_the_build(daemon: Daemon) -> None:
    body = archive({"Dockerfile": b"FROM busybox\nRUN sleep 4321\n"})
    connection = Connection(daemon.socket)
    connection.request("POST", "/build?networkmode=none", body, TAR)
    wait_for(lambda: _runs("4321"))
    connection.close()
    wait_for(lambda: not _runs("4321"))
    wait_for(lambda: not list(daemon.home.glob("images/builds/*")))
    wait_for(lambda: not list(daemon.home.glob("images/scratch-*")))


def test_a_killed_daemon_leaves_nothing_of_a_build(image: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="api-"))
    shutil.copytree(image, place / "home", symlinks=True)
    second = Daemon(place).start()
    try:
        body = archive({"Dockerfile": b"FROM busybox\nRUN sleep 6543\n"})
        connection = Connection(second.socket)
        connection.request("POST", "/build?networkmode=none", body, TAR)
        wait_for(lambda: _runs("6543"))
        second.kill()
        connection.close()
        wait_for(lambda: not _runs("6543"))
        wait_for(lambda: not list(place.glob("home/images/builds/*")))
        second.start()
        assert sent(second, "FROM busybox\nRUN true\n")[0] == 200
        assert not list(place.glob("home/images/scratch-*"))
    finally:
        assert second.stop() == 0
        shutil.rmtree(place)


def _runs(word: str) -> bool:
    """Whether a process has a word among its arguments."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


def test_a_build_is_cancelled_by_its_id(daemon: Daemon) -> None:
    found: list[bytes] = []
    text = "FROM busybox\nRUN sleep 5432\n"
    thread = threading.Thread(target=lambda: found.append(sent(daemon, text, "buildid=mine")[1]))
    thread.start()
    wait_for(lambda: _runs("5432"))
    assert ask(daemon, "POST", "/build/cancel?id=another")[0] == 200
    assert ask(daemon, "POST", "/build/cancel?id=mine")[0] == 200
    thread.join(20)
    assert "stopped" in lines(found[0])[-1]["error"]
    assert refused(daemon, "POST", "/build/cancel") == (400, "build ID not provided")


def test_a_refusal_reaches_a_client_that_still_sends(daemon: Daemon, context: Path) -> None:
    (context / "large").write_bytes(bytes(20_000_000))
    for _ in range(5):
        (context / "Dockerfile").write_text("FROM busybox\n")
        said = daemon.fails("build", "--network", "nothing", str(context))[1]
        assert "a build in the network 'nothing'" in said


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_contexts_and_images_come_packed(daemon: Daemon, pack: Callable[[bytes], bytes]) -> None:
    body = pack(archive({"Dockerfile": b"FROM busybox\nCOPY x /\n", "x": b"y"}))
    status, data = ask(daemon, "POST", "/build?t=app", body, TAR)
    assert (status, b"Successfully tagged app:latest" in data) == (200, True)
    saved = daemon.call("docker", "save", "app").stdout
    daemon.docker("rmi", "app")
    status, data = ask(daemon, "POST", "/images/load", pack(saved), TAR)
    assert (status, b"Loaded image: app:latest" in data) == (200, True)
    status, data = ask(daemon, "POST", "/images/create?fromSrc=-", pack(archive({"x": b"y"})), TAR)
    assert status == 200, data


# --- contexts and bases from elsewhere ------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[tuple[str, dict[str, bytes]]]:
    yield from plain.web()


def test_a_context_at_an_address(
    daemon: Daemon, web: tuple[str, dict[str, bytes]], client: Any
) -> None:
    url, files = web
    files["/Dockerfile"] = b"FROM busybox\nENV A=alone\n"
    files["/context.tar"] = archive({"sub/file": b"FROM busybox\nCOPY x /\n", "x": b"y"})
    client.images.build(path=f"{url}/Dockerfile", tag="alone")
    assert "A=alone" in client.images.get("alone").attrs["Config"]["Env"]
    status, data = ask(daemon, "POST",
                       f"/build?remote={url}/context.tar&dockerfile=sub/file&t=all")  # fmt: skip
    assert (status, b"Successfully tagged all:latest" in data) == (200, True)
    status, said = refused(daemon, "POST", f"/build?remote={url}/nothing")
    why = f"error downloading remote context {url}/nothing: the server answered 404"
    assert (status, said) == (500, why)


def test_bases_of_a_private_registry(
    daemon: Daemon, context: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for host in plain.served_in_private(tmp_path_factory.mktemp("private")):
        daemon.docker("login", "-u", USER, "--password-stdin", host, stdin=PASSWORD.encode())
        daemon.docker("tag", "busybox", f"{host}/base:1")
        daemon.docker("push", f"{host}/base:1")
        daemon.docker("rmi", f"{host}/base:1")
        text = f"FROM {host}/base:1\nENV A=b\n"
        status, data = sent(daemon, text)  # the daemon shares the command's configuration
        assert (status, "unauthorized" in lines(data)[-1]["error"]) == (200, True)
        wrong = {"X-Registry-Config": encoded({host: {"username": USER, "password": "wrong"}})}
        assert "unauthorized" in lines(sent(daemon, text, **wrong)[1])[-1]["error"]
        assert "Successfully built" in build(daemon, context, text)
        daemon.docker("logout", host)
        assert PASSWORD not in daemon.said()


@pytest.mark.parametrize("header", ["%%%", "bm90IGpzb24=", "WzFd", "eyJhIjoxfQ=="])
def test_logins_that_are_none(daemon: Daemon, header: str) -> None:
    status, data = sent(daemon, "FROM busybox\n", **{"X-Registry-Config": header})
    assert (status, json.loads(data)["message"].startswith("invalid ")) == (400, True)


# --- what is remembered, and what there is not ----------------------------------------------------


def test_the_cache_is_listed_and_forgotten(daemon: Daemon, client: Any, context: Path) -> None:
    build(daemon, context, "FROM busybox\nRUN echo 1 > /one\n")
    found = client.df()["BuildCache"]
    shapes.check(found, [shapes.BUILD_CACHE])
    assert [one["Shared"] for one in found] == [True]
    assert client.api.prune_builds(filters={"until": "24h"})["CachesDeleted"] is None
    pruned = client.api.prune_builds()
    shapes.check(pruned, shapes.BUILDS_PRUNED)
    assert pruned["CachesDeleted"] == [found[0]["ID"]]
    assert "Total reclaimed space" in daemon.docker("builder", "prune", "-f")
    assert refused(daemon, "POST", '/build/prune?filters=%7B"nosuch":["1"]%7D')[0] == 400


def test_buildkit_is_refused_with_the_way_out(daemon: Daemon) -> None:
    for path in ("/session", "/grpc", "/build?version=2"):
        status, said = refused(daemon, "POST", path)
        assert status in (400, 501)
        assert "DOCKER_BUILDKIT=0" in said
