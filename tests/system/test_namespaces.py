"""New and joined namespaces, compared by their numbers under /proc from outside."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import pytest

from labcontainer import namespaces
from labcontainer.errors import UnsupportedError
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.namespaces import Namespaces
from tests.system import forked
from tests.system.lab_home import eventually

ALL = tuple(name for name in namespaces.ORDER if not namespaces.missing((name,)))
root_only = pytest.mark.requires("root")


def leave(names: tuple[str, ...]) -> None:
    namespaces.unshare(names)


@root_only
@pytest.mark.parametrize("name", [name for name in ALL if name not in ("pid", "time")])
def test_unshare_changes_one_kind_only(name: str) -> None:
    with forked.held(leave, (name,)) as process:
        for kind in namespaces.KINDS:
            if kind.name in ALL and kind.name != "user":
                same = namespaces.same(process.pid, "self", kind.name)
                assert same is (kind.name != name), kind.name


@root_only
@pytest.mark.parametrize("name", [name for name in ALL if name in ("pid", "time")])
def test_pid_and_time_are_for_the_next_child(name: str) -> None:
    def unshare_and_look() -> tuple[int, int]:
        namespaces.unshare((name,))
        child = os.fork()
        if child == 0:
            signal.pause()
        numbers = namespaces.inode("self", name), namespaces.inode(child, name)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return numbers

    before, inside = forked.call(unshare_and_look)
    assert before == namespaces.inode("self", name) != inside


@pytest.mark.requires("root")
def test_an_ordinary_user_is_told_what_to_do() -> None:
    with pytest.raises(
        UnsupportedError, match="this takes CAP_SYS_ADMIN; run as root, or add a user"
    ):
        forked.call(leave, ("uts",), uid=1000)


# --- joining -------------------------------------------------------------------------------------

TARGET = ("ipc", "uts", "network", "pid", "mount")


def stand_apart() -> None:
    namespaces.set_hostname("joined")


@root_only
@pytest.mark.parametrize("way", ["pidfd", "one by one", "paths"])
def test_three_ways_in(way: str) -> None:
    flags = int(namespaces.clone_flags(TARGET))
    with forked.held(stand_apart, flags=flags) as target:

        def enter() -> tuple[dict[str, bool], str]:
            if way == "pidfd":
                namespaces.enter_process(target.pid)
            elif way == "one by one":
                namespaces.enter_one_by_one(target.pid, TARGET)
            else:
                paths = tuple(
                    (name, f"/proc/{target.pid}/ns/{namespaces.kind(name).file}") for name in TARGET
                )
                opened = namespaces.open_joined(Namespaces((), paths))
                assert [name for name, _ in opened] == [n for n in namespaces.ORDER if n in TARGET]
                namespaces.enter(opened)
            return {}, os.uname().nodename

        with forked.held(enter) as process:
            assert process.value[1] == "joined"
            for name in ("ipc", "uts", "network", "mount"):
                assert namespaces.same(process.pid, target.pid, name), name
            children = os.stat(f"/proc/{process.pid}/ns/pid_for_children").st_ino
            assert children == namespaces.inode(target.pid, "pid")


@pytest.mark.requires("root", "userns")
@pytest.mark.parametrize("who", [0, 1000])
@pytest.mark.parametrize("way", ["pidfd", "one by one"])
def test_into_a_rootless_container_as_root_and_as_its_owner(who: int, way: str) -> None:
    flags = int(namespaces.clone_flags(("user", "uts", "mount", "ipc")))
    with forked.held(stand_apart, flags=flags, uid=1000) as target:

        def enter() -> str:
            names = ("user", "uts", "mount", "ipc")
            if way == "pidfd":
                namespaces.enter_process(target.pid, names)
            else:
                namespaces.enter_one_by_one(target.pid, names)
            return os.uname().nodename

        with forked.held(enter, uid=who) as process:
            assert process.value == "joined"
            for name in ("user", "uts", "mount", "ipc"):
                assert namespaces.same(process.pid, target.pid, name), name


@pytest.mark.requires("root", "userns")
def test_root_can_join_the_hosts_network_and_a_users_namespace_at_once() -> None:
    """Inside the user namespace the network that the machine's root made could not be joined."""
    with (
        forked.held(stand_apart, flags=int(CLONE.NEWUTS | CLONE.NEWNET)) as rooted,
        forked.held(stand_apart, flags=int(CLONE.NEWUSER | CLONE.NEWUTS), uid=1000) as rootless,
    ):
        spec = Namespaces(
            (),
            (
                ("user", f"/proc/{rootless.pid}/ns/user"),
                ("uts", f"/proc/{rootless.pid}/ns/uts"),
                ("network", f"/proc/{rooted.pid}/ns/net"),
            ),
        )
        with forked.held(lambda: namespaces.enter(namespaces.open_joined(spec))) as process:
            assert namespaces.same(process.pid, rooted.pid, "network")
            assert namespaces.same(process.pid, rootless.pid, "user")
            assert namespaces.same(process.pid, rootless.pid, "uts")


@root_only
def test_entering_ones_own_is_nothing() -> None:
    forked.call(namespaces.enter_process, os.getpid())


# --- what is set inside --------------------------------------------------------------------------


@root_only
def test_names_of_the_host() -> None:
    def rename() -> tuple[str, str]:
        namespaces.set_hostname("inside")
        namespaces.set_domainname("example.org")
        return os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text().strip()

    before = os.uname().nodename
    assert forked.call(rename, flags=int(CLONE.NEWUTS)) == ("inside", "example.org")
    assert os.uname().nodename == before


@pytest.mark.requires("root", "timens")
def test_clocks_are_shifted() -> None:
    def shift() -> tuple[float, float]:
        namespaces.unshare(("time",))
        namespaces.set_time_offsets({"monotonic": (5000, 0), "boottime": (7000, 500)})
        read, write = os.pipe()
        if os.fork() == 0:
            # The child is inside once it has made its first call after the fork.
            boot = time.clock_gettime(time.CLOCK_BOOTTIME)
            os.write(write, f"{time.clock_gettime(time.CLOCK_MONOTONIC)} {boot}".encode())
            os._exit(0)
        os.wait()
        monotonic, boot_time = os.read(read, 100).split()
        own = time.clock_gettime(time.CLOCK_MONOTONIC), time.clock_gettime(time.CLOCK_BOOTTIME)
        return float(monotonic) - own[0], float(boot_time) - own[1]

    monotonic, boot = forked.call(shift)
    assert 4990 < monotonic <= 5000 and 6990 < boot <= 7001


# --- PID 1 ---------------------------------------------------------------------------------------


def _proc() -> None:
    syscalls.mount("proc", "/proc", "proc", MS.NOSUID | MS.NODEV | MS.NOEXEC)


@root_only
def test_init_reaps_orphans_and_stays_pid_1() -> None:
    # It ends when only init, itself and what lists them are left: a zombie would stay for ever.
    script = (
        "(sleep 0.01 & sleep 0.02 & exec true) & wait; for i in $(seq 600); do set -- /proc/[0-9]*;"
        "test $# -gt 2 || exit 3; sleep 0.1; done; exit 4"
    )

    def init() -> int:
        _proc()
        return namespaces.run_init(("/bin/sh", "-c", script)) if os.getpid() == 1 else -1

    assert forked.call(init, flags=int(CLONE.NEWNS | CLONE.NEWPID)) == 3


@root_only
def test_a_program_as_pid_1_ignores_sigterm_and_under_init_it_does_not(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"touch {ready}; while :; do sleep 0.02; done"

    def end_of(with_init: bool) -> int:
        ready.unlink(missing_ok=True)
        syscalls.unshare(CLONE.NEWPID | CLONE.NEWNS)
        pid = os.fork()
        if pid == 0:
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            if with_init:
                os._exit(namespaces.run_init(("/bin/sh", "-c", script)))
            os.execv("/bin/sh", ["/bin/sh", "-c", script])
        assert eventually(ready.exists)
        os.kill(pid, signal.SIGTERM)
        ended = os.pidfd_open(pid)
        if not select.select([ended], [], [], 60 if with_init else 0.5)[0]:
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert forked.call(end_of, True) == 128 + signal.SIGTERM
    assert forked.call(end_of, False) == -signal.SIGKILL
