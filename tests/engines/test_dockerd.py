"""dockerd runs containers with our runtime; the docker command says what it sees."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.world import ROOT, World, wait_for

pytestmark = pytest.mark.requires("root", "dockerd", "docker", "busybox")


class Docker:
    """A dockerd of our own, and the docker command for it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.socket = f"unix://{world.place}/docker.sock"
        config = world.place / "daemon.json"
        runtimes = {"lab": {"path": str(world.runtime)}}
        config.write_text(json.dumps({"runtimes": runtimes, "default-runtime": "lab"}))
        self.daemon = world.start(
            "dockerd",
            f"--config-file={config}",
            f"--host={self.socket}",
            f"--data-root={world.place}/data",
            f"--exec-root={world.place}/exec",
            f"--pidfile={world.place}/pid",
            f"--cgroup-parent=/{world.cgroup}",
            "--bip=10.213.7.1/24",
            log=world.place / "log",
        )
        log = world.place / "log"
        world.answers(self.daemon, log, lambda: self.call("version").returncode == 0)

    def call(
        self, *words: str, stdin: str | bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.world.call("docker", f"--host={self.socket}", *words, stdin=stdin)

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> str:
        done = self.call(*words, stdin=stdin)
        assert done.returncode == 0, f"docker {words}: {done.returncode}: {done.stderr}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def docker(rootfs: Path) -> Iterator[Docker]:
    world = World(Path(tempfile.mkdtemp(prefix="lc-docker-")))
    engine: Docker | None = None
    try:
        engine = Docker(world)
        tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], capture_output=True, check=True)
        engine("import", "-", "box", stdin=tar.stdout)
        yield engine
        names = engine("ps", "--all", "--quiet").split()
        if names:
            engine("rm", "--force", *names)
    finally:
        world.close([engine.daemon] if engine else [])


@pytest.fixture
def name(docker: Docker) -> Iterator[str]:
    chosen = f"c{time.monotonic_ns()}"
    yield chosen
    docker.call("rm", "--force", chosen)


@pytest.fixture
def sleeper(docker: Docker, name: str) -> str:
    docker("run", "--detach", "--name", name, "box", "sleep", "1000")
    return name


def test_it_is_our_runtime(docker: Docker) -> None:
    assert docker("info", "--format", "{{.DefaultRuntime}}") == "lab"


def test_run_passes_output_input_and_status_on(docker: Docker) -> None:
    run = ("run", "--rm", "--interactive", "--network=none", "box")
    done = docker.call(*run, "sh", "-c", "cat; echo err >&2; exit 7", stdin="in")
    assert (done.stdout, done.stderr, done.returncode) == ("in", "err\n", 7)


@pytest.mark.parametrize(
    ("program", "status"), [("/no/such", 127), ("nosuch", 127), ("/etc/passwd", 126), ("/etc", 126)]
)
def test_a_program_that_cannot_run(docker: Docker, program: str, status: int) -> None:
    done = docker.call("run", "--rm", "box", program)
    assert done.returncode == status, done.stderr


def test_the_bridge_network(docker: Docker) -> None:
    out = docker("run", "--rm", "box", "sh", "-c", "ip -4 -o address show eth0; ip route")
    assert "10.213.7." in out and "default via 10.213.7.1" in out


def test_two_containers_reach_each_other(docker: Docker, sleeper: str) -> None:
    address = docker(
        "inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", sleeper
    )
    assert "1 packets received" in docker("run", "--rm", "box", "ping", "-c", "1", address)


@pytest.mark.parametrize(
    ("options", "script", "expected"),
    [
        (("--user=1000:1000",), "id -u; id -g", "1000\n1000"),
        (("--workdir=/made", "--env=A=b"), "pwd; echo $A", "/made\nb"),
        (("--read-only",), "touch /x 2>/dev/null || echo ro", "ro"),
        (("--read-only", "--tmpfs=/tmp"), "touch /tmp/x && echo rw", "rw"),
        (("--privileged",), "mount -t tmpfs x /work && echo mounted", "mounted"),
        (("--hostname=lab",), "hostname", "lab"),
        (("--cap-drop=ALL",), "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
        ((), "grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb"),
        ((), "grep Seccomp: /proc/self/status", "Seccomp:\t2"),
        (
            ("--security-opt=no-new-privileges",),
            "grep NoNewPrivs /proc/self/status",
            "NoNewPrivs:\t1",
        ),
        (("--security-opt=seccomp=unconfined",), "grep Seccomp: /proc/self/status", "Seccomp:\t0"),
        (("--ulimit=nofile=100:200",), "ulimit -n; ulimit -Hn", "100\n200"),
        (("--shm-size=8m",), "mount | grep -o '/dev/shm .*size=8192k'", "/dev/shm type tmpfs"),
        (("--init",), "head -c 40 /proc/1/cmdline | tr '\\0' ' '", "/sbin/docker-init -- sh -c"),
    ],
)
def test_run(docker: Docker, options: tuple[str, ...], script: str, expected: str) -> None:
    assert docker("run", "--rm", *options, "box", "sh", "-c", script).startswith(expected)


def test_pid_host(docker: Docker) -> None:
    assert "dockerd" in docker("run", "--rm", "--pid=host", "box", "ps")


def test_shared_namespaces(docker: Docker, sleeper: str) -> None:
    options = (f"--pid=container:{sleeper}", f"--network=container:{sleeper}")
    assert "sleep 1000" in docker("run", "--rm", *options, "box", "ps")


def test_volumes(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("outside")
    options = (f"--volume={tmp_path}:/v:ro", "--volume=named:/w")
    script = "cat /v/file; touch /v/x; touch /w/x && echo kept"
    done = docker.call("run", "--rm", *options, "box", "sh", "-c", script)
    assert done.stdout == "outsidekept\n" and "Read-only file system" in done.stderr


def test_limits_stand_and_are_updated(docker: Docker, name: str) -> None:
    options = ("--memory=64m", "--cpus=0.5", "--pids-limit=30")
    docker("run", "--detach", "--name", name, *options, "box", "sleep", "1000")
    full = docker("inspect", "--format", "{{.Id}}", name)
    memory, pids = (
        Path("/sys/fs/cgroup", kind, docker.world.cgroup, full) for kind in ("memory", "pids")
    )
    assert (memory / "memory.limit_in_bytes").read_text() == f"{64 << 20}\n"
    assert (pids / "pids.max").read_text() == "30\n"
    docker("update", "--memory=80m", "--memory-swap=160m", name)
    assert (memory / "memory.limit_in_bytes").read_text() == f"{80 << 20}\n"


def test_out_of_memory_is_told(docker: Docker, name: str) -> None:
    options = ("--memory=16m", "--memory-swap=16m")
    done = docker.call("run", "--name", name, *options, "box", "tail", "/dev/zero")
    assert done.returncode == 137
    wait_for(lambda: docker("inspect", "--format", "{{.State.OOMKilled}}", name) == "true")


def test_exec(docker: Docker, sleeper: str) -> None:
    done = docker.call("exec", "-i", sleeper, "sh", "-c", "cat; exit 3", stdin="to exec")
    assert (done.stdout, done.returncode) == ("to exec", 3)
    assert docker("exec", "--user=1000", "--workdir=/tmp", sleeper, "pwd") == "/tmp"


@pytest.mark.parametrize("program", ["nosuch", "/etc/passwd"])
def test_exec_of_what_cannot_run(docker: Docker, sleeper: str, program: str) -> None:
    # This dockerd (20.10) says 126 to both, later ones 127 to the first.
    assert docker.call("exec", sleeper, program).returncode in (126, 127)


def test_terminals(docker: Docker, sleeper: str) -> None:
    script = ("script", "-qec")
    docker_words = f"docker --host={docker.socket}"
    done = docker.world.call(*script, f"{docker_words} exec -it {sleeper} tty", "/dev/null")
    assert "/dev/pts/" in done.stdout, done.stderr
    done = docker.world.call(
        *script, f"{docker_words} run --rm -it box sh -c 'tty; exit 4'", "/dev/null"
    )
    assert "/dev/pts/0" in done.stdout and done.returncode == 4, done.stderr


def test_logs_and_wait(docker: Docker, name: str) -> None:
    docker("run", "--detach", "--name", name, "box", "sh", "-c", "echo out; echo err >&2; exit 4")
    assert docker("wait", name) == "4"
    done = docker.call("logs", name)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_stop_start_kill_and_restart(docker: Docker, name: str) -> None:
    trap = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    docker("run", "--detach", "--name", name, "box", "sh", "-c", trap)
    wait_for(lambda: docker("logs", name) == "ready")
    docker("stop", "--time=60", name)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "5"
    docker("start", name)
    docker("kill", name)
    assert docker("wait", name) == "137"
    docker("restart", name)
    assert docker("inspect", "--format", "{{.State.Running}}", name) == "true"


def test_pause_and_unpause(docker: Docker, sleeper: str) -> None:
    docker("pause", sleeper)
    assert docker("inspect", "--format", "{{.State.Status}}", sleeper) == "paused"
    docker("unpause", sleeper)
    assert docker("exec", sleeper, "echo", "awake") == "awake"


def test_top_and_stats(docker: Docker, sleeper: str) -> None:
    assert "sleep 1000" in docker("top", sleeper)
    stats = docker("stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", sleeper)
    assert stats.startswith("1 ")


def test_copy(docker: Docker, sleeper: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("copied")
    docker("cp", str(tmp_path / "file"), f"{sleeper}:/tmp/file")
    assert docker("exec", sleeper, "cat", "/tmp/file") == "copied"


def test_remove_of_a_running_one(docker: Docker, sleeper: str) -> None:
    docker("rm", "--force", sleeper)
    assert docker.call("inspect", sleeper).returncode != 0


def test_namespaces_of_the_host(docker: Docker) -> None:
    assert docker("run", "--rm", "--ipc=host", "--uts=host", "box", "echo", "shared") == "shared"


# --- images -------------------------------------------------------------------------------------


def lab(docker: Docker, *words: str, stdin: bytes | None = None) -> str:
    """`labcontainer …` in docker's world, with a store of its own."""
    home = f"LABCONTAINER_HOME={docker.world.place}/lab"
    line = [
        "env",
        home,
        f"PYTHONPATH={ROOT}",
        sys.executable,
        "-m",
        "labcontainer.cli.main",
        *words,
    ]
    done = docker.world.call(*line, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_docker_loads_what_we_save_and_we_what_docker_saves(docker: Docker) -> None:
    place = docker.world.place
    docker("save", "--output", f"{place}/docker.tar", "box")
    assert lab(docker, "load", "--input", f"{place}/docker.tar") == "Loaded image: box:latest\n"
    lab(docker, "tag", "box", "ours:1")
    lab(docker, "save", "--output", f"{place}/ours.tar", "ours:1")
    assert docker("load", "--input", f"{place}/ours.tar") == "Loaded image: ours:1"
    assert docker("run", "--rm", "--network=none", "ours:1", "echo", "it runs") == "it runs"
    docker("rmi", "ours:1")


def test_docker_pushes_to_our_registry_and_pulls_from_it(docker: Docker) -> None:
    world = docker.world
    log = world.place / "registry.log"
    serve = ["labcontainer.cli.main", "registry", "serve", "--listen", "127.0.0.1:5999"]
    server = world.start(
        "env", f"PYTHONPATH={ROOT}", sys.executable, "-m", *serve,
        "--storage", f"{world.place}/registry", log=log,
    )  # fmt: skip
    try:
        wait_for(lambda: "listening" in log.read_text())
        docker("tag", "box", "localhost:5999/team/box:1")
        docker("push", "localhost:5999/team/box:1")
        assert "localhost:5999/team/box:1" in lab(docker, "pull", "localhost:5999/team/box:1")
        lab(docker, "tag", "localhost:5999/team/box:1", "localhost:5999/ours:2")
        lab(docker, "push", "localhost:5999/ours:2")
        assert "Downloaded newer image" in docker("pull", "localhost:5999/ours:2")
        ran = docker("run", "--rm", "--network=none", "localhost:5999/ours:2", "echo", "pulled")
        assert ran == "pulled"
        docker("rmi", "localhost:5999/ours:2", "localhost:5999/team/box:1")
    finally:
        server.terminate()
        server.wait()


# --- our commands drive dockerd -----------------------------------------------------------------


class Lab:
    """`labcontainer`, with dockerd for its daemon."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker
        self.words = [sys.executable, "-m", "labcontainer.cli.main"]
        self.env = {"LABCONTAINER_HOST": docker.socket, "PYTHONPATH": str(ROOT)}

    def call(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._docker.world.call(*self.words, *words, env=self.env, stdin=stdin)

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        done = self.call(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.returncode}: {done.stderr}"
        return done.stdout.strip()


@pytest.fixture
def ours(docker: Docker) -> Lab:
    return Lab(docker)


def test_run_by_a_daemon(ours: Lab, docker: Docker, name: str) -> None:
    script = "cat; echo err >&2; exit 7"
    done = ours.call("run", "--rm", "-i", "--network=none", "box", "sh", "-c", script, stdin="in")
    assert (done.stdout, done.stderr, done.returncode) == ("in", "err\n", 7)
    flags = ("--label", "k=v", "--memory", "64m", "--restart", "on-failure:2", "--hostname", "h")
    identity = ours("run", "-d", "--name", name, *flags, "box", "sleep", "1000")
    shape = "{{.Config.Hostname}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}"
    shown = docker("inspect", "--format", shape, name)
    assert shown == f"h {64 << 20} on-failure"
    assert ours("inspect", "--format", shape, name) == shown
    assert ours("inspect", "--format", "{{.Id}}", name) == identity


def test_ps_prints_what_docker_prints(ours: Lab, docker: Docker, sleeper: str) -> None:
    del sleeper
    for words in (("ps", "--no-trunc"), ("ps", "-aq"), ("ps", "--format", "{{.ID}} {{.Names}}"),
                  ("ps", "--filter", "status=paused"), ("network", "ls", "-q"),
                  ("volume", "ls")):  # fmt: skip
        for _ in range(3):  # an age may have grown by a second between the two
            mine, theirs = ours(*words), docker(*words)
            found, wanted = (
                [line.split() for line in said.splitlines()] for said in (mine, theirs)
            )
            if found == wanted:
                break
        assert found == wanted, words


def test_a_life_by_our_commands(ours: Lab, docker: Docker, name: str) -> None:
    script = "trap 'exit 3' TERM; echo out; echo err >&2; while :; do sleep 0.1; done"
    identity = ours("create", "--name", name, "--network", "none", "box", "sh", "-c", script)
    assert len(identity) == 64
    assert ours("start", name) == name
    done = ours.call("exec", "-i", "-e", "A=b", name, "sh", "-c", "cat; echo $A; exit 4", stdin="x")
    assert (done.stdout, done.returncode) == ("xb\n", 4)
    # By two streams: either may come first.
    wait_for(lambda: len((done := docker.call("logs", name)).stdout + done.stderr) == 8)
    logs = ours.call("logs", name)
    assert (logs.stdout, logs.stderr) == ("out\n", "err\n")
    ours("exec", name, "touch", "/new")
    assert ours("diff", name) == docker("diff", name)
    assert "A /new" in ours("diff", name)
    assert "sh -c" in ours("top", name)
    assert ours("pause", name) == ours("unpause", name) == name
    assert name in ours("stats", "--no-stream", name)
    missing = ours.call("stop", name, "nosuch")
    assert (missing.stdout, missing.returncode) == (f"{name}\n", 1)
    assert "No such container: nosuch" in missing.stderr
    assert ours("wait", name) == "3"
    assert ours("rename", name, f"{name}x") == ""
    assert ours("rm", f"{name}x") == f"{name}x"
    assert docker("ps", "-aq", "--filter", f"name={name}") == ""


def test_networks_and_volumes_by_our_commands(ours: Lab, docker: Docker, sleeper: str) -> None:
    try:
        ours("network", "create", "--subnet", "10.213.9.0/24", "lcnet")
        ours("network", "connect", "--alias", "db", "lcnet", sleeper)
        assert docker("inspect", "--format", "{{.NetworkSettings.Networks.lcnet.IPAddress}}",
                      sleeper).startswith("10.213.9.")  # fmt: skip
        ours("network", "disconnect", "lcnet", sleeper)
        assert ours("network", "rm", "lcnet") == "lcnet"
        assert ours("volume", "create", "--label", "a=b", "lcvol") == "lcvol"
        assert docker("volume", "inspect", "--format", "{{.Labels.a}}", "lcvol") == "b"
        assert ours("volume", "rm", "lcvol") == "lcvol"
    finally:
        docker.call("network", "rm", "lcnet")
        docker.call("volume", "rm", "lcvol")


def test_events_info_and_disk_usage(ours: Lab, sleeper: str) -> None:
    assert sleeper in ours("events", "--since", "5m", "--until", "0s", "--filter", "event=start")
    assert ours("info", "--format", "{{.DefaultRuntime}}") == "lab"
    assert "Containers" in ours("system", "df")
    assert "Server" in ours("version")


def test_a_container_goes_out_and_comes_back_as_an_image(
    ours: Lab, docker: Docker, sleeper: str
) -> None:
    path = f"{docker.world.place}/export.tar"
    docker("exec", sleeper, "sh", "-c", "echo kept > /kept")
    ours("export", "-o", path, sleeper)
    lab(docker, "import", "--change", 'CMD ["cat", "/kept"]', path, "from-export")
    ran = docker.world.call(
        "env", f"LABCONTAINER_HOME={docker.world.place}/lab", f"PYTHONPATH={ROOT}", sys.executable,
        "-m", "labcontainer.cli.main", "run", "--network=none", "from-export",
    )  # fmt: skip
    assert ran.stdout == "kept\n", ran.stderr


def test_a_version_that_both_know(ours: Lab, docker: Docker, sleeper: str) -> None:
    theirs = docker("version", "--format", "{{.Server.APIVersion}}")
    known = min(theirs, "1.44", key=lambda word: [int(part) for part in word.split(".")])
    assert ours("version", "--format", "{{.Client.ApiVersion}}") == known
    assert docker("volume", "create", "lcnamed") == "lcnamed"
    try:
        pruned = ours("volume", "prune", "--force")
        spared = theirs not in ("1.40", "1.41")  # since 1.42 those with a name stay
        assert ("lcnamed" in docker("volume", "ls", "-q")) is spared, pruned
    finally:
        docker.call("volume", "rm", "lcnamed")
    refused = ours.call("volume", "prune", "--force", "--all")
    assert (refused.returncode == 0) is spared
    assert ours("container", "inspect", "--format", "{{.Name}}", sleeper) == f"/{sleeper}"
    assert ours.call("run", "--rm", "--network=none", "box", "nosuch").returncode == 127
