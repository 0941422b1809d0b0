"""labcontainer compose against our own daemon: the same words, the same outcome as with dockerd."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api import plain
from tests.api.world import ROOT, Daemon, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")


class Compose:
    """The command in a project's directory."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon, self.folder = daemon, folder

    def call(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.daemon.command("compose", "--project-name", "proj", *words),
            cwd=self.folder,
            env={**self.daemon.env, "PYTHONPATH": str(ROOT), **env},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        return subprocess.Popen(
            self.daemon.command("compose", "--project-name", "proj", *words),
            cwd=self.folder, env={**self.daemon.env, "PYTHONPATH": str(ROOT)}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __call__(self, *words: str, **env: str) -> str:
        done = self.call(*words, **env)
        assert done.returncode == 0, f"compose {words}: {done.returncode}: {done.stderr}"
        return done.stdout

    def ids(self) -> dict[str, str]:
        lines = self.daemon.docker("ps", "-a", "--format", "{{.Names}} {{.ID}}").splitlines()
        pairs = (line.split() for line in lines)
        return {name.removeprefix("proj-"): identity for name, identity in pairs}


@pytest.fixture
def compose(daemon: Daemon, tmp_path: Path) -> Iterator[Compose]:
    yield Compose(daemon, tmp_path)
    daemon.clean()  # of a test that failed; the next one counts what is there
    daemon.docker("network", "prune", "-f")
    daemon.remove_volumes()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from plain.served(tmp_path_factory.mktemp("registry"))


WHOLE = """
services:
  web:
    image: busybox
    init: true
    command: sh -c "echo serving $$A; sleep 1000"
    environment: {A: "${A:-1}"}
    depends_on: {db: {condition: service_healthy}, job: {condition: service_completed_successfully}}
    networks: {front: {aliases: [www]}, back: }
    secrets: [token]
    configs: [{source: text, target: /etc/text}]
  db:
    image: busybox
    init: true
    command: sh -c "touch /ready; sleep 1000"
    healthcheck: {test: test -e /ready, interval: 200ms}
    volumes: ["data:/data", "/anonymous"]
    networks: [back]
  job: {image: busybox, command: sh -c "echo done", network_mode: none}
networks: {front: , back: }
volumes: {data: }
secrets: {token: {environment: TOKEN}}
configs: {text: {content: "text\\n"}}
"""


def test_a_whole_project(compose: Compose) -> None:
    (compose.folder / "compose.yaml").write_text(WHOLE)
    compose("up", "--detach", "--wait", TOKEN="secret")
    first = compose.ids()
    assert set(first) == {"web-1", "db-1", "job-1"}
    script = "cat /run/secrets/token /etc/text; ping -c 1 db > /dev/null && echo found"
    said = compose("exec", "-T", "web", "sh", "-c", script, TOKEN="secret")
    assert said == "secrettext\nfound\n"
    compose("exec", "-T", "db", "sh", "-c", "echo kept | tee /data/f /anonymous/f", TOKEN="secret")

    compose("up", "--detach", TOKEN="secret", A="2")
    second = compose.ids()
    assert second["db-1"] == first["db-1"] and second["web-1"] != first["web-1"]
    wait_for(lambda: "serving 2" in compose("logs", "web", TOKEN="secret"))
    # What has ended is started again, as Docker Compose does.
    assert compose("logs", "job", TOKEN="secret") == "job-1  | done\n" * 2

    compose("up", "--detach", "--force-recreate", "--no-deps", "db", TOKEN="secret")
    kept = compose("exec", "-T", "db", "cat", "/data/f", "/anonymous/f", TOKEN="secret")
    assert kept == "kept\nkept\n"

    rows = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
    assert [row["Service"] for row in rows] == ["db", "web"]
    compose("up", "--detach", "--scale", "web=2", TOKEN="secret", A="2")
    assert set(compose.ids()) == {"web-1", "web-2", "db-1", "job-1"}

    (compose.folder / "file").write_text("copied")
    compose("cp", "file", "web:/tmp/file", TOKEN="secret")
    for index in ("1", "2"):
        compose("cp", "--index", index, "web:/tmp/file", f"back{index}", TOKEN="secret")
        assert (compose.folder / f"back{index}").read_text() == "copied"

    compose("down", "--volumes")
    docker = compose.daemon.docker
    assert compose.ids() == {} and docker("volume", "ls", "-q") == ""
    assert docker("network", "ls", "--filter", "type=custom", "-q") == ""


def test_the_foreground_and_its_status(compose: Compose) -> None:
    (compose.folder / "compose.yaml").write_text("""
services:
  again:
    image: busybox
    command: sh -c "echo again; echo x >> /d/lives; exit 1"
    restart: "on-failure:2"
    volumes: ["data:/d"]
  last:
    image: busybox
    command: sh -c "until grep -c x /d/lives 2>&1 | grep -qx 3; do sleep 1; done; echo last; exit 3"
    depends_on: [again]
    volumes: ["data:/d"]
volumes: {data: }
""")
    done = compose.call("up", "--exit-code-from", "last")
    assert done.returncode == 3, done.stderr
    text = [line.partition("| ")[2] for line in done.stdout.splitlines() if "|" in line]
    assert sorted(text) == ["again", "again", "again", "last"]
    compose("down", "--volumes", "--timeout", "0")


def test_run_and_build(compose: Compose) -> None:
    (compose.folder / "Dockerfile").write_text("FROM busybox\nARG WORD\nRUN echo $WORD > /word\n")
    text = "services: {web: {build: {context: ., args: {WORD: built}}, command: cat /word}}"
    (compose.folder / "compose.yaml").write_text(text)
    compose("build", "--quiet")
    assert compose("run", "--rm", "-T", "web") == "built\n"
    done = compose.call("run", "--rm", "-T", "web", "sh", "-c", "exit 7")
    assert done.returncode == 7, done.stderr
    compose("down", "--rmi", "local")
    assert "proj-web" not in compose.daemon.docker("images")


def test_push_and_pull(compose: Compose, registry: str) -> None:
    docker, name = compose.daemon.docker, f"{registry}/team/web:1"
    (compose.folder / "Dockerfile").write_text("FROM busybox\nENV A=1\nCMD sleep 1000\n")
    (compose.folder / "compose.yaml").write_text(
        f"services: {{web: {{build: ., image: '{name}', init: true}}}}"
    )
    compose("build", "--quiet", "--push")
    pushed = docker("inspect", "--format", "{{.Id}}", name)
    docker("rmi", name)

    file = f"services: {{web: {{image: '{name}', init: true, POLICY}}}}"
    (compose.folder / "compose.yaml").write_text(file.replace("POLICY", "pull_policy: never"))
    done = compose.call("up", "--detach")
    assert done.returncode == 1 and f"No such image: {name}" in done.stderr
    (compose.folder / "compose.yaml").write_text(file.replace(", POLICY", ""))
    done = compose.call("up", "--detach")
    assert done.returncode == 0, done.stderr
    assert f" Image {name}  Pulled\n" in done.stderr
    assert docker("inspect", "--format", "{{.Image}}", "proj-web-1") == pushed
    assert "Pulling" not in compose.call("up", "--detach").stderr
    assert "Pulled" in compose.call("up", "--detach", "--pull", "always").stderr
    quiet = compose.call("up", "--detach", "--pull", "always", "--quiet-pull")
    assert quiet.returncode == 0 and "Pull" not in quiet.stderr
    compose("pull", "--quiet")
    gone = file.replace("/web:1", "/gone:1").replace(", POLICY", "")
    (compose.folder / "compose.yaml").write_text(gone)
    done = compose.call("pull")
    assert done.returncode == 1 and "gone" in done.stderr
    compose("down", "--timeout", "0")
    docker("rmi", name)


def test_hooks_names_and_restarts_of_dependents(compose: Compose) -> None:
    text = """
services:
  web:
    image: busybox
    init: true
    container_name: proj-own-name
    command: sleep 1000
    depends_on: {db: {condition: service_started, restart: true}}
    volumes: ["data:/data"]
    post_start: [{command: sh -c "echo began >> /data/log"}]
    pre_stop: [{command: [sh, -c, "echo ends $$WORD >> /data/log"], environment: [WORD=now]}]
  db: {image: busybox, init: true, command: sleep 1000, environment: {A: "${A:-1}"}}
volumes: {data: }
"""
    (compose.folder / "compose.yaml").write_text(text)
    compose("up", "--detach")
    docker = compose.daemon.docker
    started = docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", "proj-own-name").split()
    compose("up", "--detach", A="2")
    again = docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", "proj-own-name").split()
    assert again[0] == started[0] and again[1] > started[1]  # the same one, restarted
    compose("stop", A="2")
    compose("start", A="2")
    assert compose("exec", "-T", "web", "cat", "/data/log") == "began\nends now\nbegan\n"
    (compose.folder / "compose.yaml").write_text(text.replace("echo began", "exit 4; echo"))
    done = compose.call("up", "--detach", "--force-recreate")
    assert done.returncode == 1 and "of proj-own-name exited with 4" in done.stderr
    compose("down", "--volumes", "--timeout", "0")


def test_waiting_has_a_limit(compose: Compose) -> None:
    check = 'healthcheck: {test: "false", interval: 100ms, retries: 1000}'
    (compose.folder / "compose.yaml").write_text(
        f"services: {{web: {{image: busybox, init: true, command: sleep 1000, {check}}}}}"
    )
    done = compose.call("up", "--wait", "--wait-timeout", "1")
    assert done.returncode == 1 and "application not healthy after --wait-timeout" in done.stderr
    compose("down", "--timeout", "0")


TWO = """
services:
  web: {image: busybox, init: true, command: sleep 1000, depends_on: [db], volumes: ["data:/d"]}
  db: {image: busybox, init: true, command: sh -c "read a; echo got $$a; exit 5", stdin_open: true}
volumes: {data: , other: }
"""


def test_scale_stats_volumes_and_version(compose: Compose) -> None:
    (compose.folder / "compose.yaml").write_text(TWO)
    compose("--parallel", "1", "up", "--detach")
    first = compose.ids()
    compose("scale", "web=3")
    assert set(compose.ids()) == {"web-1", "web-2", "web-3", "db-1"}
    compose("scale", "--no-deps", "web=1")
    assert compose.ids() == first
    done = compose.call("scale", "web")
    assert done.returncode == 1 and "it is SERVICE=N" in done.stderr

    shown = compose("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "web")
    assert shown.split()[0] == "proj-web-1" and int(shown.split()[1]) >= 1
    assert compose("volumes", "--quiet") == "proj_data\n"
    assert compose("volumes", "--quiet", "db") == ""
    assert compose("volumes", "--format", "{{.Driver}}", "web") == "local\n"
    assert compose("version", "--short").strip() in compose("version")
    compose("down", "--volumes", "--timeout", "0")


def test_attach_wait_commit_and_export(compose: Compose) -> None:
    (compose.folder / "compose.yaml").write_text(TWO)
    compose("up", "--detach")
    command = compose.daemon.command(
        "compose", "-p", "proj", "-f", f"{compose.folder}/compose.yaml"
    )
    done = compose.daemon.call(*command, "attach", "db", stdin=b"typed\n")
    assert (done.returncode, done.stdout) == (5, b"got typed\n"), done.stderr
    identity = compose.daemon.docker("inspect", "-f", "{{.Id}}", "proj-db-1")
    waited = compose.call("wait", "db")
    assert waited.stdout == f'container "{identity}" exited with status code 5\n'
    assert waited.returncode == 5

    compose("exec", "-t", "-T", "web", "sh", "-c", "echo kept > /kept")
    compose("commit", "-m", "why", "web", "proj-kept:1")
    assert compose("run", "--rm", "-T", "--no-deps", "web", "true") == ""
    docker = compose.daemon.docker
    assert docker("run", "--rm", "proj-kept:1", "cat", "/kept") == "kept"
    compose("export", "-o", "all.tar", "web")
    with tarfile.open(compose.folder / "all.tar") as tar:
        assert tar.getmember("kept").size == len("kept\n")
    docker("rmi", "proj-kept:1")
    (compose.folder / "env").write_text("WORD=file\n")
    said = compose("run", "--rm", "-T", "--no-deps", "--env-from-file", "env", "web", "sh", "-c",
                   "echo $WORD")  # fmt: skip
    assert said == "file\n"

    compose("start", "db")
    waiting = compose.start("wait", "--down-project", "db", "web")
    wait_for(lambda: bool(docker("ps", "-q", "--filter", "name=proj-db")))
    docker("kill", "--signal", "KILL", "proj-db-1")
    out, _ = waiting.communicate(timeout=60)
    assert out.endswith("exited with status code 137\n") and waiting.returncode == 137
    assert compose.ids() == {}
    compose("down", "--volumes")


def test_steps_on_a_terminal_change_in_place(compose: Compose) -> None:
    # It takes longer than a tenth of a second: so the lines are drawn more than once.
    slow = TWO.replace("depends_on: [db]", "depends_on: {db: {condition: service_healthy}}")
    check = "healthcheck: {test: sleep 0.4, interval: 100ms}"
    slow = slow.replace("stdin_open: true", f"stdin_open: true, {check}")
    (compose.folder / "compose.yaml").write_text(slow)
    command = " ".join(compose.daemon.command("compose", "-p", "proj", "up", "--detach"))
    env = {**compose.daemon.env, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    done = subprocess.run(["script", "-qec", f"stty cols 80; {command}", "/dev/null"], env=env,
                          cwd=compose.folder, capture_output=True, text=True, timeout=60,
                          check=True, stdin=subprocess.DEVNULL)  # fmt: skip
    drawn = done.stdout
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn[drawn.rindex("[+] up 4/4") :]).splitlines()
    lines = [line.split() for line in last]
    assert lines[0] == ["[+]", "up", "4/4"]
    assert sorted(line[1:4] for line in lines[1:5]) == [
        ["Container", "proj-db-1", "Healthy"],
        ["Container", "proj-web-1", "Started"],
        ["Network", "proj_default", "Created"],
        ["Volume", "proj_data", "Created"],
    ]
    assert all(line[0] == "✔" and line[4].endswith("s") for line in lines[1:5])
    assert "\x1b[1A" in drawn  # lines were gone back to

    told = compose.call("--progress", "json", "stop", "--timeout", "0", "web").stderr.splitlines()
    assert [json.loads(line) for line in told] == [
        {"id": "Container proj-web-1", "status": "Working", "text": "Stopping"},
        {"id": "Container proj-web-1", "status": "Done", "text": "Stopped"},
    ]
    assert compose.call("--progress", "quiet", "down", "-v", "--timeout", "0").stderr == ""


def test_a_digest_for_a_tag(compose: Compose, registry: str) -> None:
    docker, name = compose.daemon.docker, f"{registry}/team/digest:1"
    docker("tag", "busybox", name)
    pushed = docker("push", name)
    (compose.folder / "compose.yaml").write_text(f"services: {{web: {{image: '{name}'}}}}")
    digest = re.search(r"sha256:[0-9a-f]{64}", pushed)
    assert digest
    assert compose("config", "--resolve-image-digests", "--images") == f"{name}@{digest[0]}\n"
    docker("rmi", name)


def test_events_of_the_past_and_lines_with_their_time(compose: Compose) -> None:
    (compose.folder / "compose.yaml").write_text(
        "services: {one: {image: busybox, command: echo said}}"
    )
    out = compose("up", "--timestamps")
    assert re.search(r"one-1  \| \d{4}-\d\d-\d\dT[\d:.]+Z said\n", out)
    # By a time in the future the daemon would wait for it.
    told = compose("events", "--json", "--since", "10m", "--until", str(time.time()))
    actions = [json.loads(line)["action"] for line in told.splitlines()]
    began = max(place for place, word in enumerate(actions) if word == "create")
    assert actions[began : began + 4] == ["create", "attach", "start", "die"]
    compose("down")
