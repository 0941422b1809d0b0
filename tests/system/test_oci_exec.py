"""`labcontainer-oci exec`: one more process, and what it may not do or show on its way in."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.oci_home import ROOT, Bundle, OciHome

pytestmark = pytest.mark.requires("root", "mount", "cgroup-write")


@pytest.fixture
def home(tmp_path: Path, rootfs: Path) -> Iterator[OciHome]:
    made = OciHome(tmp_path, rootfs)
    yield made
    made.close()


def sleeper(home: OciHome, **process: Any) -> Bundle:
    bundle = home.bundle("sleep", "1000")
    bundle.process.update(process)
    return bundle


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def groups_of(text: str) -> dict[str, str]:
    """Controllers and the group in each, from /proc/PID/cgroup."""
    return dict(line.split(":", 2)[1:] for line in text.splitlines())


def test_it_is_in_every_group_of_the_container(home: OciHome) -> None:
    bundle = sleeper(home)
    pid = home.start(bundle)
    inside = groups_of(said(home.call("exec", bundle.id, "cat", "/proc/self/cgroup")))
    assert inside == groups_of(Path(f"/proc/{pid}/cgroup").read_text())
    assert all(group.endswith(bundle.id) for group in inside.values())


def test_it_enters_a_container_at_its_limit_of_processes(home: OciHome) -> None:
    bundle = sleeper(home)
    bundle.linux["resources"] = {"pids": {"limit": 1}}
    home.start(bundle)
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        bundle.linux["resources"]["pids"]["limit"] = 3  # version 2 counts the helper too
        home.call("update", "--pids-limit=3", bundle.id)
    assert said(home.call("exec", bundle.id, "echo", "in")) == "in"


def test_it_is_a_session_of_its_own_and_a_child_of_ours(home: OciHome) -> None:
    bundle = sleeper(home)
    home.start(bundle)
    pid_file = bundle.path / "exec-pid"
    words = ("--detach", "--pid-file", pid_file, bundle.id, "sleep", "1000")
    with open(bundle.path / "log", "wb") as log:
        subprocess.run(
            home.argv("exec", *words), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
        )
    pid = int(pid_file.read_text())
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) == pid, "the session"
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{pid}/ns/pid_for_children")
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]


def test_it_enters_a_user_namespace(home: OciHome) -> None:
    bundle = sleeper(home)
    os.chmod(home.place, 0o755)
    bundle.linux["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        bundle.linux[kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    pid = home.start(bundle)
    script = "id -u; readlink /proc/self/ns/user; grep CapEff /proc/self/status"
    uid, namespace, caps, mask = said(home.call("exec", bundle.id, "sh", "-c", script)).split()
    assert (uid, namespace) == ("0", os.readlink(f"/proc/{pid}/ns/user"))
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":\t", 1) for line in lines)
    assert (caps, mask) == ("CapEff:", found["CapEff"].strip())


@pytest.mark.parametrize("limit", [1, 2])
def test_its_limit_of_processes_counts_no_helper(home: OciHome, limit: int) -> None:
    bundle = sleeper(home)
    home.start(bundle)
    document = {
        "args": ["grep", "Max processes", "/proc/self/limits"],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 54321, "gid": 54321},
        "rlimits": [{"type": "RLIMIT_NPROC", "soft": limit, "hard": limit}],
    }
    path = bundle.path / "process.json"
    path.write_text(json.dumps(document))
    assert said(home.call("exec", "--process", path, bundle.id)).split()[2] == str(limit)


FORBIDS = ["clone", "clone3", "fork", "vfork", "setsid", "setns", "prctl", "capset", "prlimit64"]


def test_a_filter_that_forbids_all_that_exec_does_is_loaded_last(home: OciHome) -> None:
    bundle = sleeper(home, noNewPrivileges=True)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": FORBIDS, "action": "SCMP_ACT_ERRNO"}],
    }
    home.start(bundle)
    done = home.call("exec", bundle.id, "grep", "-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status")
    assert said(done).split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]
    forks = home.call("exec", bundle.id, "sh", "-c", "true | true")
    assert forks.returncode != 0 and "not permitted" in forks.stderr


def test_a_filter_it_could_not_load_lets_nothing_run(home: OciHome) -> None:
    bundle = sleeper(home, noNewPrivileges=True)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ERRNO"}],
    }
    bundle.save()
    with open(bundle.path / "log", "wb") as log:
        words = home.argv("create", "--bundle", bundle.path, bundle.id)
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
    done = home.call("exec", bundle.id, "touch", "/ran")
    assert done.returncode == 255 and "not permitted" in done.stderr, done
    assert not (bundle.rootfs / "ran").exists()


def listen(path: Path, found: list[dict[str, Any]]) -> threading.Thread:
    """Be who decides about calls: take one descriptor, and let go of it."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    server.settimeout(60)

    def serve() -> None:
        with server:
            for _ in range(2):
                peer, _ = server.accept()
                with peer:
                    data, fds, _, _ = socket.recv_fds(peer, 65536, 4)
                kinds = [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]
                found.append(json.loads(data) | {"kinds": kinds})
                for fd in fds:
                    os.close(fd)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_who_decides_about_calls_learns_which_process_asks(home: OciHome) -> None:
    bundle = sleeper(home, noNewPrivileges=True)
    found: list[dict[str, Any]] = []
    thread = listen(bundle.path / "listener", found)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(bundle.path / "listener"),
        "listenerMetadata": "mine",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    first = home.start(bundle)
    pid_file = bundle.path / "exec-pid"
    assert said(home.call("exec", "--pid-file", pid_file, bundle.id, "echo", "in")) == "in"
    thread.join(60)
    assert [one["pid"] for one in found] == [first, int(pid_file.read_text())]
    assert all(one["kinds"] == ["anon_inode:seccomp notify"] for one in found), found
    assert {one["metadata"] for one in found} == {"mine"}


# Of its session keyring: looks for the caller's key there, by keyctl(2).
SEARCH = """
import ctypes, os
call = ctypes.CDLL(None).syscall
search = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
print("found" if call(search, 10, -3, b"user", b"the-callers", 0) > 0 else "not found")
"""
# A session keyring of its own for the caller, with a key in it: then it becomes the runtime.
WITH_KEY = """
import ctypes, os, sys
call = ctypes.CDLL(None).syscall
add_key, keyctl = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
assert call(keyctl, 1, None) > 0 and call(add_key, b"user", b"the-callers", b"secret", 6, -3) > 0
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("words", [(), ("--no-new-keyring",)])
def test_the_callers_keys_stay_the_callers(home: OciHome, words: tuple[str, ...]) -> None:
    bundle = sleeper(home)
    host = {"destination": "/host", "source": "/", "options": ["rbind", "ro"]}
    bundle.config["mounts"].append(host)
    bundle.save()
    python = os.path.realpath(sys.executable)
    inside = ("busybox", "chroot", "/host", python, "-c", SEARCH)
    caller = (python, "-c", WITH_KEY)
    run = ("run", "--detach", *words, "--bundle", str(bundle.path), bundle.id)
    subprocess.run([*caller, *home.argv(*run)], stdin=subprocess.DEVNULL, check=True)
    exec_ = [*caller, *home.argv("exec", bundle.id, *inside)]
    done = subprocess.run(exec_, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert said(done) == ("found" if words else "not found")


def test_a_runtime_that_fails_before_go_leaves_no_process(home: OciHome) -> None:
    bundle = sleeper(home)
    home.start(bundle)
    pid_file = bundle.path / "folder"
    pid_file.mkdir()  # it can't be written, which is found when the process waits to go
    done = home.call("exec", "--pid-file", pid_file, bundle.id, "touch", "/ran")
    assert done.returncode == 255, done
    assert not (bundle.rootfs / "ran").exists()
    assert len(json.loads(home.call("ps", "--format", "json", bundle.id).stdout)) == 1


def unsealed(home: OciHome, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command where no sealed file can be had: on another architecture, say."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from labcontainer.kernel import memexec\n"
        "memexec.prepare = lambda *_: -1\n"
        "from labcontainer.runtime.oci import main; sys.exit(main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-c", code, f"--root={home.place}/state", *map(str, words)]
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )


def test_without_a_sealed_file_run_and_exec_work_all_the_same(home: OciHome) -> None:
    bundle = sleeper(home, noNewPrivileges=True)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    pid = home.start(bundle)
    script = "grep Seccomp: /proc/self/status; ps -o pid,sid,comm; ls /proc/$$/fd; mkdir /no"
    done = unsealed(home, "exec", bundle.id, "sh", "-c", script)
    assert "Seccomp:\t2" in done.stdout and "not permitted" in done.stderr, done
    groups = said(unsealed(home, "exec", bundle.id, "cat", "/proc/self/cgroup"))
    assert groups_of(groups) == groups_of(Path(f"/proc/{pid}/cgroup").read_text())
    missing = unsealed(home, "exec", bundle.id, "/etc")
    assert missing.returncode == 255 and "permission denied" in missing.stderr
    other = home.bundle("sh", "-c", "exit 7")
    other.save()
    assert unsealed(home, "run", "--bundle", other.path, other.id).returncode == 7
