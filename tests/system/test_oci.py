"""The OCI command line, looked at as an engine does and by the kernel's own facts."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labcontainer.runtime import init
from tests.system.lab_home import eventually
from tests.system.oci_home import ROOT, Bundle, OciHome, groups_below

pytestmark = pytest.mark.requires("root", "mount", "cgroup-write")


@pytest.fixture
def home(tmp_path: Path, rootfs: Path) -> Iterator[OciHome]:
    made = OciHome(tmp_path, rootfs)
    yield made
    made.close()


def shell(home: OciHome, script: str) -> Bundle:
    return home.bundle("sh", "-c", script)


def groups(home: OciHome) -> list[Path]:
    return groups_below(home.cgroup)


def state(home: OciHome, bundle: Bundle) -> dict[str, object]:
    value: dict[str, object] = json.loads(home.call("state", bundle.id).stdout)
    return value


@pytest.mark.parametrize("status", [0, 3, 77])
def test_run_passes_the_exit_status_on_and_leaves_nothing(home: OciHome, status: int) -> None:
    done = home.run(shell(home, f"echo out; echo err >&2; exit {status}"))
    assert (done.returncode, done.stdout, done.stderr) == (status, "out\n", "err\n")
    assert os.listdir(home.place / "state") == []
    assert groups(home) == []


def test_the_life_of_a_container(home: OciHome) -> None:
    bundle = home.bundle("sleep", "1000")
    pid = home.start(bundle)
    about = state(home, bundle)
    assert (about["status"], about["pid"], about["bundle"]) == ("running", pid, str(bundle.path))
    for kind in ("mnt", "pid", "uts", "ipc", "net"):
        inside, outside = os.stat(f"/proc/{pid}/ns/{kind}"), os.stat(f"/proc/self/ns/{kind}")
        assert inside.st_ino != outside.st_ino, kind
    assert (bundle.path / "pid").read_bytes() == str(pid).encode()
    assert json.loads(home.call("ps", "--format", "json", bundle.id).stdout) == [pid]
    assert home.call("delete", bundle.id).returncode == 1
    assert home.call("kill", bundle.id, "KILL").returncode == 0
    assert eventually(lambda: state(home, bundle)["status"] == "stopped")
    again = home.call("kill", bundle.id)
    assert again.returncode == 1
    assert "container not running" in again.stderr
    assert home.call("delete", bundle.id).returncode == 0
    assert "does not exist" in home.call("state", bundle.id).stderr
    assert home.call("delete", "--force", bundle.id).stderr == ""
    assert groups(home) == []


def test_nothing_runs_before_start(home: OciHome) -> None:
    bundle = shell(home, "touch /ran; sleep 100")
    bundle.save()
    with (bundle.path / "log").open("wb") as log:
        made = subprocess.run(
            home.argv("create", "--bundle", bundle.path, bundle.id), stdout=log, stderr=log
        )
    assert made.returncode == 0
    assert state(home, bundle)["status"] == "created"
    assert not (bundle.rootfs / "ran").exists()
    assert home.call("start", bundle.id).returncode == 0
    assert state(home, bundle)["status"] == "running"
    assert home.call("start", bundle.id).returncode == 1


def test_the_first_process_is_waitable_by_the_nearest_subreaper(home: OciHome) -> None:
    bundle = shell(home, "exit 42")
    bundle.save()
    script = (
        "import os,subprocess,sys,ctypes\n"
        "ctypes.CDLL(None).prctl(36,1,0,0,0)\n"
        "*argv, name = sys.argv[1:]\n"
        "subprocess.run([*argv,'create','--bundle','.','--pid-file','pid',name],check=True)\n"
        "subprocess.run([*argv,'start',name],check=True)\n"
        "pid=int(open('pid').read())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))\n"
    )
    words = ["python3", "-c", script, *home.argv(), bundle.id]
    done = subprocess.run(words, cwd=bundle.path, capture_output=True, text=True)
    assert done.stdout == "42\n", done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere"], "executable file not found in $PATH"),
        (["/nowhere"], "no such file or directory"),
        (["/etc/passwd"], "permission denied"),
        (["/bin"], "permission denied"),
    ],
)
def test_a_missing_program_in_the_words_engines_look_for(
    home: OciHome, args: list[str], words: str
) -> None:
    bundle = home.bundle(*args)
    bundle.save()
    log = bundle.path / "log.json"
    done = home.call(
        f"--log={log}", "--log-format=json", "create", "--bundle", bundle.path, bundle.id
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["level"] == "error"
    assert words in last["msg"]
    assert os.listdir(home.place / "state") == []
    assert groups(home) == []


@pytest.mark.parametrize("step", range(len(init.STEPS)))
def test_a_step_that_fails_is_told_and_nothing_runs(home: OciHome, step: int) -> None:
    name = init.STEPS[step][0]
    bundle = shell(home, "touch /ran")
    bundle.save()
    script = (
        "import sys\n"
        f"sys.path.insert(0, {os.getcwd()!r})\n"
        "from labcontainer.runtime import init, oci\n"
        "def broken(one): raise OSError(5, 'broken on purpose')\n"
        f"steps = list(init.STEPS); steps[{step}] = (steps[{step}][0], broken)\n"
        "init.STEPS = tuple(steps)\n"
        "sys.exit(oci.main(sys.argv[1:]))\n"
    )
    words = home.argv("run", "--bundle", bundle.path, bundle.id)[1:]
    done = subprocess.run(["python3", "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == 1, name
    assert "broken on purpose" in done.stderr or "nput/output error" in done.stderr
    assert not (bundle.rootfs / "ran").exists()
    assert os.listdir(home.place / "state") == []
    assert groups(home) == []


def test_hooks_of_all_kinds_run_in_their_order(home: OciHome) -> None:
    bundle = shell(home, "echo program >> /order")
    order = bundle.rootfs / "order"
    order.touch()
    outside = f"cat > {bundle.path}/state-$0; echo $0 >> {order}"
    inside = "cat > /dev/null; echo $0 >> /order"
    bundle.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", script, kind]}]
        for kind, script in (
            ("prestart", outside),
            ("createRuntime", outside),
            ("createContainer", outside),
            ("startContainer", inside),
            ("poststart", outside),
            ("poststop", outside),
        )
    }
    assert home.run(bundle).returncode == 0
    seen = order.read_text().split()
    assert seen[:4] == ["prestart", "createRuntime", "createContainer", "startContainer"]
    assert sorted(seen[4:6]) == ["poststart", "program"]
    assert seen[6] == "poststop"
    about = json.loads((bundle.path / "state-prestart").read_text())
    assert about["id"] == bundle.id
    assert about["pid"] > 0
    assert json.loads((bundle.path / "state-poststop").read_text())["status"] == "stopped"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_a_hook_that_fails_fails_the_container(home: OciHome, kind: str) -> None:
    bundle = shell(home, "touch /ran")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo because; exit 9"]}
    bundle.config["hooks"] = {kind: [hook]}
    done = home.run(bundle)
    assert done.returncode == 1
    assert kind in done.stderr
    assert "exit status 9: because" in done.stderr
    assert not (bundle.rootfs / "ran").exists()
    assert os.listdir(home.place / "state") == []


def test_a_hook_of_the_containers_own_has_the_rights_of_its_program(home: OciHome) -> None:
    fields = "Uid|Groups|CapEff|CapBnd|NoNewPrivs|Seccomp"
    report = f"grep -E '^({fields}):' /proc/self/status; ulimit -n"
    bundle = shell(home, f"({report}) > /tmp/program; mkdir /tmp/no")
    args = ["sh", "-c", f"({report}; mkdir /tmp/no) > /tmp/hook"]
    hook = {"path": "/bin/sh", "args": args, "env": ["PATH=/bin"]}
    bundle.config["hooks"] = {"startContainer": [hook]}
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7]}
    bundle.process["noNewPrivileges"] = True
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]
    (bundle.rootfs / "tmp").chmod(0o777)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    failed = home.run(bundle)
    assert "not permitted" in failed.stderr and "mkdir" in failed.stderr, failed
    assert not (bundle.rootfs / "tmp/program").exists()
    args[2] = f"({report}) > /tmp/hook"
    home.run(bundle)
    assert (bundle.rootfs / "tmp/hook").read_text() == (bundle.rootfs / "tmp/program").read_text()


@pytest.mark.parametrize(
    ("made", "words"),
    [("", "no such file"), ("echo in the shell", "exec format error"), ("#!/no", "no such file")],
)
def test_a_hook_of_the_containers_own_that_cannot_be_run(
    home: OciHome, made: str, words: str
) -> None:
    bundle = home.bundle("true")
    bundle.config["hooks"] = {"startContainer": [{"path": "/hook"}]}
    if made:
        (bundle.rootfs / "hook").write_text(f"{made}\n")
        (bundle.rootfs / "hook").chmod(0o755)
    done = home.run(bundle)
    assert done.returncode == 1 and words in done.stderr.lower(), done.stderr


def test_a_hook_that_takes_too_long_is_ended(home: OciHome) -> None:
    bundle = home.bundle("true")
    hook = {"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}
    bundle.config["hooks"] = {"prestart": [hook]}
    assert "timeout of 1 s" in home.run(bundle).stderr


def test_console_socket_gets_the_master(home: OciHome) -> None:
    bundle = shell(home, "tty; stty size; exit 4")
    bundle.process["terminal"] = True
    bundle.process["consoleSize"] = {"height": 31, "width": 77}
    bundle.save()
    path = home.place / "console"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        words = ("create", "--bundle", bundle.path, "--console-socket", path, bundle.id)
        subprocess.run(home.argv(*words), check=True, stdout=subprocess.DEVNULL)
        peer, _ = server.accept()
        with peer:
            name, (master,), _, _ = socket.recv_fds(peer, 100, 1)
    assert name.startswith(b"/dev/pts/")
    assert home.call("start", bundle.id).returncode == 0
    text = b""
    try:
        while part := os.read(master, 1000):
            text += part
    except OSError:
        pass
    os.close(master)
    assert text.split() == [b"/dev/pts/0", b"31", b"77"]


def test_terminal_without_a_socket_is_refused(home: OciHome) -> None:
    bundle = home.bundle("true")
    bundle.process["terminal"] = True
    bundle.save()
    done = home.call("create", "--bundle", bundle.path, bundle.id)
    assert done.returncode == 1
    assert "--console-socket" in done.stderr


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_scheduling_and_io_priority(home: OciHome, verb: str) -> None:
    ioprio_get = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
    bundle = home.bundle("sleep", "1000")
    wanted = {
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    }
    if verb == "run":
        bundle.process.update(wanted)
    pid = home.start(bundle)
    if verb == "exec":
        document = home.place / "process.json"
        document.write_text(json.dumps(bundle.process | wanted))
        words = ("--detach", "--pid-file", home.place / "pid", "--process", document, bundle.id)
        with open(home.place / "log", "wb") as log:
            subprocess.run(home.argv("exec", *words), stdout=log, stderr=log, check=True)
        pid = int((home.place / "pid").read_text())
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, pid) == 5
    assert ctypes.CDLL(None).syscall(ioprio_get, 1, pid) == 2 << 13 | 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scheduler", {"policy": "SCHED_SOON"}),
        ("scheduler", {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_LATER"]}),
        ("scheduler", {"policy": "SCHED_OTHER", "nice": 20}),
        ("ioPriority", {"class": "IOPRIO_CLASS_NONE", "priority": 1}),
        ("ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": 8}),
    ],
)
def test_scheduling_that_there_is_not(home: OciHome, field: str, value: dict[str, Any]) -> None:
    bundle = home.bundle("true")
    bundle.process[field] = value
    done = home.run(bundle)
    assert done.returncode == 1 and f"process.{field}" in done.stderr, done


def test_mount_options_of_more_than_a_page_are_not_cut_off(home: OciHome) -> None:
    bundle = shell(home, "stat -c %a /work")
    options = [*["size=1m"] * 600, "mode=0700"]
    mount = {"destination": "/work", "type": "tmpfs", "source": "tmpfs", "options": options}
    bundle.config["mounts"].append(mount)
    done = home.run(bundle)
    assert done.returncode == 1 and "4095" in done.stderr, done


def test_preserved_descriptors_and_no_others(home: OciHome, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept\n")
    bundle = shell(home, "cat <&3; ls /proc/self/fd")
    bundle.save()
    fds = [os.open(tmp_path / "file", os.O_RDONLY) for _ in range(3)]
    wanted = fcntl.fcntl(fds[0], fcntl.F_DUPFD_CLOEXEC, 40)  # no number of pytest's own
    words = ["run", "--preserve-fds", "1", "--bundle", str(bundle.path), bundle.id]
    script = f'exec 3<&{wanted} {wanted}<&-; exec "$@"'
    argv = ["bash", "-c", script, "bash", *home.argv(*words)]
    done = subprocess.run(argv, pass_fds=(*fds[1:], wanted), capture_output=True, text=True)
    for fd in (*fds, wanted):
        os.close(fd)
    kept, *numbers = done.stdout.split()
    assert kept == "kept"
    assert set(numbers) <= {"0", "1", "2", "3", "4"}  # 4: ls reads the directory


def test_join_a_network_namespace_by_path(home: OciHome) -> None:
    first = home.bundle("sleep", "1000")
    pid = home.start(first)
    second = shell(home, "readlink /proc/self/ns/net")
    for entry in second.linux["namespaces"]:
        if entry["type"] in ("network", "ipc"):
            entry["path"] = f"/proc/{pid}/ns/{'net' if entry['type'] == 'network' else 'ipc'}"
    done = home.run(second)
    assert done.stdout.strip() == os.readlink(f"/proc/{pid}/ns/net"), done.stderr


def test_user_namespace_with_maps(home: OciHome) -> None:
    bundle = shell(home, "id -u; cat /proc/self/uid_map; touch /mine")
    bundle.linux["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        bundle.linux[kind] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    os.chown(bundle.rootfs, 200000, 200000)
    done = home.run(bundle)
    assert done.stdout.split() == ["0", "0", "200000", "65536"], done.stderr
    assert (bundle.rootfs / "mine").stat().st_uid == 200000


def test_settings_of_the_process(home: OciHome) -> None:
    script = "id -u; id -g; id -G; umask; pwd; ulimit -n; cat /proc/self/oom_score_adj"
    bundle = shell(home, script)
    bundle.process["user"] = {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o27}
    bundle.process["cwd"] = "/made/for/it"
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]
    bundle.process["oomScoreAdj"] = 500
    done = home.run(bundle)
    assert done.stdout.split() == "5 6 6 7 8 0027 /made/for/it 50 500".split(), done.stderr


def test_a_limit_that_may_not_be_raised_is_one_line(home: OciHome) -> None:
    bundle = home.bundle("true")
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]
    done = home.run(bundle)
    assert done.returncode == 1
    assert "RLIMIT_NOFILE" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_sysctls_and_hostname(home: OciHome) -> None:
    bundle = shell(home, "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start")
    bundle.config["hostname"] = "inside"
    bundle.linux["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "33"}
    assert home.run(bundle).stdout.split() == ["inside", "33"]


def test_pause_update_resume(home: OciHome) -> None:
    bundle = home.bundle("sleep", "1000")
    bundle.linux["resources"] = {"pids": {"limit": 50}}
    home.start(bundle)
    assert home.call("pause", bundle.id).returncode == 0
    assert state(home, bundle)["status"] == "paused"
    assert home.call("exec", bundle.id, "true").returncode == 255
    assert home.call("resume", bundle.id).returncode == 0
    words = json.dumps({"pids": {"limit": 33}})
    with (bundle.path / "limits").open("w+") as file:
        file.write(words)
        file.seek(0)
        assert home.call("update", "--resources", "-", bundle.id, stdin=file).returncode == 0
    limits = [path / "pids.max" for path in groups(home) if (path / "pids.max").exists()]
    assert [path.read_text() for path in limits] == ["33\n"]


def test_exec_in_a_running_container(home: OciHome) -> None:
    bundle = home.bundle("sleep", "1000")
    pid = home.start(bundle)
    done = home.call(
        "exec", "-e", "A=b", bundle.id, "sh", "-c", "echo $A; readlink /proc/self/ns/mnt; exit 6"
    )
    assert (done.returncode, done.stdout.split()[0]) == (6, "b"), done.stderr
    assert done.stdout.split()[1] == os.readlink(f"/proc/{pid}/ns/mnt")
    missing = home.call("exec", bundle.id, "nowhere")
    assert missing.returncode == 255
    assert "executable file not found in $PATH" in missing.stderr


def test_a_create_that_is_killed_leaves_what_delete_force_takes_away(home: OciHome) -> None:
    bundle = home.bundle("true")
    runs = bundle.path / "hook-runs"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"touch {runs}; exec sleep 1000"]}
    bundle.config["hooks"] = {"prestart": [hook | {"env": ["PATH=/usr/bin:/bin"]}]}
    bundle.save()
    words = home.argv("create", "--bundle", bundle.path, bundle.id)
    making = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert eventually(runs.exists), "create has not come to its hook"
    pid = state(home, bundle)["pid"]
    sleeping = children(making.pid)
    making.send_signal(signal.SIGKILL)
    making.wait()
    for child in sleeping:
        if child != pid:
            os.kill(child, signal.SIGKILL)
    assert home.call("delete", "--force", bundle.id).returncode == 0
    assert os.listdir(home.place / "state") == []
    assert groups(home) == []


# As if the container ended, and its number went to another process, once its state was looked at.
LATE = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from labcontainer.runtime import oci, state
alive, asked = state.State.alive, []
state.State.alive = lambda one: alive(one) if asked else not asked.append(one)
sys.exit(oci.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "words", [["kill", "", "KILL"], ["delete", "--force", ""], ["exec", "", "touch", "/ran"]]
)
def test_the_next_process_of_its_number_is_left_alone(home: OciHome, words: list[str]) -> None:
    bundle = home.bundle("sleep", "1000")
    bundle.linux["namespaces"] = [{"type": "mount"}, {"type": "pid"}]
    first = home.start(bundle)
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sleep", "1000"]
    bystander = subprocess.Popen(argv)
    path = home.place / "state" / bundle.id / "state.json"
    remembered = json.loads(path.read_text())
    try:
        path.write_text(json.dumps(remembered | {"pid": bystander.pid}))
        argv = home.argv(*(word or bundle.id for word in words))[1:]
        done = subprocess.run([sys.executable, "-c", LATE, str(ROOT), *argv], timeout=60)
        assert bystander.poll() is None
        assert not os.path.exists("/ran") and not (bundle.rootfs / "ran").exists()
        assert done.returncode == (0 if words[0] == "delete" else 255 if words[0] == "exec" else 1)
    finally:
        bystander.kill()
        bystander.wait()
        if path.exists():
            path.write_text(json.dumps(remembered))
        elif Path(f"/proc/{first}").exists():
            os.kill(first, signal.SIGKILL)


@pytest.mark.parametrize("command", ["labcontainer-oci list", "labcontainer ps"])
@pytest.mark.parametrize(("owner", "mode"), [(54322, 0o755), (54322, 0o777), (54321, 0o777)])
def test_a_directory_in_tmp_must_be_the_users_own(
    as_user: Callable[..., subprocess.CompletedProcess[str]], command: str, owner: int, mode: int
) -> None:
    place = Path("/tmp/labcontainer-54321")
    place.mkdir()
    os.chown(place, owner, owner)
    place.chmod(mode)
    (place / "labcontainer").symlink_to("/etc")
    words = [f"{Path(sys.executable).parent}/{command.split()[0]}", command.split()[1]]
    try:
        done = as_user(words, uid=54321, env={"XDG_RUNTIME_DIR": ""})
        assert done.returncode != 0 and "Traceback" not in done.stderr
        assert "is not a directory of ours alone" in done.stderr
    finally:
        (place / "labcontainer").unlink()
        place.rmdir()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--systemd-cgroup", "state", "x"],
        ["state"],
        ["state", "../x"],
        ["run", "--bundle", "/nowhere", "x"],
        ["kill", "--frob", "x"],
        ["checkpoint", "x"],
        ["run", "--preserve-fds=-3", "x"],
        ["run", "--preserve-fds=500", "x"],
        ["run", "--preserve-fds=many", "x"],
    ],
)
def test_bad_words_are_one_line_and_fail(home: OciHome, words: list[str]) -> None:
    done = home.call(*words)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("interval", ["", "soon", "0s", "-1s", "nan", "inf", "1e999s"])
def test_an_interval_that_is_none(home: OciHome, interval: str) -> None:
    bundle = home.bundle("sleep", "1000")
    home.start(bundle)
    done = home.call("events", f"--interval={interval}", bundle.id)
    assert done.returncode == 1 and "--interval" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [{"LISTEN_FDS": "many"}, {"LISTEN_FDS": "2", "LISTEN_PID": "1"}])
def test_descriptors_that_systemd_meant_for_another(home: OciHome, words: dict[str, str]) -> None:
    done = home.run(home.bundle("true"), env=words)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"ociVersion": "1.0.2"}', "\xff"])
def test_a_torn_config_is_one_line(home: OciHome, text: str) -> None:
    bundle = home.bundle("true")
    (bundle.path / "config.json").write_bytes(text.encode("latin-1"))
    done = home.call("run", "--bundle", bundle.path, bundle.id)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_spec_features_list_and_version(home: OciHome) -> None:
    bundle = home.bundle("true")
    assert home.call("spec", "--bundle", bundle.path).returncode == 0
    assert json.loads((bundle.path / "config.json").read_text())["root"]["path"] == "rootfs"
    assert home.call("spec", "--bundle", bundle.path).returncode == 1
    assert "seccomp" in json.loads(home.call("features").stdout)["linux"]
    assert json.loads(home.call("list", "-f", "json").stdout) == []
    first, second = home.call("--version").stdout.splitlines()
    assert first.startswith("labcontainer-oci version ")
    assert second.startswith("spec: 1.")
