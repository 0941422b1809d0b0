"""labcontainer compose against dockerd; docker and Docker Compose 1.29 say what they see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.engines.test_dockerd import Docker
from tests.engines.world import ROOT, World, wait_for

pytestmark = pytest.mark.requires("root", "dockerd", "docker", "busybox")
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def docker(rootfs: Path) -> Iterator[Docker]:
    world = World(Path(tempfile.mkdtemp(prefix="lc-compose-")))
    engine: Docker | None = None
    try:
        engine = Docker(world)
        tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], capture_output=True, check=True)
        engine("import", "-", "box", stdin=tar.stdout)
        yield engine
    finally:
        world.close([engine.daemon] if engine else [])


class Compose:
    """The command in a project's directory. What it leaves at the daemon fails the test."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self.docker, self.folder = docker, folder
        self.name = f"p{time.monotonic_ns()}"

    def argv(self, *words: str) -> list[str]:
        main = [sys.executable, "-m", "labcontainer.cli.main", "compose"]
        return [*main, "--project-name", self.name, *words]

    def env(self, **more: str) -> dict[str, str]:
        own = {"LABCONTAINER_HOST": self.docker.socket, "PYTHONPATH": str(ROOT)}
        return {**os.environ, **own, **more}

    def write(self, text: str, name: str = "compose.yaml") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def call(self, *words: str, env: Mapping[str, str] | None = None) -> Done:
        return subprocess.run(
            self.argv(*words),
            cwd=self.folder,
            env=self.env(**(env or {})),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        done = self.call(*words, env=env)
        assert done.returncode == 0, f"compose {words}: {done.returncode}: {done.stderr}"
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.argv(*words), cwd=self.folder, env=self.env(), stdout=pipe, stderr=pipe, text=True
        )

    def ids(self) -> dict[str, str]:
        """The names of the project's containers and their ids, as docker sees them."""
        label = f"--filter=label=com.docker.compose.project={self.name}"
        lines = self.docker("ps", "-a", label, "--format", "{{.Names}} {{.ID}}").splitlines()
        pairs = (line.split() for line in lines)
        return {name.removeprefix(f"{self.name}-"): identity for name, identity in pairs}

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker("inspect", f"{self.name}-{name}"))[0]
        return found


def left(docker: Docker) -> list[str]:
    """All containers, volumes and networks of users."""
    containers = docker("ps", "-a", "--format", "{{.Names}}").split()
    volumes = docker("volume", "ls", "-q").split()
    networks = docker("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}").split()
    return [*containers, *volumes, *networks]


@pytest.fixture
def compose(docker: Docker, tmp_path: Path) -> Iterator[Compose]:
    project = Compose(docker, tmp_path)
    yield project
    project.call("down", "--volumes", "--remove-orphans", "--timeout", "0")
    assert left(docker) == []


SLEEP = "init: true, command: sleep 1000"
TWO = f"""
services:
  web: {{image: box, {SLEEP}, environment: {{A: "${{A:-1}}"}}, depends_on: [db]}}
  db: {{image: box, {SLEEP}, volumes: ["data:/data", "/anon"]}}
volumes: {{data: }}
"""


def test_only_what_has_changed_is_made_anew(compose: Compose) -> None:
    compose.write(TWO)
    compose("up", "--detach")
    first = compose.ids()
    assert set(first) == {"web-1", "db-1"}
    compose("up", "--detach")
    assert compose.ids() == first
    plan = compose("up", "--dry-run", env={"A": "2"}).splitlines()
    assert plan == [
        f"keep {compose.name}-db-1",
        f"recreate {compose.name}-web-1: its configuration has changed",
    ]
    compose("up", "--detach", env={"A": "2"})
    second = compose.ids()
    assert second["db-1"] == first["db-1"] and second["web-1"] != first["web-1"]
    assert compose("exec", "-T", "web", "sh", "-c", "echo $A") == "2\n"


def test_down_leaves_nothing(compose: Compose, docker: Docker) -> None:
    compose.write(TWO)
    compose("up", "--detach")
    compose("up", "--detach", "--force-recreate")
    compose("down")
    hexadecimal = [name for name in left(docker) if len(name) == 64]
    assert left(docker) == [*hexadecimal, f"{compose.name}_data"]
    compose("up", "--detach")
    compose("down", "--volumes")
    assert [name for name in left(docker) if name not in hexadecimal] == []
    docker("volume", "rm", *hexadecimal)  # the anonymous ones of the `down` without --volumes
    assert compose("down", "--volumes") == ""  # there is nothing left to remove


def test_anonymous_volumes_survive_a_new_container(compose: Compose, docker: Docker) -> None:
    compose.write(TWO)
    compose("up", "--detach")
    compose("exec", "-T", "db", "sh", "-c", "echo kept | tee /anon/f /data/f")
    before = compose.ids()["db-1"]
    compose("up", "--detach", "--force-recreate", "db")
    assert compose.ids()["db-1"] != before
    assert compose("exec", "-T", "db", "cat", "/anon/f", "/data/f") == "kept\nkept\n"
    compose("up", "--detach", "--force-recreate", "--renew-anon-volumes", "db")
    assert compose("exec", "-T", "db", "sh", "-c", "ls /anon; cat /data/f") == "kept\n"
    docker("volume", "prune", "--force")


def test_scale(compose: Compose) -> None:
    compose.write(TWO)
    compose("up", "--detach", "--scale", "web=3")
    ids = compose.ids()
    assert set(ids) == {"web-1", "web-2", "web-3", "db-1"}
    compose("up", "--detach", "--scale", "web=1")
    assert compose.ids() == {name: ids[name] for name in ("web-1", "db-1")}
    # All have the service's name in the network.
    compose("up", "--detach", "--scale", "web=2")
    found = compose("exec", "-T", "db", "sh", "-c", "ping -c 1 web >/dev/null && echo found")
    assert found == "found\n"


def test_a_service_waits_until_what_it_needs_is_healthy(compose: Compose) -> None:
    compose.write(f"""
services:
  web: {{image: box, {SLEEP}, depends_on: {{db: {{condition: service_healthy}},
        job: {{condition: service_completed_successfully}}}}}}
  db:
    image: box
    init: true
    command: sh -c "sleep 1; touch /ready; sleep 1000"
    healthcheck: {{test: test -e /ready, interval: 200ms, retries: 100}}
  job: {{image: box, command: sleep 1}}
""")
    compose("up", "--detach", "--wait")
    assert compose.inspect("db-1")["State"]["Health"]["Status"] == "healthy"
    assert compose.inspect("job-1")["State"]["Status"] == "exited"
    web, job = compose.inspect("web-1")["State"], compose.inspect("job-1")["State"]
    assert web["StartedAt"] > job["FinishedAt"]
    db = compose.inspect("db-1")["State"]
    first_good = next(one for one in db["Health"]["Log"] if one["ExitCode"] == 0)
    assert web["StartedAt"] > first_good["Start"]


@pytest.mark.parametrize(
    ("db", "condition", "problem"),
    [
        ("command: 'false'", "service_completed_successfully",
         "dependency failed to start: service 'db' didn't complete successfully: exit 1"),
        ("command: 'true', healthcheck: {test: 'true'}", "service_healthy",
         "dependency failed to start: container NAME-db-1 exited (0)"),
        (("command: sleep 1000, init: true, healthcheck: {test: 'false', interval: 100ms, "
         "retries: 1}"), "service_healthy",
         "dependency failed to start: container NAME-db-1 is unhealthy"),
        (SLEEP, "service_healthy",
         "dependency failed to start: container NAME-db-1 has no healthcheck configured"),
    ],
)  # fmt: skip
def test_a_dependency_that_fails(compose: Compose, db: str, condition: str, problem: str) -> None:
    compose.write(
        f"services: {{web: {{image: box, {SLEEP}, depends_on: {{db: {{condition: {condition}}}}}}},"
        f" db: {{image: box, {db}}}}}"
    )
    done = compose.call("up", "--detach")
    assert done.returncode == 1
    assert problem.replace("NAME", compose.name) in done.stderr
    assert compose.inspect("web-1")["State"]["Status"] == "created"


def test_an_optional_dependency_may_fail(compose: Compose) -> None:
    compose.write(f"""
services:
  web: {{image: box, {SLEEP}, depends_on: {{db: {{condition: service_healthy, required: false}}}}}}
  db: {{image: box, command: "false", healthcheck: {{test: "true"}}}}
""")
    done = compose.call("up", "--detach")
    assert done.returncode == 0 and "optional dependency failed to start" in done.stderr
    assert compose.inspect("web-1")["State"]["Running"]


def test_logs_have_names(compose: Compose) -> None:
    compose.write("""
services:
  a: {image: box, command: sh -c "echo one; echo two >&2; printf three"}
  longer: {image: box, command: sh -c "echo four"}
""")
    compose("up", "--detach")
    wait_for(lambda: compose("logs").count("|") == 4)
    *lines, last = compose("logs", "a", "longer").splitlines()
    # The daemon reads standard output and error apart: their order is not the program's.
    assert set(lines) == {"a-1       | one", "a-1       | two", "a-1       | three"}
    assert last == "longer-1  | four"
    assert len(compose("logs", "--no-log-prefix", "--tail", "1", "a").splitlines()) == 1
    followed = compose("logs", "--follow", "a")  # ends, since the container has
    assert set(followed.splitlines()) == {"a-1  | one", "a-1  | two", "a-1  | three"}


def test_in_the_foreground_until_all_have_ended(compose: Compose) -> None:
    compose.write("""
services:
  a: {image: box, command: sh -c "echo first; exit 3"}
  b: {image: box, command: sh -c "echo second", restart: "on-failure:1", depends_on: [a]}
  again: {image: box, command: sh -c "echo again; exit 1", restart: "on-failure:1"}
""")
    done = compose.call("up")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "a-1 exited with code 3" in lines and "b-1 exited with code 0" in lines
    text = [line.split("|")[1].strip() for line in lines if "|" in line]
    assert sorted(text) == ["again", "again", "first", "second"]


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (("--abort-on-container-exit",), 3),
        (("--exit-code-from", "web"), 143),
        (("--exit-code-from", "job"), 3),
    ],
)
def test_the_end_of_one_ends_all(compose: Compose, flags: tuple[str, ...], status: int) -> None:
    compose.write(f"""
services:
  web: {{image: box, {SLEEP}}}
  job: {{image: box, command: sh -c "sleep 0.5; exit 3", depends_on: [web]}}
""")
    done = compose.call("up", *flags)
    assert done.returncode == status, done.stderr
    assert "job-1 exited with code 3" in done.stdout
    assert not compose.inspect("web-1")["State"]["Running"]


def test_ctrl_c_stops_in_the_reverse_order(compose: Compose) -> None:
    compose.write(f"""
services:
  web: {{image: box, {SLEEP}, depends_on: [db]}}
  db: {{image: box, init: true, command: sh -c "echo ready; sleep 1000"}}
""")
    up = compose.start("up")
    try:
        wait_for(lambda: "web-1" in compose.call("ps").stdout)
        up.send_signal(signal.SIGINT)
        out, err = up.communicate(timeout=60)
    finally:
        up.kill()
        up.wait()
    assert up.returncode == 130, err
    assert "db-1   | ready" in out
    stopping = [line.split()[1] for line in err.splitlines() if "Stopping" in line][1:]
    assert [name.removeprefix(f"{compose.name}-") for name in stopping] == ["web-1", "db-1"]
    assert not compose.inspect("db-1")["State"]["Running"]


def test_a_second_ctrl_c_kills(compose: Compose) -> None:
    compose.write("""
services:
  deaf: {image: box, command: sh -c "trap '' TERM; echo deaf; sleep 1000", stop_grace_period: 60s}
""")
    up = compose.start("up")
    try:
        wait_for(lambda: "deaf" in compose.call("logs").stdout)
        up.send_signal(signal.SIGINT)
        assert up.stderr is not None
        for line in up.stderr:
            if "Stopping" in line and "Container" in line:
                break
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)
    finally:
        up.kill()
        up.wait()
    assert up.returncode == 130
    assert compose.inspect("deaf-1")["State"]["ExitCode"] == 137


def test_networks_aliases_and_changes(compose: Compose) -> None:
    text = f"""
services:
  web: {{image: box, {SLEEP}, networks: {{front: {{aliases: [www]}}, back: }}}}
  db: {{image: box, {SLEEP}, networks: [back]}}
networks: {{front: , back: {{labels: {{v: "VALUE"}}}}}}
"""
    compose.write(text)
    compose("up", "--detach")
    networks = compose.inspect("web-1")["NetworkSettings"]["Networks"]
    assert set(networks) == {f"{compose.name}_front", f"{compose.name}_back"}
    names = "ping -c 1 web && ping -c 1 db"
    compose("exec", "-T", "web", "sh", "-c", f"{names} && ping -c 1 www")
    compose("exec", "-T", "db", "sh", "-c", f"{names} && ! ping -c 1 www")
    compose.write(text.replace("VALUE", "2"))
    compose("up", "--detach")
    network = json.loads(compose.docker("network", "inspect", f"{compose.name}_back"))[0]
    assert network["Labels"]["v"] == "2" and len(network["Containers"]) == 2
    compose("exec", "-T", "db", "sh", "-c", names)


def test_secrets_and_configs(compose: Compose) -> None:
    compose.write("from a file", "secret")
    compose.write(f"""
services:
  web:
    image: box
    {SLEEP.replace(", ", chr(10) + "    ")}
    secrets: [file, {{source: env, mode: 0400, uid: "1000"}}]
    configs: [{{source: text, target: /etc/text}}]
secrets: {{file: {{file: ./secret}}, env: {{environment: TOKEN}}}}
configs: {{text: {{content: "of ${{TOKEN}}"}}}}
""")
    compose("up", "--detach", env={"TOKEN": "value"})
    script = "cd /run/secrets; cat file env /etc/text; stat -c %u:%a env"
    said = compose("exec", "-T", "web", "sh", "-c", script, env={"TOKEN": "value"})
    assert said == "from a filevalueof value1000:400\n"
    before = compose.ids()
    compose("up", "--detach", env={"TOKEN": "value"})
    assert compose.ids() == before
    compose("up", "--detach", env={"TOKEN": "other"})
    assert compose.ids() != before


def test_orphans(compose: Compose) -> None:
    compose.write(TWO)
    compose("up", "--detach")
    compose.write(f"services: {{web: {{image: box, {SLEEP}}}}}")
    done = compose.call("up", "--detach")
    assert f"found orphan containers ({compose.name}-db-1)" in done.stderr
    assert "db-1" in compose.ids()
    assert "orphan" not in compose.call("up", "-d", env={"COMPOSE_IGNORE_ORPHANS": "1"}).stderr
    compose("up", "--detach", "--remove-orphans")
    assert set(compose.ids()) == {"web-1"}
    compose.write(TWO)  # so that its volume is the project's again
    compose.docker("volume", "prune", "--force")


def test_run(compose: Compose) -> None:
    compose.write(f"""
services:
  web: {{image: box, {SLEEP}, ports: ["80"], environment: {{A: file}}, depends_on: [db]}}
  db: {{image: box, {SLEEP}}}
""")
    script = "echo $A $B; ping -c 1 db > /dev/null && exit 5"
    done = compose.call("run", "--rm", "-T", "-e", "B=flag", "web", "sh", "-c", script)
    assert (done.stdout, done.returncode) == ("file flag\n", 5), done.stderr
    assert set(compose.ids()) == {"db-1"}
    compose("run", "--detach", "--no-deps", "--name", f"{compose.name}-mine", "web", "true")
    compose.docker("wait", f"{compose.name}-mine")
    assert compose.inspect("mine")["HostConfig"]["PortBindings"] == {}
    assert compose.inspect("mine")["Config"]["Labels"]["com.docker.compose.oneoff"] == "True"
    assert "mine" not in compose("ps") and "mine" in compose("ps", "--all")


def test_build_and_rmi(compose: Compose, docker: Docker) -> None:
    compose.write(
        "FROM box\nARG WORD=none\nCOPY . /app/\nRUN echo $WORD > /word\n", "src/Dockerfile"
    )
    compose.write("text", "src/text")
    compose.write("skip", "src/skip.log")
    compose.write("*.log\n", "src/.dockerignore")
    compose.write("""
services:
  web: {build: {context: src, args: {WORD: built}}, command: sh -c "cat /word; ls /app"}
  two: {build: {context: src, dockerfile_inline: "FROM box"}, image: named, command: "true"}
""")
    compose("up", "--detach", "--quiet-build")
    wait_for(lambda: "text" in compose("logs", "--no-log-prefix", "web"))
    assert compose("logs", "--no-log-prefix", "web").split() == ["built", "Dockerfile", "text"]
    before = compose.ids()
    compose("up", "--detach", "--build", "--quiet-build")
    assert compose.ids() == before
    compose.write("other", "src/text")
    compose("up", "--detach", "--build", "--quiet-build")
    after = compose.ids()
    assert after["web-1"] != before["web-1"] and after["two-1"] == before["two-1"]
    compose("down", "--rmi", "local")
    images = docker("images", "--format", "{{.Repository}}").split()
    assert f"{compose.name}-web" not in images and "named" in images
    docker("rmi", "named")


def test_a_build_that_fails(compose: Compose) -> None:
    compose.write("FROM box\nRUN echo why; exit 7\n", "Dockerfile")
    compose.write("services: {web: {build: .}}")
    done = compose.call("build", "--quiet")
    assert done.returncode == 1
    assert "failed to build web" in done.stderr and "why" in done.stderr
    assert compose.ids() == {}


def test_watch(compose: Compose) -> None:
    compose.write("FROM box\nCOPY src /app\nCMD sleep 1000\n", "Dockerfile")
    compose.write("one", "src/a")
    compose.write("""
services:
  web:
    build: .
    init: true
    develop:
      watch:
        - {path: src, action: sync, target: /app, ignore: ["*.tmp"]}
        - {path: Dockerfile, action: rebuild}
""")
    watch = compose.start("watch", "--quiet")
    try:
        assert watch.stderr is not None
        for line in watch.stderr:
            if "Watch enabled" in line:
                break
        first = compose.ids()["web-1"]
        compose.write("two", "src/a")
        compose.write("new", "src/sub/b")
        compose.write("not", "src/c.tmp")
        wait_for(lambda: _files(compose) == "a sub sub/b two")
        (compose.folder / "src/sub/b").unlink()
        wait_for(lambda: _files(compose) == "a sub two")
        compose.write("FROM box\nCOPY src /app\nCMD sleep 999\n", "Dockerfile")
        wait_for(lambda: compose.ids().get("web-1", first) != first)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(60) == 0
    finally:
        watch.kill()
        watch.communicate()
    compose("down", "--rmi", "local")


def _files(compose: Compose) -> str:
    script = "cd /app; find . | sort | cut -c3-; cat a"
    return " ".join(compose.call("exec", "-T", "web", "sh", "-c", script).stdout.split())


def test_stop_start_pause_kill_restart_rm(compose: Compose) -> None:
    compose.write(TWO)
    compose("create")
    assert {compose.inspect(name)["State"]["Status"] for name in compose.ids()} == {"created"}
    compose("start")
    first = compose.inspect("web-1")["State"]["StartedAt"]
    compose("restart", "web")
    assert compose.inspect("web-1")["State"]["StartedAt"] > first
    compose("pause", "web")
    assert compose.inspect("web-1")["State"]["Status"] == "paused"
    compose("unpause")
    compose("kill", "--signal", "SIGKILL", "db")
    wait_for(lambda: compose.inspect("db-1")["State"]["ExitCode"] == 137)
    compose("stop", "--timeout", "1")
    assert not compose.inspect("web-1")["State"]["Running"]
    compose("rm", "--force", "web")
    assert set(compose.ids()) == {"db-1"}


def test_lists(compose: Compose) -> None:
    compose.write(TWO)
    compose("up", "--detach")
    rows = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
    assert [(row["Service"], row["State"]) for row in rows] == [("db", "running"),
                                                                ("web", "running")]  # fmt: skip
    assert compose("ps", "--services") == "db\nweb\n"
    assert len(compose("ps", "--quiet").split()) == 2
    projects = json.loads(compose("ls", "--format", "json"))
    assert {"Name": compose.name, "Status": "running(2)",
            "ConfigFiles": f"{compose.folder}/compose.yaml"} in projects  # fmt: skip
    assert "sleep 1000" in compose("top", "web")
    assert [row["Repository"] for row in json.loads(compose("images", "--format", "json"))] == [
        "box", "box",
    ]  # fmt: skip
    assert compose("config", "--services") == "db\nweb\n"
    hashes = dict(line.split() for line in compose("config", "--hash", "*").splitlines())
    labels = compose.inspect("web-1")["Config"]["Labels"]
    assert labels["com.docker.compose.config-hash"] == hashes["web"]


def test_without_files_the_labels_tell(compose: Compose) -> None:
    compose.write(TWO)
    compose("up", "--detach")
    (compose.folder / "compose.yaml").unlink()
    assert "web-1" in compose("ps")
    compose("stop", "web")
    compose("down", "--volumes")
    assert compose.ids() == {}
    done = compose.call("ps")
    assert done.returncode == 1 and "no configuration file provided" in done.stderr


def test_a_published_port(compose: Compose) -> None:
    compose.write(f"services: {{web: {{image: box, {SLEEP}, ports: ['127.0.0.1::80/udp']}}}}")
    compose("up", "--detach")
    place = compose("port", "--protocol", "udp", "web", "80").strip()
    assert place.startswith("127.0.0.1:") and place.rpartition(":")[2].isdecimal()
    done = compose.call("port", "web", "81")
    assert done.returncode == 1 and "no port 81/tcp" in done.stderr


# --- Docker's own ---------------------------------------------------------------------------------


def theirs(compose: Compose, *words: str) -> str:
    done = subprocess.run(
        ["docker-compose", "--project-name", compose.name, *words],
        cwd=compose.folder,
        env={**os.environ, "DOCKER_HOST": compose.docker.socket},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


OLD = f"""
version: "2.4"
services:
  web: {{image: box, {SLEEP}, depends_on: [db]}}
  db: {{image: box, {SLEEP}, volumes: ["data:/data"]}}
volumes: {{data: }}
"""


@pytest.mark.requires("docker-compose")
def test_docker_compose_sees_our_project(compose: Compose) -> None:
    compose.write(OLD)
    compose("up", "--detach")
    assert set(theirs(compose, "ps", "--services").split()) == {"web", "db"}
    assert f"{compose.name}-web-1" in theirs(compose, "ps")
    theirs(compose, "exec", "-T", "db", "touch", "/data/theirs")
    theirs(compose, "down")
    assert left(compose.docker) == [f"{compose.name}_data"]


@pytest.mark.requires("docker-compose")
def test_we_see_docker_composes_project(compose: Compose) -> None:
    compose.write(OLD)
    theirs(compose, "up", "--detach")
    assert compose("ps", "--services") == "db\nweb\n"
    compose("exec", "-T", "db", "touch", "/data/ours")
    compose("up", "--detach")  # by our hash: made anew, with the volume
    assert compose("exec", "-T", "db", "ls", "/data") == "ours\n"
    compose("down", "--volumes")
    assert left(compose.docker) == []


CONFIGS = {
    "words": """
services:
  web:
    image: "box:${TAG:-1}"
    command: echo "a b" $$HOME
    environment: {A: "1", B: "${UNSET-x}"}
    ports: ["8080:80", "127.0.0.1:9000-9001:90-91/udp"]
    labels: {a: b}
    dns: 1.1.1.1
    cap_add: [NET_ADMIN]
    restart: always
    hostname: h
    user: "1000"
    working_dir: /w
    stop_signal: SIGINT
    read_only: true
    privileged: true
    mem_limit: 64m
""",
    "lists": """
services:
  web:
    image: box
    entrypoint: [echo, a]
    environment: [A=1, "B=x=y"]
    labels: [a=b, c]
    depends_on: [db]
    networks: {front: {aliases: [x]}, back: }
    extra_hosts: ["a:1.1.1.1"]
    tmpfs: [/t]
    expose: ["3000"]
    ulimits: {nproc: 5, nofile: {soft: 1, hard: 2}}
    sysctls: {net.core.somaxconn: 5}
    group_add: ["7"]
    volumes: ["./d:/d:ro", "data:/x", "/anon"]
  db: {image: box, command: "true", healthcheck: {test: curl x, interval: 1m30s, retries: 3}}
networks: {front: , back: {driver: bridge, internal: true}}
volumes: {data: {labels: {a: b}}}
""",
}


def created(inspected: dict[str, Any]) -> dict[str, Any]:
    """What of a container follows from its file, in a form that has no order."""
    config, host = inspected["Config"], inspected["HostConfig"]
    labels = {key: one for key, one in config["Labels"].items() if "com.docker" not in key}
    mounts = sorted((one["Type"], one["Destination"], one["RW"]) for one in inspected["Mounts"])
    names = ("Cmd", "Entrypoint", "User", "WorkingDir", "StopSignal", "Healthcheck", "Hostname",
             "ExposedPorts")  # fmt: skip
    kept = {name: config.get(name) for name in names}
    if len(config["Hostname"]) == 12:
        kept["Hostname"] = None  # its own id
    limits = ("PortBindings", "RestartPolicy", "ReadonlyRootfs", "Privileged", "Memory", "CapAdd",
              "Dns", "ExtraHosts", "Tmpfs", "Sysctls", "GroupAdd")  # fmt: skip
    kept |= {name: host.get(name) or None for name in limits}
    kept["Ulimits"] = sorted(map(str, host.get("Ulimits") or ()))
    kept["RestartPolicy"]["Name"] = kept["RestartPolicy"]["Name"] or "no"
    # Not its networks: 1.29 joins the second one when it starts the container.
    return {**kept, "Labels": labels, "Env": sorted(config["Env"] or ()), "Mounts": mounts}


@pytest.mark.requires("docker-compose")
@pytest.mark.parametrize("kind", CONFIGS)
def test_containers_are_made_as_docker_compose_makes_them(
    compose: Compose, docker: Docker, kind: str
) -> None:
    docker("tag", "box", "box:1")
    compose.write('version: "2.4"' + CONFIGS[kind])
    compose("create")
    ours = {name: created(compose.inspect(name)) for name in compose.ids()}
    compose("down", "--volumes")
    theirs(compose, "up", "--no-start")
    names = docker("ps", "-a", "--format", "{{.Names}}").split()
    made = {
        "-".join(name.rsplit("_", 2)[-2:]): created(json.loads(docker("inspect", name))[0])
        for name in names
    }
    theirs(compose, "down", "--volumes")
    docker("rmi", "box:1")
    for name, one in ours.items():
        assert one == made[name]
    assert ours.keys() == made.keys()
