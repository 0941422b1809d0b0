"""The docker command and docker-py drive our daemon: containers from beginning to end."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from tests.api.world import Daemon, Typed, wait_for

pytestmark = pytest.mark.requires("root", "docker", "busybox")

TRAP = "trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done"


def state(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(daemon.docker("inspect", "-f", "{{json .State}}", name))
    return found


def trapping(daemon: Daemon, name: str, *flags: str) -> None:
    """A container that ends with 7 when it is asked to."""
    daemon.docker("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", TRAP)
    wait_for(lambda: daemon.docker("logs", name) == "ready")


# --- run ------------------------------------------------------------------------------------------


def test_version_is_negotiated(daemon: Daemon) -> None:
    found = json.loads(daemon.docker("version", "-f", "{{json .}}"))
    assert found["Server"]["ApiVersion"] == "1.44"
    assert found["Server"]["MinAPIVersion"] == "1.24"
    for api in ("1.24", "1.40"):
        done = subprocess.run(["docker", "ps"], env={**daemon.env, "DOCKER_API_VERSION": api},
                              capture_output=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_run_prints_and_passes_the_status_on(daemon: Daemon) -> None:
    done = daemon.call(
        "docker", "run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3"
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert daemon.docker("ps", "-aq") == ""


def test_what_is_piped_in_comes_out(daemon: Daemon) -> None:
    data = os.urandom(3_000_000)
    done = daemon.call("docker", "run", "-i", "--rm", "busybox", "cat", stdin=data)
    assert done.returncode == 0
    assert done.stdout == data


def test_a_program_that_reads_nothing_ends_well(daemon: Daemon) -> None:
    """What the command still sends then must not become an error of it."""
    words = "docker run -i --rm --network none busybox sh -c".split()
    for _ in range(5):
        done = daemon.call(*words, "exit 3", stdin=bytes(1_000_000))
        assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"")


def test_programs_that_can_not_run(daemon: Daemon) -> None:
    status, said = daemon.fails("run", "--rm", "busybox", "nosuch")
    assert status == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in said
    status, said = daemon.fails("run", "--rm", "busybox", "/etc")
    assert status == 126
    assert daemon.docker("ps", "-aq") == ""
    status, said = daemon.fails("run", "--pull", "never", "nosuchimage")
    assert status == 125
    assert "No such image: nosuchimage:latest" in said


def attached(daemon: Daemon, name: str, **options: Any) -> Typed:
    """The docker command at a container's terminal, when bytes pass both ways."""
    typed = Typed(daemon, "docker", "attach", name, **options)
    typed.types(b"echo $((40+2))\n")
    typed.hears(b"42\r\n")
    return typed


def test_a_terminal(daemon: Daemon) -> None:
    daemon.docker("run", "-dit", "--name", "term", "busybox", "sh")
    typed = attached(daemon, "term", size=(31, 77))
    typed.types(b"stty size; exit 5\n")
    typed.hears(b"31 77")
    assert typed.ends() == 5
    assert state(daemon, "term")["ExitCode"] == 5


def test_keys_that_detach(daemon: Daemon) -> None:
    daemon.docker("run", "-dit", "--name", "keys", "busybox", "sh")
    typed = attached(daemon, "keys")
    typed.types(b"\x10\x11")
    assert typed.ends() in (0, 1)
    assert state(daemon, "keys")["Running"]


def test_isolation_is_dockers(daemon: Daemon) -> None:
    script = "cat /proc/self/status; cat /proc/1/cmdline; hostname; id; ls /proc | grep -c '^[0-9]'"
    found = daemon.docker("run", "--rm", "--name", "iso", "busybox", "sh", "-c", script)
    assert "CapEff:\t00000000a80425fb" in found
    assert "Seccomp:\t2" in found
    assert "uid=0(root)" in found
    mounts = daemon.docker("run", "--rm", "busybox", "cat", "/proc/mounts")
    assert mounts.startswith("overlay / overlay rw")


@pytest.mark.parametrize(
    ("flags", "script", "said"),
    [
        (("-e", "A=b", "-w", "/tmp"), "echo $A $PWD", "b /tmp"),
        (("-h", "box"), "hostname; cat /etc/hostname", "box\nbox"),
        (("-u", "1000:5"), "id -u; id -g", "1000\n5"),
        (("--read-only",), "touch /x 2>&1 || true", "touch: /x: Read-only file system"),
        (("--ulimit", "nofile=99:99"), "ulimit -n", "99"),
        (
            ("--pids-limit", "77"),
            "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true",
            "77",
        ),
        (("--cap-drop", "ALL"), "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
        (("--privileged",), "grep Seccomp: /proc/self/status", "Seccomp:\t0"),
        (("--sysctl", "net.ipv4.ip_forward=1"), "cat /proc/sys/net/ipv4/ip_forward", "1"),
        (("--tmpfs", "/t:size=1m"), "df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2", "1024"),
        (("--shm-size", "2m"), "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "2048"),
        (
            ("--security-opt", "no-new-privileges"),
            "grep NoNewPrivs /proc/self/status",
            "NoNewPrivs:\t1",
        ),
        (("--init",), "cat /proc/1/cmdline | tr '\\0' ' ' | cut -d' ' -f1", "/sbin/docker-init"),
        (("--group-add", "44"), "id -G", "0 44"),
    ],
)
def test_flags(daemon: Daemon, flags: tuple[str, ...], script: str, said: str) -> None:
    assert daemon.docker("run", "--rm", *flags, "busybox", "sh", "-c", script) == said


def test_sharing_with_another_container(daemon: Daemon) -> None:
    script = "echo shared > /dev/shm/x; sleep 1000"
    daemon.docker(
        "run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sh", "-c", script
    )
    wait_for(lambda: "x" in daemon.docker("exec", "donor", "ls", "/dev/shm"))
    both = ("--ipc", "container:donor", "--pid", "container:donor")
    found = daemon.docker(
        "run", "--rm", *both, "busybox", "sh", "-c", "cat /dev/shm/x; cat /proc/1/cmdline"
    )
    assert found.startswith("shared\nsleep")  # the shell became its last command
    daemon.docker("run", "-d", "--name", "alone", "busybox", "sleep", "1000")
    assert "non-shareable IPC" in daemon.fails("run", "--ipc", "container:alone", "busybox")[1]


# --- stop, kill, restart --------------------------------------------------------------------------


def test_stop_asks_first(daemon: Daemon) -> None:
    trapping(daemon, "asked")
    daemon.docker("stop", "-t", "3600", "asked")  # nobody has the patience to wait so long
    found = state(daemon, "asked")
    assert (found["Status"], found["ExitCode"], found["Pid"]) == ("exited", 7, 0)
    daemon.docker("stop", "asked")  # once more is no fault


def test_stop_insists(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "deaf", "busybox", "sleep", "1000")
    daemon.docker("stop", "-t", "1", "deaf")
    assert state(daemon, "deaf")["ExitCode"] == 137


def test_kill_and_signals(daemon: Daemon) -> None:
    trapping(daemon, "one")
    daemon.docker("kill", "-s", "TERM", "one")
    assert daemon.docker("wait", "one") == "7"
    assert "is not running" in daemon.fails("kill", "one")[1]
    assert "invalid signal" in daemon.fails("kill", "-s", "NOSUCH", "one")[1].lower()


def test_start_again_goes_on_with_its_files_and_its_log(daemon: Daemon) -> None:
    daemon.docker("run", "--name", "again", "busybox", "sh", "-c", "echo line >> /f; cat /f")
    assert daemon.docker("start", "-a", "again") == "line\nline"
    assert daemon.docker("logs", "again") == "line\nline\nline"


def test_restart_policies(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--restart", "on-failure:2", "--name", "fails", "busybox", "false")
    wait_for(lambda: state(daemon, "fails")["Status"] == "exited")
    assert daemon.docker("inspect", "-f", "{{.RestartCount}}", "fails") == "2"
    daemon.docker("run", "-d", "--restart", "always", "--name", "always", "busybox", "true")
    count = ("inspect", "-f", "{{.RestartCount}}", "always")
    wait_for(lambda: int(daemon.docker(*count)) >= 2)
    daemon.docker("stop", "always")
    before = daemon.docker(*count)
    time.sleep(0.8)
    assert daemon.docker(*count) == before
    assert state(daemon, "always")["Status"] == "exited"


def test_pause(daemon: Daemon) -> None:
    trapping(daemon, "frozen")
    daemon.docker("pause", "frozen")
    assert "(Paused)" in daemon.docker("ps", "--format", "{{.Status}}")
    assert "is already paused" in daemon.fails("pause", "frozen")[1]
    assert "unpause the container before exec" in daemon.fails("exec", "frozen", "true")[1]
    daemon.docker("unpause", "frozen")
    assert state(daemon, "frozen")["Status"] == "running"
    daemon.docker("pause", "frozen")
    daemon.docker("rm", "-f", "frozen")


def test_running_out_of_memory(daemon: Daemon) -> None:
    done = daemon.call(
        "docker", "run", "--name", "oom", "-m", "16m", "busybox", "tail", "/dev/zero"
    )
    assert done.returncode == 137
    assert state(daemon, "oom")["OOMKilled"] is True


# --- exec -----------------------------------------------------------------------------------------


def test_exec(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "ex", "-e", "A=1", "busybox", "sleep", "1000")
    assert (
        daemon.docker("exec", "-e", "B=2", "-w", "/tmp", "ex", "sh", "-c", "echo $A$B $PWD")
        == "12 /tmp"
    )
    assert daemon.call("docker", "exec", "ex", "sh", "-c", "exit 9").returncode == 9
    assert daemon.docker("exec", "-i", "ex", "cat", stdin=b"typed") == "typed"
    status, said = daemon.fails("exec", "ex", "nosuch")
    assert (status, "executable file not found" in said) == (127, True)
    assert daemon.docker("exec", "-u", "1000", "ex", "id", "-u") == "1000"
    daemon.docker("exec", "-d", "ex", "touch", "/made")
    wait_for(lambda: "made" in daemon.docker("exec", "ex", "ls", "/"))
    done = daemon.call("script", "-qec", "docker exec -it ex tty", "/dev/null")
    assert b"/dev/pts/" in done.stdout
    daemon.docker("stop", "-t", "0", "ex")
    assert "is not running" in daemon.fails("exec", "ex", "true")[1]


def test_execs_of_docker_py(client: Any) -> None:
    box = client.containers.run("busybox", ["sleep", "1000"], detach=True)
    assert box.exec_run("echo hi").output == b"hi\n"
    assert box.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True).output == (
        b"out\n",
        b"err\n",
    )
    identity = client.api.exec_create(box.id, ["sh", "-c", "exit 3"])["Id"]
    assert client.api.exec_inspect(identity)["ExitCode"] is None
    client.api.exec_start(identity)
    found = client.api.exec_inspect(identity)
    assert (found["ExitCode"], found["Running"]) == (3, False)
    with pytest.raises(docker.errors.APIError, match="has already run"):
        client.api.exec_start(identity)


# --- logs -----------------------------------------------------------------------------------------


def test_logs(daemon: Daemon) -> None:
    script = "for i in 1 2 3 4 5; do echo line $i; done; echo err >&2"
    daemon.docker("run", "--name", "said", "busybox", "sh", "-c", script)
    assert daemon.docker("logs", "--tail", "2", "said").splitlines()[-1] in ("line 5", "line 4")
    done = daemon.call("docker", "logs", "said")
    assert (done.stdout, done.stderr) == (b"line 1\nline 2\nline 3\nline 4\nline 5\n", b"err\n")
    stamped = daemon.docker("logs", "-t", "said").splitlines()[0]
    assert stamped.startswith("20") and stamped.endswith("Z line 1")
    assert daemon.docker("logs", "--since", "1h", "said").startswith("line 1")
    assert daemon.docker("logs", "--until", "1h", "said") == ""


def test_logs_are_followed_to_the_end(daemon: Daemon) -> None:
    script = "for i in 1 2 3; do echo $i; sleep 0.2; done"
    daemon.docker("run", "-d", "--name", "told", "busybox", "sh", "-c", script)
    assert daemon.docker("logs", "-f", "told") == "1\n2\n3"


def test_logs_are_rotated(daemon: Daemon) -> None:
    daemon.docker("run", "--name", "much", "--log-opt", "max-size=10k", "--log-opt", "max-file=2",
                  "busybox", "seq", "1", "2000")  # fmt: skip
    home = Path(daemon.docker("inspect", "-f", "{{.LogPath}}", "much")).parent
    sizes = [one.stat().st_size for one in home.glob("log.json*")]
    assert len(sizes) == 2
    assert max(sizes) <= 10 << 10
    assert daemon.docker("logs", "--tail", "3", "much") == "1998\n1999\n2000"
    status, said = daemon.fails("run", "--log-driver", "syslog", "busybox", "true")
    assert (status, "no log driver named 'syslog'" in said) == (125, True)


# --- what is known --------------------------------------------------------------------------------


def test_filters_of_ps(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "web1", "-l", "tier=front", "busybox", "sleep", "1000")
    daemon.call("docker", "run", "--name", "job1", "-l", "tier=back", "busybox", "false")

    def names(*filters: str) -> str:
        words = [word for one in filters for word in ("--filter", one)]
        return daemon.docker("ps", "-a", *words, "--format", "{{.Names}}")

    assert names("name=web") == "web1"
    assert names("label=tier=back") == "job1"
    assert names("status=exited") == "job1"
    assert names("exited=1") == "job1"
    assert names("ancestor=busybox") == "job1\nweb1"
    assert names("since=web1") == "job1"
    assert names("before=job1") == "web1"
    assert names("health=none", "status=running") == "web1"
    assert "invalid filter" in daemon.fails("ps", "--filter", "nosuch=1")[1]
    assert daemon.docker("ps", "-a", "--format", "{{.Status}}", "-n", "1").startswith("Exited (1)")


def test_names(daemon: Daemon) -> None:
    identity = daemon.docker("create", "--name", "first", "busybox")
    said = daemon.fails("create", "--name", "first", "busybox")[1]
    assert f'The container name "/first" is already in use by container "{identity}"' in said
    daemon.docker("rename", "first", "second")
    assert daemon.docker("inspect", "-f", "{{.Name}}", identity[:8]) == "/second"
    assert "No such container: first" in daemon.fails("start", "first")[1]
    assert "Invalid container name" in daemon.fails("create", "--name", "a b", "busybox")[1]


def test_inspect_gives_back_what_was_asked(client: Any) -> None:
    made = client.containers.create(
        "busybox", ["echo", "x"], environment={"A": "b"}, labels={"l": "m"}, mem_limit="32m",
        cap_add=["NET_ADMIN"], restart_policy={"Name": "on-failure", "MaximumRetryCount": 3},
        working_dir="/tmp", user="1000", stop_signal="SIGINT",
    )  # fmt: skip
    found = client.api.inspect_container(made.id)
    assert (found["Path"], found["Args"]) == ("echo", ["x"])
    assert "A=b" in found["Config"]["Env"]
    assert found["Config"]["Labels"]["l"] == "m"
    assert found["HostConfig"]["Memory"] == 32 << 20
    assert found["HostConfig"]["CapAdd"] == ["NET_ADMIN"]
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert found["State"]["Status"] == "created"
    assert (found["Config"]["User"], found["Config"]["StopSignal"]) == ("1000", "SIGINT")


def test_top_stats_update(daemon: Daemon, client: Any) -> None:
    daemon.docker("run", "-d", "--name", "busy", "-m", "64m", "busybox", "sleep", "1000")
    assert "sleep 1000" in daemon.docker("top", "busy")
    assert daemon.docker("top", "busy", "-o", "pid,comm").splitlines()[0].split() == [
        "PID",
        "COMMAND",
    ]
    found = client.api.stats("busy", stream=False)
    assert found["memory_stats"]["limit"] == 64 << 20
    assert found["pids_stats"]["current"] == 1
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    daemon.docker("update", "-m", "32m", "--memory-swap", "64m", "--restart", "always", "busy")
    assert client.api.stats("busy", stream=False)["memory_stats"]["limit"] == 32 << 20
    policy = daemon.docker("inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", "busy")
    assert policy == "always"


def test_bad_values_are_one_line_and_400(client: Any) -> None:
    for body, words in (
        ({"HostConfig": {"Memory": 5}}, "Minimum memory limit allowed is 6MB"),
        ({"HostConfig": {"Memory": "much"}}, "Expected `int`, got `str`"),
        ({"Cmd": [1]}, "Expected `str"),
        ({"HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}, "invalid restart policy"),
        ({"HostConfig": {"PidMode": "container:"}}, "invalid PID mode"),
        ({"HostConfig": {"SecurityOpt": ["seccomp={"]}}, "Decoding seccomp profile failed"),
        ({"Healthcheck": {"Test": ["CMD", "x"], "Interval": 5}}, "cannot be less than 1ms"),
    ):
        with pytest.raises(docker.errors.APIError, match=words) as caught:
            client.api.create_container_from_config({"Image": "busybox", "Cmd": ["true"], **body})
        assert caught.value.status_code == 400, words


# --- files ----------------------------------------------------------------------------------------


def test_files_in_and_out(daemon: Daemon, tmp_path: Path) -> None:
    daemon.docker("create", "--name", "files", "busybox")
    (tmp_path / "dir/sub").mkdir(parents=True)
    (tmp_path / "dir/sub/f").write_text("content")
    daemon.docker("cp", f"{tmp_path}/dir", "files:/")
    daemon.docker("cp", "files:/dir/sub", str(tmp_path / "back"))
    assert (tmp_path / "back/f").read_text() == "content"
    said = daemon.fails("cp", "files:/nosuch", str(tmp_path))[1]
    assert "Could not find the file /nosuch" in said or "No such container:path" in said
    archive = tarfile.open(
        fileobj=io.BytesIO(daemon.call("docker", "cp", "files:/dir/.", "-").stdout)
    )
    assert "./sub/f" in archive.getnames()
    daemon.docker("start", "files")
    assert {"A /dir", "A /dir/sub", "A /dir/sub/f"} <= set(
        daemon.docker("diff", "files").splitlines()
    )


def test_a_link_does_not_lead_out(daemon: Daemon, tmp_path: Path) -> None:
    """CVE-2018-15664, CVE-2019-14271: what is in a container must not choose the host's files."""
    script = "ln -s / /out; ln -s ../../../../../../etc /etc2; sleep 1000"
    daemon.docker("run", "-d", "--name", "evil", "busybox", "sh", "-c", script)
    wait_for(lambda: "etc2" in daemon.docker("exec", "evil", "ls", "/"))
    mark = tmp_path / "mark"
    mark.write_text("the host's")
    daemon.fails("cp", f"evil:/out{mark}", str(tmp_path / "copied"))
    assert not (tmp_path / "copied").exists()
    daemon.docker("cp", "evil:/etc2/hostname", str(tmp_path / "hostname"))
    assert (tmp_path / "hostname").read_text() != Path("/etc/hostname").read_text()


def test_export_and_commit(daemon: Daemon) -> None:
    daemon.docker("run", "--name", "src", "busybox", "sh", "-c", "echo kept > /kept; rm /bin/ls")
    names = tarfile.open(
        fileobj=io.BytesIO(daemon.call("docker", "export", "src").stdout)
    ).getnames()
    assert "kept" in names
    identity = daemon.docker("commit", "-m", "why", "-c", 'CMD ["cat", "/kept"]', "src", "made:1")
    assert identity.startswith("sha256:")
    assert daemon.docker("run", "--rm", "made:1") == "kept"
    assert daemon.fails("run", "--rm", "made:1", "ls")[0] == 127


# --- health, events -------------------------------------------------------------------------------


def test_health(daemon: Daemon) -> None:
    check = "until test -e /go; do sleep 0.05; done; test -e /ok"  # no answer before we say so
    daemon.docker("run", "-d", "--name", "well", "--health-cmd", check, "--health-interval",
                  "100ms", "--health-retries", "2", "--health-timeout", "1h", "busybox", "sleep",
                  "1000")  # fmt: skip
    assert state(daemon, "well")["Health"]["Status"] == "starting"
    daemon.docker("exec", "well", "touch", "/go")
    wait_for(lambda: state(daemon, "well")["Health"]["Status"] == "unhealthy")
    daemon.docker("exec", "well", "touch", "/ok")
    wait_for(lambda: state(daemon, "well")["Health"]["Status"] == "healthy")
    assert state(daemon, "well")["Health"]["Log"][-1]["ExitCode"] == 0
    assert "(healthy)" in daemon.docker("ps", "--format", "{{.Status}}")
    assert daemon.docker("ps", "-q", "--filter", "health=healthy") != ""


def test_events(daemon: Daemon) -> None:
    since = f"{time.time():.6f}"
    daemon.docker("run", "--rm", "--name", "eventful", "-l", "color=red", "busybox", "true")
    words = ("--since", since, "--until", f"{time.time():.6f}", "--format", "{{.Action}}")
    only = ("--filter", "type=container", "--filter", "label=color=red")
    told = daemon.docker("events", *words, *only)
    assert told.splitlines() == ["create", "attach", "start", "die", "destroy"]


def test_waiting(daemon: Daemon, client: Any) -> None:
    box = client.containers.run("busybox", ["sh", "-c", "sleep 0.3; exit 6"], detach=True)
    assert box.wait() == {"StatusCode": 6}
    assert box.wait() == {"StatusCode": 6}  # it has ended already
    gone = client.containers.run("busybox", "true", detach=True, remove=True)
    try:
        assert gone.wait(condition="removed")["StatusCode"] == 0
    except docker.errors.NotFound:
        pass  # it was quicker than the question


def test_prune(daemon: Daemon) -> None:
    daemon.docker("run", "--name", "ended", "busybox", "true")
    daemon.docker("run", "-d", "--name", "goes-on", "busybox", "sleep", "1000")
    assert "Total reclaimed space" in daemon.docker("container", "prune", "-f")
    assert daemon.docker("ps", "-a", "--format", "{{.Names}}") == "goes-on"
