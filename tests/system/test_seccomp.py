"""Filters in the kernel: what a process under one gets for its calls, of every architecture."""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from labcontainer import capabilities, seccomp, seccomp_profile
from labcontainer.kernel import classic_bpf, syscalls
from labcontainer.kernel.flags import CLONE, PR, SECCOMP_FILTER_FLAG
from labcontainer.seccomp_default import default_profile
from tests.system import aside
from tests.system.oci_home import OciHome

pytestmark = pytest.mark.requires("seccomp")
on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code for x86_64")
native_kernel = pytest.mark.skipif(
    "-uml" in platform.release() or not Path("/proc/sys/kernel/seccomp").exists(),
    reason="user-mode Linux runs no 32-bit calls",
)


def profile(action: str, *names: str, **more: Any) -> dict[str, Any]:
    rule = {"names": list(names), "action": action, **more}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


def under(document: dict[str, Any], function: Callable[..., Any], *args: Any) -> aside.End:
    """How a child ends that loads a filter and calls a function."""
    program = seccomp.compile(document)

    def confined() -> Any:
        seccomp.no_new_privs()
        seccomp.install(program)
        return function(*args)

    return aside.run(confined)


def make_directory() -> None:
    os.mkdir("/proc/no-such-directory/x")


# --- answers ------------------------------------------------------------------------------------


def test_errno_is_the_profiles_and_others_work() -> None:
    document = profile("SCMP_ACT_ERRNO", "mkdir", "mkdirat", errnoRet=errno.EXDEV)
    assert under(document, make_directory).error == errno.EXDEV
    assert under(document, os.getpid).value > 0


def test_the_process_says_that_it_is_filtered() -> None:
    def fields() -> dict[str, str]:
        text = Path("/proc/self/status").read_text()
        return dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)

    found = under(profile("SCMP_ACT_ERRNO", "mkdir"), fields).value
    assert found["Seccomp"] == "2" and found["NoNewPrivs"] == "1"
    if "Seccomp_filters" in found:
        before = Path("/proc/self/status").read_text().partition("Seccomp_filters:\t")[2]
        assert int(found["Seccomp_filters"]) == int(before.split()[0]) + 1


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_KILL"])
def test_killing_ends_by_sigsys(action: str) -> None:
    resource_limit = resource.getrlimit(resource.RLIMIT_CORE)

    def quietly() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource_limit[1]))
        make_directory()

    assert under(profile(action, "mkdir", "mkdirat"), quietly).signal == signal.SIGSYS


def test_kill_thread_leaves_the_others() -> None:
    def two_threads() -> bool:
        thread = threading.Thread(target=make_directory, daemon=True)
        thread.start()
        thread.join(0.2)
        return True

    assert under(profile("SCMP_ACT_KILL_THREAD", "mkdir", "mkdirat"), two_threads).value


def test_trap_is_a_signal_that_tells_the_call() -> None:
    def caught() -> list[int]:
        seen: list[int] = []
        signal.signal(signal.SIGSYS, lambda *caught: seen.append(caught[0]))
        try:
            make_directory()
        except OSError:
            pass
        return seen

    assert under(profile("SCMP_ACT_TRAP", "mkdir", "mkdirat"), caught).value == [signal.SIGSYS]


def test_trace_without_a_tracer_is_enosys() -> None:
    document = profile("SCMP_ACT_TRACE", "mkdir", "mkdirat")
    assert under(document, make_directory).error == errno.ENOSYS


def test_log_lets_through() -> None:
    document = profile("SCMP_ACT_LOG", "mkdir", "mkdirat")
    assert under(document, make_directory).error == errno.ENOENT


def test_arguments_decide() -> None:
    when = [{"index": 0, "value": socket.AF_UNIX, "op": "SCMP_CMP_EQ"}]
    document = profile("SCMP_ACT_ERRNO", "socket", args=when, errnoRet=errno.EACCES)
    assert under(document, socket.socket, socket.AF_UNIX).error == errno.EACCES
    assert under(document, lambda: socket.socket(socket.AF_INET).close()).error == 0


def test_flags_are_taken_by_the_kernel() -> None:
    names = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]
    document = profile("SCMP_ACT_ERRNO", "mkdir", "mkdirat") | {"flags": names}
    assert under(document, make_directory).error == errno.EPERM


def test_the_longest_program_loads_and_a_longer_one_does_not() -> None:
    ret = (classic_bpf.RET, 0, 0, seccomp_profile.ALLOW)

    def load(count: int) -> None:
        seccomp.no_new_privs()
        classic_bpf.install(classic_bpf.encode((ret,) * count))

    assert aside.run(load, 4096).error == 0
    assert aside.run(load, 4097).error == errno.EINVAL


@pytest.mark.requires("root")
def test_a_filter_needs_a_right_or_no_new_privs() -> None:
    def without() -> None:
        syscalls.capset(0, 0, 0)
        seccomp.install(seccomp.compile(profile("SCMP_ACT_ERRNO", "mkdir")))

    assert aside.run(without).error == errno.EACCES


# --- architectures ------------------------------------------------------------------------------


def machine_code(code: bytes) -> int:
    """Run machine code that returns its result in eax."""
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())


# push rbx; mov eax, 20 (i386's getpid); int 0x80; pop rbx; ret
I386_GETPID = b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3"
# mov eax, 0x40000000 + 39 (x32's getpid); syscall; ret
X32_GETPID = b"\xb8\x27\x00\x00\x40\x0f\x05\xc3"


def i386_works() -> bool:
    """User-mode Linux takes int 0x80 as the 64-bit call of that number: writev, with EBADF."""
    end = aside.run(machine_code, I386_GETPID)
    return end.signal == 0 and end.value > 0


@on_x86_64
@native_kernel
def test_i386_calls_are_closed() -> None:
    if not i386_works():
        pytest.skip("this kernel takes no i386 calls (CONFIG_IA32_EMULATION)")
    assert aside.run(machine_code, I386_GETPID).value > 0
    document = default_profile([])
    assert under(document, machine_code, I386_GETPID).signal == signal.SIGSYS


@on_x86_64
@native_kernel
def test_i386_calls_open_with_their_own_numbers() -> None:
    if not i386_works():
        pytest.skip("this kernel takes no i386 calls (CONFIG_IA32_EMULATION)")
    document = default_profile([], foreign=True)
    assert under(document, machine_code, I386_GETPID).value > 0
    # i386's number 20 is x86_64's writev: forbidding getpid must close 20 on i386 only.
    closed = profile("SCMP_ACT_ERRNO", "getpid", errnoRet=77) | {
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    }
    assert under(closed, machine_code, I386_GETPID).value == -77


@on_x86_64
@native_kernel
def test_x32_calls_are_closed() -> None:
    assert under(default_profile([]), machine_code, X32_GETPID).signal == signal.SIGSYS


@on_x86_64
@native_kernel
def test_x32_calls_get_their_own_answers_where_listed() -> None:
    closed = profile("SCMP_ACT_ERRNO", "getpid", errnoRet=77) | {
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]
    }
    assert under(closed, machine_code, X32_GETPID).value == -77


# --- Docker's default ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: syscalls.unshare(CLONE.NEWUSER),
        lambda: syscalls.mount("none", "/", None, 1 << 18),
        lambda: syscalls.keyctl_join_session(),
        lambda: syscalls.bpf(0, b"\0" * 64),
        lambda: socket.socket(38, socket.SOCK_SEQPACKET),
        lambda: socket.socket(40, socket.SOCK_STREAM),
    ],
    ids=["unshare", "mount", "keyctl", "bpf", "AF_ALG", "AF_VSOCK"],
)
def test_the_default_profile_forbids(call: Callable[[], Any]) -> None:
    assert under(default_profile([]), call).error == errno.EPERM


def test_the_default_profile_says_enosys_to_clone3() -> None:
    assert under(default_profile([]), syscalls.clone3, 0).error == errno.ENOSYS


def test_programs_run_under_the_default_profile() -> None:
    def programs() -> str:
        code = "import threading; t = threading.Thread(target=print, args=('hi',)); t.start()"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout

    assert under(default_profile([]), programs).value == "hi\n"


def test_ptrace_is_open_where_it_is_safe() -> None:
    def traced() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        return int(libc.ptrace(0, 0, 0, 0))  # PTRACE_TRACEME

    assert under(default_profile([], kernel=(6, 1)), traced).value == 0
    assert under(default_profile([], kernel=(4, 4)), traced).value == -1


@pytest.mark.requires("root")
def test_a_filter_loaded_last_may_forbid_what_the_set_up_needed() -> None:
    def set_up() -> int:
        syscalls.unshare(CLONE.NEWNS)
        names = ["mount", "setns", "prctl", "capset", "seccomp", "setresuid", "setgroups"]
        program = seccomp.compile(profile("SCMP_ACT_ERRNO", *names))
        capabilities.apply_bounding(())
        capabilities.apply(capabilities.Sets(), no_new_privs=True)
        seccomp.install(program)
        try:
            syscalls.prctl(PR.GET_NO_NEW_PRIVS)
        except OSError as error:
            return error.errno or 0
        return 0

    assert aside.run(set_up).value == errno.EPERM


@pytest.mark.requires("root", "mount", "busybox")
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_container_starts_under_a_filter_that_forbids_its_set_up(
    tmp_path: Path, rootfs: Path, no_new_privileges: bool
) -> None:
    forbidden = ["mount", "umount2", "setns", "unshare", "clone3", "pivot_root", "chroot", "mknod"]
    forbidden += ["sethostname", "open_tree", "move_mount", "openat2", "setresuid", "setgroups"]
    if no_new_privileges:  # then the filter comes after all the rest
        forbidden += ["capset", "prctl", "seccomp", "close_range", "setrlimit", "rt_sigprocmask"]
    home = OciHome(tmp_path, rootfs)
    try:
        bundle = home.bundle("sh", "-c", "mount -t tmpfs x /tmp; echo started")
        bundle.process["noNewPrivileges"] = no_new_privileges
        bundle.linux["seccomp"] = profile("SCMP_ACT_ERRNO", *forbidden, errnoRet=errno.EDOM)
        done = home.run(bundle)
    finally:
        home.close()
    assert done.stdout == "started\n", done.stderr
    assert os.strerror(errno.EDOM) in done.stderr


@pytest.mark.requires("root", "mount", "busybox")
def test_a_bad_profile_starts_nothing_and_says_where(tmp_path: Path, rootfs: Path) -> None:
    home = OciHome(tmp_path, rootfs)
    try:
        bundle = home.bundle("echo", "started")
        bundle.linux["seccomp"] = profile("SCMP_ACT_WAVE", "mkdir")
        done = home.run(bundle)
    finally:
        home.close()
    assert done.returncode != 0 and done.stdout == ""
    assert "linux.seccomp.syscalls[0]: unknown action 'SCMP_ACT_WAVE'" in done.stderr


# --- the listener -------------------------------------------------------------------------------


@pytest.mark.requires("root", "mount", "busybox")
def test_a_containers_listener_gets_state_and_descriptor(tmp_path: Path, rootfs: Path) -> None:
    home = OciHome(tmp_path, rootfs)
    try:
        bundle = home.bundle("mkdir", "/new")
        path = str(tmp_path / "listener.sock")
        bundle.linux["seccomp"] = profile("SCMP_ACT_NOTIFY", "mkdir") | {
            "listenerPath": path,
            "listenerMetadata": "for the test",
        }
        with socket.socket(socket.AF_UNIX) as server, ThreadPoolExecutor() as pool:
            server.bind(path)
            server.listen()
            server.settimeout(60)
            running = pool.submit(home.run, bundle)
            peer, _ = server.accept()
            with peer:
                data, fds, _, _ = socket.recv_fds(peer, 65536, 4)
            (listener,) = fds
            kind = os.readlink(f"/proc/self/fd/{listener}")
            os.close(listener)  # nobody answers any more: the kernel says ENOSYS
            done = running.result()
    finally:
        home.close()
    told = json.loads(data)
    assert told["fds"] == ["seccompFd"] and told["metadata"] == "for the test"
    assert told["state"]["id"] == bundle.id and told["pid"] > 1
    assert "seccomp notify" in kind
    assert done.returncode != 0 and "Function not implemented" in done.stderr


def test_a_program_with_a_listener_asks_for_its_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    document = profile("SCMP_ACT_NOTIFY", "mkdir") | {
        "listenerPath": "/x",
        "flags": ["SECCOMP_FILTER_FLAG_TSYNC"],
    }
    asked: list[int] = []

    def install(_code: bytes, flags: int) -> int:
        asked.append(flags)
        return 7

    monkeypatch.setattr(classic_bpf, "install", install)
    assert seccomp.install(seccomp.compile(document)) == 7
    wanted = SECCOMP_FILTER_FLAG.NEW_LISTENER | SECCOMP_FILTER_FLAG.TSYNC_ESRCH
    assert asked[0] & wanted == wanted
