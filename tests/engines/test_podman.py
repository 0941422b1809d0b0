"""podman runs containers with our runtime: what it asks of one, seen from its own command line."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.world import World, wait_for
from tests.system.oci_home import groups_below

pytestmark = pytest.mark.requires("root", "podman", "conmon", "busybox")

CONFIG = """
[containers]
# Without CAP_SYS_RESOURCE a hard limit can't be raised to what podman asks by itself.
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman:
    """The podman command in a world of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        config = world.place / "containers.conf"
        config.write_text(CONFIG)
        self.env = {"CONTAINERS_CONF": str(config)}
        self._options = [
            f"--root={world.place}/storage",
            f"--runroot={world.place}/run",
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            f"--runtime={world.runtime}",
        ]

    def argv(self, *words: str) -> list[str]:
        return ["podman", *self._options, *words]

    def call(
        self, *words: str, stdin: str | bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A podman command, to its end. A container's group is put below the world's."""
        if words[0] in ("run", "create"):
            words = (words[0], f"--cgroup-parent=/{self.world.cgroup}", *words[1:])
        return self.world.call(*self.argv(*words), env=self.env, stdin=stdin)

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> str:
        done = self.call(*words, stdin=stdin)
        assert done.returncode == 0, f"podman {words}: {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def inspect(self, name: str, what: str) -> str:
        return self("inspect", "--format", "{{%s}}" % what, name)  # noqa: UP031  (Go's braces)


@pytest.fixture(scope="module")
def podman(rootfs: Path) -> Iterator[Podman]:
    world = World(Path(tempfile.mkdtemp(prefix="lc-podman-")))
    try:
        engine = Podman(world)
        tar = subprocess.run(["tar", "-C", rootfs, "-c", "."], capture_output=True, check=True)
        engine("import", "-", "box", stdin=tar.stdout)
        yield engine
        engine.call("rm", "--all", "--force", "--time=0")
    finally:
        world.close()


@pytest.fixture
def name(podman: Podman) -> Iterator[str]:
    """A name for a container, which is removed at the end."""
    chosen = f"c{time.monotonic_ns()}"
    yield chosen
    podman.call("rm", "--force", "--time=0", chosen)


@pytest.fixture
def sleeper(podman: Podman, name: str) -> str:
    """A running container that sleeps."""
    podman("run", "--detach", "--name", name, "--network=none", "box", "sleep", "1000")
    return name


def host_pid(podman: Podman, name: str) -> int:
    """The container's first process as seen from outside of the world."""
    inner = podman.inspect(name, ".State.Pid")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "status").read_text()
        except OSError:
            continue
        numbers = re.search(r"^NSpid:\t(.*)$", text, re.MULTILINE)
        if numbers and numbers[1].split()[1:2] == [inner] and len(numbers[1].split()) == 3:
            return int(folder.name)
    raise AssertionError(f"no process {inner}")


# --- run ----------------------------------------------------------------------------------------


def test_it_is_our_runtime(podman: Podman) -> None:
    info = json.loads(podman("info", "--format", "json"))
    assert info["host"]["ociRuntime"]["path"] == str(podman.world.runtime)
    assert "labcontainer" in info["host"]["ociRuntime"]["version"]


def test_run_passes_output_input_and_status_on(podman: Podman) -> None:
    run = ("run", "--rm", "--interactive", "--network=none", "box")
    done = podman.call(*run, "sh", "-c", "cat; echo err >&2; exit 7", stdin="in")
    assert (done.stdout, done.stderr, done.returncode) == ("in", "err\n", 7)


def test_a_signal_is_status_128_and_more(podman: Podman) -> None:
    script = "kill -9 $$"
    done = podman.call("run", "--rm", "--init", "--network=none", "box", "sh", "-c", script)
    assert done.returncode in (137, 9) or "catatonit" in done.stderr


@pytest.mark.parametrize(
    ("program", "status"),
    [("/no/such/program", 127), ("nosuchprogram", 127), ("/etc", 126), ("/etc/passwd", 126)],
)
def test_a_program_that_cannot_run(podman: Podman, program: str, status: int) -> None:
    done = podman.call("run", "--rm", "--network=none", "box", program)
    assert done.returncode == status, done.stderr


def test_namespaces_host_name_and_pid(podman: Podman) -> None:
    script = "echo $$; hostname; ps | wc -l"
    out = podman("run", "--rm", "--network=none", "--hostname=lab", "box", "sh", "-c", script)
    pid, host, lines = out.split()
    assert (pid, host) == ("1", "lab") and int(lines) <= 5


def test_a_bridge_network(podman: Podman) -> None:
    script = "ip -4 -o address show eth0; ip route"
    done = podman.call("run", "--rm", "box", "sh", "-c", script)
    if "iptables" in done.stderr or "xtables" in done.stderr:
        pytest.skip(f"podman's own network does not work here: {done.stderr}")
    assert " eth0 " in done.stdout and "default via" in done.stdout, done.stderr


def test_user_groups_and_umask(podman: Podman) -> None:
    script = "id -u; id -g; id -G; umask"
    options = ("--user=1000:1000", "--group-add=50", "--umask=0027", "--network=none")
    out = podman("run", "--rm", *options, "box", "sh", "-c", script).split("\n")
    assert out[0] == out[1] == "1000" and "50" in out[2].split() and out[3] == "0027"


def test_a_user_by_name(podman: Podman) -> None:
    assert podman("run", "--rm", "--network=none", "--user=learner", "box", "id", "-u") == "1000"


def test_working_directory_and_environment(podman: Podman) -> None:
    script = "pwd; echo $A"
    options = ("--workdir=/tmp", "--env=A=b c", "--network=none")
    assert podman("run", "--rm", *options, "box", "sh", "-c", script) == "/tmp\nb c"


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        ((), None),
        (("--cap-drop=ALL",), 0),
        (("--cap-drop=ALL", "--cap-add=CHOWN"), 1),
        (("--cap-drop=ALL", "--user=1000"), 0),
    ],
)
def test_capabilities(podman: Podman, options: tuple[str, ...], bits: int | None) -> None:
    command = ("grep", "CapEff", "/proc/self/status")
    out = podman("run", "--rm", "--network=none", *options, "box", *command)
    effective = int(out.split()[1], 16)
    assert effective == bits if bits is not None else 0 < effective < 1 << 32


def test_seccomp_and_no_new_privileges(podman: Podman) -> None:
    command = ("grep", "-E", "Seccomp:|NoNewPrivs:", "/proc/self/status")
    out = podman("run", "--rm", "--network=none", "box", *command)
    assert out.split() == ["NoNewPrivs:", "0", "Seccomp:", "2"]
    options = ("--security-opt=no-new-privileges", "--security-opt=seccomp=unconfined")
    out = podman("run", "--rm", "--network=none", *options, "box", *command)
    assert out.split() == ["NoNewPrivs:", "1", "Seccomp:", "0"]


def test_privileged(podman: Podman) -> None:
    script = (
        "grep CapEff /proc/self/status; mount -t tmpfs x /work && echo mounted; ls /dev | wc -l"
    )
    out = podman("run", "--rm", "--network=none", "--privileged", "box", "sh", "-c", script)
    assert "mounted" in out and int(out.split()[1], 16) >> 21 & 1


def test_read_only_with_its_writable_places(podman: Podman) -> None:
    script = "touch /x; touch /tmp/x && echo tmp; touch /run/x && echo run"
    out = podman.call("run", "--rm", "--network=none", "--read-only", "box", "sh", "-c", script)
    assert "Read-only file system" in out.stderr and out.stdout == "tmp\nrun\n"


def test_a_tmpfs_takes_a_copy_of_what_it_covers(podman: Podman) -> None:
    script = "cat /etc/hostname; touch /etc/new; mount | grep ' /etc '"
    options = ("--tmpfs=/etc:rw,size=1m", "--network=none", "--hostname=lab")
    out = podman("run", "--rm", *options, "box", "sh", "-c", f"ls /etc; {script}")
    assert "passwd" in out and "tmpfs on /etc" in out


def test_volumes(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("outside")
    script = "cat /v/file; touch /v/x; touch /w/x"
    options = (f"--volume={tmp_path}:/v:ro", f"--volume={tmp_path}:/w", "--network=none")
    done = podman.call("run", "--rm", *options, "box", "sh", "-c", script)
    assert done.stdout == "outside" and "/v/x: Read-only file system" in done.stderr
    assert (tmp_path / "x").exists()


def test_pid_host_sees_the_world(podman: Podman) -> None:
    out = podman("run", "--rm", "--network=none", "--pid=host", "box", "ps")
    assert "sleep infinity" in out


def test_a_user_namespace(podman: Podman) -> None:
    options = ("--uidmap=0:100000:2000", "--gidmap=0:100000:2000", "--network=none")
    script = "cat /proc/self/uid_map; id -u; touch /x; stat -c %u /x"
    out = podman("run", "--rm", *options, "box", "sh", "-c", script).split()
    assert out == ["0", "100000", "2000", "0", "0"]


def test_sysctl_and_devices(podman: Podman) -> None:
    options = ("--sysctl=net.ipv4.ip_unprivileged_port_start=81", "--device=/dev/zero:/dev/nil:r")
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; head -c 1 /dev/nil | wc -c"
    out = podman("run", "--rm", "--network=none", *options, "box", "sh", "-c", script)
    assert out.split() == ["81", "1"]


# --- limits -------------------------------------------------------------------------------------


def test_limits_stand_and_are_updated(podman: Podman, name: str) -> None:
    options = ("--memory=64m", "--cpus=0.5", "--pids-limit=30", "--network=none")
    podman("run", "--detach", "--name", name, *options, "box", "sleep", "1000")
    group = next(Path("/sys/fs/cgroup").glob(f"*/{podman.world.cgroup}/libpod-*[0-9a-f]"), None)
    assert group is not None
    assert values(podman, "memory.limit_in_bytes", "memory.max") == {str(64 << 20)}
    assert values(podman, "pids.max") == {"30"}
    assert values(podman, "cpu.cfs_quota_us") <= {"50000"}
    podman("update", "--memory=96m", name)
    assert values(podman, "memory.limit_in_bytes", "memory.max") == {str(96 << 20)}


def values(podman: Podman, *names: str) -> set[str]:
    groups = [group for group in groups_below(podman.world.cgroup) if "conmon" not in group.name]
    found = {(group / name) for group in groups for name in names if (group / name).exists()}
    return {path.read_text().strip() for path in found}


def test_out_of_memory_is_told(podman: Podman, name: str) -> None:
    options = ("--memory=16m", "--memory-swap=16m", "--network=none")
    command = ("sh", "-c", "tail /dev/zero; exit $?")
    done = podman.call("run", "--name", name, *options, "box", *command)
    assert done.returncode == 137


# --- a running container ------------------------------------------------------------------------


def test_exec(podman: Podman, sleeper: str) -> None:
    done = podman.call("exec", "-i", sleeper, "sh", "-c", "cat; exit 3", stdin="to exec")
    assert (done.stdout, done.returncode) == ("to exec", 3)


@pytest.mark.parametrize(("program", "status"), [("nosuch", 127), ("/etc/passwd", 126)])
def test_exec_of_what_cannot_run(podman: Podman, sleeper: str, program: str, status: int) -> None:
    done = podman.call("exec", sleeper, program)
    assert done.returncode == status, done.stderr


def test_exec_as_a_user_elsewhere(podman: Podman, sleeper: str) -> None:
    options = ("--user=1000", "--workdir=/tmp", "--env=A=b")
    out = podman("exec", *options, sleeper, "sh", "-c", "id -u; pwd; echo $A")
    assert out.split() == ["1000", "/tmp", "b"]


def test_exec_privileged(podman: Podman, sleeper: str) -> None:
    command = ("grep", "CapEff", "/proc/self/status")
    plain = int(podman("exec", sleeper, *command).split()[1], 16)
    more = int(podman("exec", "--privileged", sleeper, *command).split()[1], 16)
    assert more > plain


def test_exec_detached(podman: Podman, sleeper: str) -> None:
    podman("exec", "--detach", sleeper, "touch", "/tmp/there")
    wait_for(lambda: podman.call("exec", sleeper, "test", "-e", "/tmp/there").returncode == 0)


def test_logs(podman: Podman, name: str) -> None:
    podman("run", "--name", name, "--network=none", "box", "sh", "-c", "echo out; echo err >&2")
    done = podman.call("logs", name)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_stop_kill_and_their_status(podman: Podman, name: str) -> None:
    trap = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    podman("run", "--detach", "--name", name, "--network=none", "box", "sh", "-c", trap)
    wait_for(lambda: podman("logs", name) == "ready")
    podman("stop", "--time=60", name)
    assert podman.inspect(name, ".State.ExitCode") == "5"
    podman("start", name)
    podman("kill", "--signal=KILL", name)
    wait_for(lambda: podman.inspect(name, ".State.Status") == "exited")
    assert podman.inspect(name, ".State.ExitCode") == "137"


def test_pause_and_unpause(podman: Podman, sleeper: str) -> None:
    podman("pause", sleeper)
    assert podman.inspect(sleeper, ".State.Status") == "paused"
    podman("unpause", sleeper)
    assert podman("exec", sleeper, "echo", "awake") == "awake"


def test_top_ps_and_stats(podman: Podman, sleeper: str) -> None:
    assert "sleep 1000" in podman("top", sleeper)
    assert sleeper in podman("ps", "--format", "{{.Names}}")
    stats = json.loads(podman("stats", "--no-stream", "--format", "json", sleeper))
    assert stats[0]["pids"] == "1"


def test_wait_and_restart(podman: Podman, name: str) -> None:
    podman("run", "--detach", "--name", name, "--network=none", "box", "sh", "-c", "exit 4")
    assert podman("wait", name) == "4"
    podman("restart", name)
    assert podman("wait", name) == "4"


def test_copy(podman: Podman, sleeper: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("copied")
    podman("cp", str(tmp_path / "file"), f"{sleeper}:/tmp/file")
    assert podman("exec", sleeper, "cat", "/tmp/file") == "copied"


def test_remove_of_a_running_one(podman: Podman, sleeper: str) -> None:
    podman("rm", "--force", "--time=0", sleeper)
    assert podman.call("inspect", sleeper).returncode != 0


def test_a_created_one_is_removed(podman: Podman, name: str) -> None:
    podman("create", "--name", name, "--network=none", "box", "true")
    podman("init", name)
    podman("rm", name)


def test_the_first_process_is_conmons_child(podman: Podman, sleeper: str) -> None:
    pid = host_pid(podman, sleeper)
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert Path(f"/proc/{stat[1]}/comm").read_text() == "conmon\n"
    assert os.readlink(f"/proc/{pid}/exe").endswith("/bin/busybox")


# --- terminals ----------------------------------------------------------------------------------


def on_terminal(podman: Podman, *words: str) -> tuple[str, int]:
    """What a podman command shows on a terminal, and its status."""
    argv = podman.world.argv(*podman.argv(*words))
    pid, master = pty.fork()
    if pid == 0:
        os.chdir("/")
        os.execvpe(argv[0], argv, {**os.environ, **podman.env})
    shown, ends = b"", time.monotonic() + 60
    while time.monotonic() < ends:
        if select.select([master], [], [], 1)[0]:
            try:
                part = os.read(master, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(master)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_run_on_a_terminal(podman: Podman) -> None:
    parent = f"--cgroup-parent=/{podman.world.cgroup}"
    command = ("sh", "-c", "tty; test -t 0 && ls -l /dev/console; exit 3")
    shown, status = on_terminal(
        podman, "run", "--rm", "-it", parent, "--network=none", "box", *command
    )
    assert "/dev/pts/0" in shown and "/dev/console" in shown and status == 3, shown


def test_exec_on_a_terminal(podman: Podman, sleeper: str) -> None:
    shown, status = on_terminal(podman, "exec", "-it", sleeper, "sh", "-c", "tty; exit 4")
    assert "/dev/pts/" in shown and status == 4, shown
