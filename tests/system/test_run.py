"""`labcontainer run` from outside: exit statuses, streams, signals, limits, files; nothing stays.

Runs as root; test_run_rootless has the ordinary user, test_run_network the networks.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.engine import leftovers
from tests.system import lab_home
from tests.system.lab_home import LabHome

pytestmark = pytest.mark.requires("root", "mount", "busybox")

READY = "echo ready;"


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHome]:
    yield from lab_home.home()


def out(lab: LabHome, *given: str, **options: object) -> str:
    """What the program printed; it must have ended well."""
    done = lab.run(*given, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.removesuffix("\n")


# --- exit statuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["true"], 0, ""),
        (["sh", "-c", "exit 3"], 3, ""),
        (["sh", "-c", "exit 255"], 255, ""),
        (["sh", "-c", "kill -9 $$; exit 0"], 0, ""),  # PID 1 can't be killed from inside
        (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137, "Killed\n"),  # the outer shell's words
        (["sh", "-c", "sh -c 'kill -15 $$'; exit $?"], 143, "Terminated\n"),
    ],
)
def test_exit_status_is_the_programs_own(
    lab: LabHome, command: list[str], status: int, said: str
) -> None:
    done = lab.run("busybox", *command)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("no-such-program", 127, "no-such-program"),
        ("/no/such/program", 127, "/no/such/program"),
        ("/etc/passwd", 126, "/etc/passwd"),
        ("/etc", 126, "/etc"),
    ],
)
def test_program_that_cannot_be_run(lab: LabHome, command: str, status: int, said: str) -> None:
    done = lab.run("busybox", command)
    assert done.returncode == status
    assert done.stderr.startswith("labcontainer: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


# --- isolation --------------------------------------------------------------------------------


def test_container_sees_itself_alone(lab: LabHome) -> None:
    shown = out(lab, "busybox", "sh", "-c", "ps -o pid; hostname; ls /sys/class/net; id -u")
    lines = shown.splitlines()
    assert [line.strip() for line in lines[:-3]] == ["PID", "1", "2"]  # the shell and ps
    assert len(lines[-3]) == 12
    assert lines[-2:] == ["lo", "0"]


def test_every_namespace_is_new(lab: LabHome) -> None:
    kinds = ["mnt", "pid", "ipc", "uts", "net", "cgroup"]
    script = f"for kind in {' '.join(kinds)}; do readlink /proc/self/ns/$kind; done"
    inside = out(lab, "busybox", "sh", "-c", script).splitlines()
    assert len(inside) == len(kinds)
    for kind, name in zip(kinds, inside, strict=True):
        assert name != os.readlink(f"/proc/self/ns/{kind}")


def test_docker_s_default_isolation(lab: LabHome) -> None:
    script = (
        "grep -E '^(CapEff|CapBnd|CapInh|NoNewPrivs|Seccomp):' /proc/self/status;"
        "head -c 9 /proc/kcore 2> /dev/null | wc -c; ls /sys/firmware | wc -l;"
        "echo 1 > /proc/sys/kernel/hostname; mount -t tmpfs t /tmp"
    )
    done = lab.run("busybox", "sh", "-c", script)
    facts = dict(line.split(":\t") for line in done.stdout.splitlines() if ":\t" in line)
    assert facts == {
        "CapInh": "0000000000000000",
        "CapEff": "00000000a80425fb",
        "CapBnd": "00000000a80425fb",
        "NoNewPrivs": "0",
        "Seccomp": "2",
    }
    assert done.stdout.splitlines()[-2:] == ["0", "0"]
    assert "Read-only file system" in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize(
    ("flags", "script", "shown"),
    [
        (["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status", "\t1"),
        (["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status", "\t0"),
        (["--cap-drop", "ALL"], "grep CapEff /proc/self/status", "\t0000000000000000"),
        (["--hostname", "lab"], "hostname; tail -1 /etc/hostname", "lab\nlab"),
        (["-h", "lab", "--domainname", "here"], "cat /proc/sys/kernel/domainname", "here"),
        (["-e", "A=1", "-e", "B=two words"], 'echo "$A" "$B"', "1 two words"),
        (["--workdir", "/made/for/it"], "pwd", "/made/for/it"),
        (["--user", "1000:100"], "id -u; id -g", "1000\n100"),
        (["--user", "nobody"], "id -un", "nobody"),
        (["--group-add", "tty"], "id -G", "0 5"),
        (["--ulimit", "nofile=99"], "ulimit -n", "99"),
        (["--shm-size", "1m"], "df -k /dev/shm | tail -1 | awk '{print $2}'", "1024"),
        (["--tmpfs", "/t:size=2m"], "df -k /t | tail -1 | awk '{print $2}'", "2048"),
        (["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", "500"),
        (["--sysctl", "net.ipv4.ip_default_ttl=42"], "cat /proc/sys/net/ipv4/ip_default_ttl", "42"),
        (["--device", "/dev/null:/dev/mine"], "echo x > /dev/mine && ls /dev/mine", "/dev/mine"),
        (["--ipc", "host"], "readlink /proc/self/ns/ipc", os.readlink("/proc/self/ns/ipc")),
        (["--uts", "host"], "hostname", os.uname().nodename),
        (["--pid", "host"], "readlink /proc/self/ns/pid", os.readlink("/proc/self/ns/pid")),
    ],
)
def test_flag_has_its_effect_inside(
    lab: LabHome, flags: list[str], script: str, shown: str
) -> None:
    assert out(lab, *flags, "busybox", "sh", "-c", script).endswith(shown)


def test_privileged_may_mount(lab: LabHome) -> None:
    script = "mount -t tmpfs t /tmp && grep -c ' /tmp ' /proc/mounts"
    assert out(lab, "--privileged", "busybox", "sh", "-c", script) == "1"


def test_entrypoint_and_default_command(lab: LabHome) -> None:
    assert out(lab, "--entrypoint", "echo", "busybox", "a", "b") == "a b"
    assert out(lab, "-i", "busybox", input="echo from a shell\n") == "from a shell"


@pytest.mark.requires("tini")
def test_init_is_pid_1_and_reaps(lab: LabHome) -> None:
    # The orphan is a zombie until it is reaped, and stays one where nobody does: 60 s are waited.
    script = (
        "cat /proc/1/cmdline | tr '\\0' ' '; orphan=$(sh -c 'sleep 0.1 > /dev/null & echo $!');"
        "for i in $(seq 600); do test -e /proc/$orphan || exit 0; sleep 0.1; done; exit 1"
    )
    done = lab.run("--init", "busybox", "sh", "-c", script)
    assert done.stdout.startswith("/sbin/docker-init -- sh -c")
    assert done.returncode == 0, "the orphan was not reaped"


# --- limits -----------------------------------------------------------------------------------


def namespace_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except FileNotFoundError:
        return ""  # it has ended


def limit_files(lab: LabHome, *flags: str) -> dict[str, str]:
    """The limits of a running container's cgroups, read on the host: file name to content."""
    script = f"{READY} sleep 1000; true"
    program = lab.start("--network", "none", *flags, "busybox", "sh", "-c", script)
    try:
        child = next(
            pid
            for pid in lab_home.processes_with(script)
            if namespace_of(pid) not in ("", os.readlink("/proc/self/ns/pid"))
        )
        found: dict[str, str] = {}
        for line in Path(f"/proc/{child}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "labcontainer" not in path:
                continue
            for place in (f"/sys/fs/cgroup/{controllers}", "/sys/fs/cgroup"):
                for file in Path(place + path).glob("*.*"):
                    if file.name.startswith(("memory.", "cpu.", "pids.", "cpuset.")):
                        try:
                            found.setdefault(file.name, file.read_text().strip())
                        except OSError:
                            continue
        return found
    finally:
        program.kill()
        program.communicate()
        assert lab_home.eventually(lambda: lab.running() == [])


def has_cpuset() -> bool:
    """A kernel of one processor, such as the user-mode one, may have no such controller."""
    return "cpuset" in Path("/proc/cgroups").read_text()


@pytest.mark.requires("cgroup-write")
def test_limits_stand_in_the_cgroup(lab: LabHome) -> None:
    cpuset = ("--cpuset-cpus", "0") if has_cpuset() else ()
    files = limit_files(
        lab, "--memory", "64m", "--memory-reservation", "32m", "--cpus", "0.5", "--pids", "64",
        "--cpu-shares", "512", *cpuset,
    )  # fmt: skip
    memory = files.get("memory.limit_in_bytes", files.get("memory.max"))
    low = files.get("memory.soft_limit_in_bytes", files.get("memory.low"))
    assert (memory, low) == (str(64 << 20), str(32 << 20))
    if "cpu.max" in files:
        assert files["cpu.max"] == "50000 100000"
    else:
        assert (files["cpu.cfs_quota_us"], files["cpu.cfs_period_us"]) == ("50000", "100000")
        assert files["cpu.shares"] == "512"
    assert files["pids.max"] == "64"
    assert files.get("cpuset.cpus") == ("0" if has_cpuset() else None)


@pytest.mark.requires("cgroup-write")
def test_memory_hog_is_killed_and_told(lab: LabHome) -> None:
    done = lab.run("--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c",
                   "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")  # fmt: skip
    assert done.returncode == 137
    assert done.stderr == (
        "labcontainer: killed by the kernel: out of memory (the limit of 16777216 bytes)\n"
    )


@pytest.mark.requires("cgroup-write")
def test_fork_bomb_meets_its_limit(lab: LabHome) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; kill -9 -1"
    done = lab.run("--pids", "5", "busybox", "sh", "-c", script)
    assert "can't fork" in done.stderr


@pytest.mark.requires("cgroup-write")
def test_device_that_was_not_given_is_closed(lab: LabHome) -> None:
    script = "mknod /tmp/disk b 7 0; head -c 1 /tmp/disk"
    done = lab.run("busybox", "sh", "-c", script)
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr


# --- files ------------------------------------------------------------------------------------


def test_image_never_changes(lab: LabHome) -> None:
    script = "echo x > /new; rm /etc/passwd; echo y >> /etc/group; chmod 777 /usr/bin/busybox"
    before = {path: path.lstat() for path in Path(lab.home, "images/layers").glob("*/fs/**/*")}
    out(lab, "busybox", "sh", "-c", script)
    after = {path: path.lstat() for path in Path(lab.home, "images/layers").glob("*/fs/**/*")}
    facts = [(stat.st_mode, stat.st_size, stat.st_mtime_ns) for stat in before.values()]
    assert len(facts) > 100
    assert facts == [(stat.st_mode, stat.st_size, stat.st_mtime_ns) for stat in after.values()]


def test_directory_is_an_image(lab: LabHome) -> None:
    made = lab.call("image", "from-host", "busybox", "--output", f"{lab.home}/rootfs")
    assert made.returncode == 0, made.stderr
    assert out(lab, "./rootfs", "echo", "here") == "here"


def test_read_only(lab: LabHome) -> None:
    script = "touch /x 2>&1; touch /usr/x 2>&1; touch /dev/shm/x && echo ok"
    shown = out(lab, "--read-only", "busybox", "sh", "-c", script)
    assert shown.count("Read-only file system") == 2
    assert shown.endswith("ok")


def test_volumes(lab: LabHome, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    script = "cat /data/file; echo back > /data/new; touch /ro/x 2>&1; ls /fresh | wc -l"
    shown = out(lab, "-v", f"{tmp_path}:/data", "-v", f"{tmp_path}:/ro:ro", "-v", "/fresh",
                "busybox", "sh", "-c", script).splitlines()  # fmt: skip
    assert shown[0] == "from the host"
    assert "Read-only file system" in shown[1]
    assert shown[2] == "0"
    assert (tmp_path / "new").read_text() == "back\n"


def test_source_of_a_volume_is_made_and_one_file_can_be_given(lab: LabHome, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one\n")
    out(lab, "-v", f"{tmp_path}/made/deep:/data", "-v", f"{tmp_path}/file:/etc/given",
        "busybox", "sh", "-c", "touch /data/x; test $(cat /etc/given) = one")  # fmt: skip
    assert (tmp_path / "made/deep/x").exists()


def test_fresh_volume_has_what_the_image_has_there(lab: LabHome) -> None:
    assert "passwd" in out(lab, "-v", "/etc", "busybox", "ls", "/etc").split()


def test_mount_words(lab: LabHome, tmp_path: Path) -> None:
    spec = f"type=bind,source={tmp_path},target=/data,readonly"
    shown = out(lab, "--mount", spec, "busybox", "sh", "-c", "grep ' /data ' /proc/mounts")
    assert " ro," in shown


def test_link_in_the_image_does_not_lead_a_volume_out(lab: LabHome, tmp_path: Path) -> None:
    """A target that is a symbolic link to a place outside is taken inside the container."""
    image, outside = tmp_path / "image", tmp_path / "outside"
    lab.call("image", "from-host", "busybox", "--output", str(image))
    outside.mkdir()
    (image / "leads").symlink_to(outside)
    done = lab.run("-v", "/fresh", "-v", f"{tmp_path}:/leads/out", str(image), "ls", "/leads/out")
    assert done.returncode == 0, done.stderr
    assert list(outside.iterdir()) == []


# --- streams, signals, terminal ---------------------------------------------------------------


def test_stdin_is_connected_only_when_asked(lab: LabHome) -> None:
    assert out(lab, "-i", "busybox", "cat", input="through\n") == "through"
    assert out(lab, "busybox", "cat", input="not through\n") == ""


def test_a_megabyte_goes_through_and_streams_stay_apart(lab: LabHome) -> None:
    data = "x" * (1 << 20)
    done = lab.run("-i", "busybox", "sh", "-c", "cat; echo err >&2", input=data)
    assert done.stdout == data
    assert done.stderr == "err\n"


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT"])
def test_signals_are_passed_on(lab: LabHome, name: str) -> None:
    script = f"trap 'echo got; exit 9' {name}; {READY} while :; do sleep 0.05; done"
    program = lab.start("--network", "none", "busybox", "sh", "-c", script)
    program.send_signal(getattr(signal, f"SIG{name}"))
    assert lab_home.finish(program) == (9, "got\n", "")


def test_program_ended_by_a_signal(lab: LabHome) -> None:
    """Of a program with a handler of its own, PID 1, by a signal from outside."""
    program = lab.start("--network", "none", "busybox", "sh", "-c",
                        f"trap 'exit 143' TERM; {READY} while :; do sleep 0.05; done")  # fmt: skip
    program.terminate()
    assert lab_home.finish(program)[0] == 143


def test_stop_signal(lab: LabHome) -> None:
    script = f"trap 'exit 7' USR1; {READY} while :; do sleep 0.05; done"
    program = lab.start("--network", "none", "--stop-signal", "USR1", "busybox", "sh", "-c", script)
    program.terminate()
    assert lab_home.finish(program)[0] == 7


def has_pending(pid: int, number: int) -> bool:
    """Whether a process has not taken a signal yet: proc_pid_status(5), ShdPnd."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return bool(int(fields["ShdPnd"], 16) >> number - 1 & 1)


def test_third_int_kills_who_takes_no_notice(lab: LabHome) -> None:
    program = lab.start("--network", "none", "busybox", "sh", "-c", f"{READY} exec sleep 67890")
    # Until the exec it is the shell, which has a handler for INT and would end with 130.
    assert lab_home.eventually(lambda: lab_home.processes_with("67890") != [])
    for _ in range(3):  # two that wait to be taken would be one: signal(7)
        program.send_signal(signal.SIGINT)
        assert lab_home.eventually(lambda: not has_pending(program.pid, signal.SIGINT))
    assert lab_home.finish(program)[0] == 137


def test_two_at_once_and_names(lab: LabHome) -> None:
    script = f"{READY} while ! test -e /stop/now; do sleep 0.05; done"
    place = Path(lab.home, "stop")
    place.mkdir()
    words = ("--network", "none", "-v", f"{place}:/stop")
    first = lab.start(*words, "--name", "one", "busybox", "sh", "-c", script)
    second = lab.start(*words, "--name", "two", "busybox", "sh", "-c", script)
    clash = lab.run("--name", "one", "busybox", "true")
    assert clash.returncode == 125
    assert clash.stderr == "labcontainer: a container of the name one is running\n"
    busy = lab.call("image", "rm", "busybox")
    assert busy.returncode == 1
    assert "must be forced" in busy.stderr
    assert "a running container is using it" in busy.stderr
    (place / "now").touch()
    assert lab_home.finish(first)[0] == lab_home.finish(second)[0] == 0


# --- nothing stays ----------------------------------------------------------------------------


def left(lab: LabHome, mark: str) -> list[str]:
    """What is still there of a container: processes, directories, mounts, cgroups."""
    found = [f"process {pid}" for pid in lab_home.processes_with(mark)]
    found += [f"directory {name}" for name in lab.running()]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if lab.home in line]
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(directory) == "labcontainer":
            # A container's group is named by its id; the doctor and others have groups there too.
            ids = [name for name in names if re.fullmatch("[0-9a-f]{12}", name)]
            found += [f"cgroup {directory}/{name}" for name in ids]
    return found


@pytest.mark.parametrize("pid", ["private", "host"])
def test_nothing_stays_after_kill_9(lab: LabHome, pid: str) -> None:
    mark = f"{READY} sleep 1234 & exec sleep 12345"
    program = lab.start("--network", "none", "--pid", pid, "busybox", "sh", "-c", mark)
    assert len(lab.running()) == 1
    program.kill()
    program.communicate()
    assert lab_home.eventually(lambda: left(lab, "12345") == []), left(lab, "12345")
    assert lab_home.processes_with("1234") == []


def test_next_start_cleans_up_when_the_watcher_was_killed_too(lab: LabHome) -> None:
    program = lab.start("--network", "none", "busybox", "sh", "-c", f"{READY} exec sleep 23456")
    path = f"{lab.home}/single/{lab.running()[0]}"
    for owner in reversed(Path(path, "owners").read_text().split()[::2]):
        os.kill(int(owner), signal.SIGKILL)
    program.communicate()
    assert lab_home.eventually(lambda: not leftovers.is_owned(path)), "they outlive SIGKILL"
    assert lab.running() != []
    assert lab.run("busybox", "true").returncode == 0
    assert left(lab, "23456") == []


@pytest.mark.requires("cgroup-write")
def test_killed_at_any_moment_of_its_start_nothing_stays(lab: LabHome) -> None:
    """The command is killed after ever longer times, so also between any two steps of the start."""
    for step in range(12):
        words = lab.words("run", "--network", "none", "busybox", "sleep", "89012")
        program = subprocess.Popen(words, env=lab.env, cwd=lab.home)
        lab_home.eventually(lambda: False, 0.04 + step * 0.02)
        program.kill()
        program.wait()
    assert lab.run("busybox", "true").returncode == 0  # a kill before the watcher was there
    assert lab_home.eventually(lambda: left(lab, "89012") == []), left(lab, "89012")


def test_container_that_ends_leaves_its_background_processes_no_time(lab: LabHome) -> None:
    out(lab, "busybox", "sh", "-c", "sleep 34567 > /dev/null & true")
    assert left(lab, "34567") == []


@pytest.mark.parametrize(
    "given",
    [
        ["busybox", "no-such-program"],
        ["--user", "no-such-user", "busybox", "true"],
        ["--group-add", "no-such-group", "busybox", "true"],
        ["--sysctl", "kernel.no_such=1", "busybox", "true"],
        ["--sysctl", "net.ipv4.no_such=1", "busybox", "true"],
        ["--cpuset-cpus", "9999", "busybox", "true"],
        ["--security-opt", "seccomp=/no/such/profile", "busybox", "true"],
        ["--cap-add", "MAGIC", "busybox", "true"],
        ["--tmpfs", "/t:no-such-option", "busybox", "true"],
        ["--tmpfs", "/etc/passwd/x", "busybox", "true"],
        ["--workdir", "/etc/passwd", "busybox", "true"],
        ["-it", "busybox", "true"],
        ["--pull", "never", "no-such-image"],
        ["/no/such/directory"],
        ["/dev/null"],
        ["/"],
        ["/proc"],
        ["../..", "true"],
        [""],
        ["a b"],
    ],
    ids=" ".join,
)
def test_failure_is_one_clear_line_and_leaves_nothing(lab: LabHome, given: list[str]) -> None:
    done = lab.run(*given)
    assert done.returncode in (125, 126, 127)
    assert done.stdout == ""
    assert done.stderr.startswith("labcontainer: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert left(lab, "no-such-program") == []


def test_empty_and_broken_images(lab: LabHome, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = lab.run(str(empty), "true")
    assert (done.returncode, done.stderr) == (
        125,
        f"labcontainer: root file system {empty} is empty\n",
    )
    (empty / "bin").mkdir()
    (empty / "bin/true").write_bytes(Path("/bin/true").read_bytes())
    (empty / "bin/true").chmod(0o755)
    done = lab.run(str(empty), "true")
    assert done.returncode == 127  # the program is there; its loader is not
    assert done.stderr.count("\n") == 1


def test_closed_standard_output_does_not_stop_the_program(lab: LabHome) -> None:
    script = "echo first; sleep 0.2; echo second; echo done > /data/done"
    place = Path(lab.home, "closed")
    words = lab.words("run", "--network", "none", "-v", f"{place}:/data", "busybox", "sh", "-c",
                      f"trap '' PIPE; {script}")  # fmt: skip
    program = subprocess.Popen(words, stdout=subprocess.PIPE, env=lab.env, cwd=lab.home)
    assert program.stdout is not None
    program.stdout.readline()
    program.stdout.close()
    assert program.wait(60) in (0, 1, 141)
    assert lab.running() == []


def test_debug_shows_kernel_calls(lab: LabHome) -> None:
    done = lab.call("--debug", "run", "--network", "none", "busybox", "true")
    assert done.returncode == 0
    assert "unshare(CLONE.NEWNS) = 0" in done.stderr
    assert "'overlay'" in done.stderr
