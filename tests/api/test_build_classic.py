"""The classic builder's lines and limits, and git repositories as a context."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import plain
from tests.api.plain import TAR, archive, ask, refused
from tests.api.world import Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")

ID = "[0-9a-f]{12}"


@pytest.fixture(autouse=True)
def same_images(running: Daemon) -> Iterator[None]:
    yield
    plain.only_busybox(running)
    running.docker("builder", "prune", "-af")


def build(daemon: Daemon, dockerfile: str, *flags: str) -> list[str]:
    """The lines of a build without a context, its ids as ID."""
    words = ("build", "--network", "none", *flags, "-")
    said = daemon.docker(*words, stdin=dockerfile.encode())
    lines = re.sub(rf"\b{ID}\b", "ID", said).splitlines()
    return lines[next(place for place, line in enumerate(lines) if line.startswith("Step 1/")) :]


# --- lines ----------------------------------------------------------------------------------------


def test_the_lines_that_scripts_look_for(daemon: Daemon) -> None:
    text = "FROM busybox\nENV A=1\nRUN echo out > /f; cat /f\nCOPY --from=busybox /bin/sh /g\n"
    inside = [" ---> Running in ID", "Removing intermediate container ID", " ---> ID"]
    assert build(daemon, text, "-t", "app") == [
        "Step 1/4 : FROM busybox", " ---> ID",
        "Step 2/4 : ENV A=1", *inside,
        "Step 3/4 : RUN echo out > /f; cat /f", inside[0], "out", *inside[1:],
        "Step 4/4 : COPY --from=busybox /bin/sh /g", " ---> ID",
        "Successfully built ID", "Successfully tagged app:latest",
    ]  # fmt: skip
    assert build(daemon, text)[2:] == [
        "Step 2/4 : ENV A=1", " ---> Using cache", " ---> ID",
        "Step 3/4 : RUN echo out > /f; cat /f", " ---> Using cache", " ---> ID",
        "Step 4/4 : COPY --from=busybox /bin/sh /g", " ---> Using cache", " ---> ID",
        "Successfully built ID",
    ]  # fmt: skip


def test_the_first_and_the_last_id_are_those_of_images(daemon: Daemon) -> None:
    said = daemon.docker("build", "-t", "app", "-", stdin=b"FROM busybox\nENV A=1\n")
    first, last = re.findall(rf"^ ---> ({ID})$", said, re.MULTILINE)
    ids = [daemon.docker("images", "-q", name) for name in ("busybox", "app")]
    assert [first, last] == ids


@pytest.mark.parametrize(("flags", "told"), [((), 0), (("--force-rm",), 1)])
def test_a_step_that_fails(daemon: Daemon, flags: tuple[str, ...], told: int) -> None:
    words = ("build", "--network", "none", *flags, "-")
    done = daemon.call("docker", *words, stdin=b"FROM busybox\nRUN false\n")
    assert done.returncode == 1
    assert done.stdout.count(b"Removing intermediate container ") == told
    assert b"The command '/bin/sh -c false' returned a non-zero code: 1" in done.stderr


# --- limits ---------------------------------------------------------------------------------------

LOOK = """FROM busybox
RUN ulimit -n; df -k /dev/shm | tail -1; grep Cpus_allowed_list /proc/self/status
RUN dd if=/dev/zero of=/dev/null bs=64M count=1
"""


def test_limits_hold_while_it_runs(daemon: Daemon) -> None:
    flags = ("--ulimit", "nofile=100:200", "--shm-size", "8m", "--cpuset-cpus", "0",
             "--cgroup-parent", "/labcontainer/test-build")  # fmt: skip
    said = build(daemon, LOOK, *flags)
    assert "100" in said
    assert any(line.split()[:2] == ["shm", "8192"] for line in said)
    assert any(line.split() == ["Cpus_allowed_list:", "0"] for line in said)
    words = ("build", "--no-cache", "--network", "none", "--memory", "20m", "--memory-swap", "20m")
    done = daemon.call("docker", *words, "-", stdin=LOOK.encode())
    assert done.returncode == 137
    assert b"returned a non-zero code: 137" in done.stderr


def test_a_quota_is_written_into_the_cgroup(daemon: Daemon) -> None:
    text = "FROM busybox\nRUN sleep 1000\n"
    flags = ["--cpu-quota", "50000", "--cpu-period", "100000", "--cpu-shares", "512",
             "--cgroup-parent", "labcontainer/quota"]  # fmt: skip
    words = ["docker", "build", "--network", "none", *flags, "-"]
    running = subprocess.Popen(words, env=daemon.env, stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    assert running.stdin is not None
    running.stdin.write(text.encode())
    running.stdin.close()
    try:
        # The group is there before its values are.
        wait_for(lambda: written("labcontainer/quota") in (
            {"cpu.cfs_quota_us": "50000", "cpu.shares": "512"},
            {"cpu.max": "50000 100000", "cpu.weight": "20"},
        ))  # fmt: skip
    finally:
        running.terminate()
        running.wait()


def written(group: str) -> dict[str, str]:
    """What the groups below one have for their share of the processors."""
    found = {}
    for top in Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("cpu*"):
        for name in ("cpu.cfs_quota_us", "cpu.shares", "cpu.max", "cpu.weight"):
            for file in top.glob(f"{group}/*/{name}"):
                found[name] = file.read_text().strip()
    return found


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("memory=1000", "Minimum memory limit allowed is 6MB"),
        ("memory=10000000&memswap=1000", "Minimum memoryswap limit should be larger"),
        ("cpuquota=1", "CPU cfs quota can not be less than 1ms"),
        ("ulimits=[{}]", "invalid ulimit"),
        ("squash=1", "squash is only supported with experimental mode"),
        ("isolation=hyperv", 'Unsupported isolation: "hyperv"'),
    ],
)
def test_what_is_refused_before_any_step(daemon: Daemon, query: str, why: str) -> None:
    body = archive({"Dockerfile": b"FROM busybox\n"})
    status, said = refused(daemon, "POST", f"/build?{query}", body, TAR)
    assert status == 400
    assert why in said


def test_a_default_isolation_is_nothing_to_be_done(daemon: Daemon) -> None:
    body = archive({"Dockerfile": b"FROM busybox\n"})
    status, said = ask(daemon, "POST", "/build?isolation=default", body, TAR)
    assert status == 200
    assert b"Successfully built" in said


# --- git ------------------------------------------------------------------------------------------


def git(place: Path, *words: str) -> str:
    settings = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "-c",
        "init.defaultBranch=main",
    ]
    done = subprocess.run(["git", *settings, *words], cwd=place, capture_output=True, text=True,
                          check=True)  # fmt: skip
    return done.stdout.strip()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """A repository that `git daemon` gives out: its address, and its commits."""
    top = tmp_path_factory.mktemp("git")
    app = top / "app"
    app.mkdir()
    git(app, "init", "--quiet")
    commits = []
    for number in ("1", "2"):
        (app / "docker").mkdir(exist_ok=True)
        (app / "Dockerfile").write_text(f"FROM busybox\nLABEL top={number}\nCOPY . /src\n")
        (app / "docker" / "Dockerfile").write_text(f"FROM busybox\nLABEL inner={number}\n")
        git(app, "add", ".")
        git(app, "commit", "--quiet", "-m", number)
        git(app, "tag", f"v{number}")
        commits.append(git(app, "rev-parse", "HEAD"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["git", "daemon", "--export-all", f"--base-path={top}", "--listen=127.0.0.1",
             f"--port={port}", "--reuseaddr"]  # fmt: skip
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: listens(port))
    yield f"git://127.0.0.1:{port}/app", commits
    os.killpg(server.pid, 15)
    server.wait()


@pytest.mark.parametrize(
    ("fragment", "label"),
    [("", ("top", "2")), ("#v1", ("top", "1")), ("#main", ("top", "2")),
     ("#:docker", ("inner", "2")), ("#v1:docker", ("inner", "1")), ("#COMMIT", ("top", "1"))],
)  # fmt: skip
def test_a_repository_as_context(
    client: Any, served: tuple[str, list[str]], fragment: str, label: tuple[str, str]
) -> None:
    url, commits = served
    word = url + fragment.replace("COMMIT", commits[0])
    ask_for = {"remote": word, "tag": "app", "network_mode": "none", "rm": True}
    list(client.api._stream_helper(_post(client, ask_for)))
    assert client.images.get("app").labels == dict([label])


def test_the_books_of_the_repository_stay_out_of_the_image(
    client: Any, served: tuple[str, list[str]]
) -> None:
    """`.git/config` has the address, with the password that may be in it."""
    list(client.api._stream_helper(_post(client, {"remote": served[0], "tag": "app", "rm": True})))
    seen = client.containers.run("app", ["find", "/src"], remove=True, network_mode="none")
    assert b"/src/Dockerfile" in seen and b".git" not in seen


def _post(client: Any, words: dict[str, Any]) -> Any:
    """docker-py itself sends `remote` only where it finds the address to be a URL it knows."""
    api = client.api
    names = {"tag": "t", "network_mode": "networkmode"}
    params = {names.get(key, key): value for key, value in words.items()}
    answer = api.post(api._url("/build"), params=params, stream=True)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize(
    ("fragment", "why"),
    [("#nosuch", "couldn't find remote ref nosuch"),
     ("#main:nosuch", "error setting git context, 'nosuch' is not a directory"),
     ("#--upload-pack=x", "invalid refspec: --upload-pack=x")],
)  # fmt: skip
def test_a_repository_that_has_no_such_thing(
    daemon: Daemon, served: tuple[str, list[str]], fragment: str, why: str
) -> None:
    word = (served[0] + fragment).replace("#", "%23")
    status, said = refused(daemon, "POST", f"/build?remote={word}")
    assert status in (400, 500)
    assert why in said


def test_a_password_is_not_told(daemon: Daemon) -> None:
    word = "http://user:secret@127.0.0.1:1/x.git"
    _, said = refused(daemon, "POST", f"/build?remote={word}")
    assert "user:********@127.0.0.1" in said
    assert "secret" not in said
