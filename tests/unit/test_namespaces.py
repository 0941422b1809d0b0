"""Kinds of namespaces, their order, and the plain words of a refusal."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from labcontainer import namespaces
from labcontainer.errors import SpecError, UnsupportedError
from labcontainer.kernel.flags import CLONE
from labcontainer.namespaces import Namespaces


def test_both_names_of_a_kind() -> None:
    for spec_name, kernel_name in (("network", "net"), ("mount", "mnt"), ("pid", "pid")):
        assert namespaces.kind(spec_name) is namespaces.kind(kernel_name)
    with pytest.raises(SpecError, match=r"namespace 'disk': is not one of user, .*mount"):
        namespaces.kind("disk")


def test_user_is_first_and_mount_is_last() -> None:
    assert namespaces.ORDER[0] == "user" and namespaces.ORDER[-1] == "mount"
    assert len({kind.flag for kind in namespaces.KINDS}) == 8
    assert all(kind.place and kind.shows for kind in namespaces.KINDS)


def test_every_kind_is_a_file_of_this_kernel_or_reported_missing() -> None:
    here = set(os.listdir("/proc/self/ns"))
    lacking = namespaces.missing(namespaces.ORDER)
    for kind in namespaces.KINDS:
        assert (kind.file in here) != (kind.name in lacking)


def test_flags() -> None:
    flags = namespaces.clone_flags(("pid", "net", "mount"))
    assert flags == CLONE.NEWPID | CLONE.NEWNET | CLONE.NEWNS
    assert namespaces.clone_flags(()) == 0


def test_plan_joins_first_and_in_order() -> None:
    spec = Namespaces(("mount", "pid"), (("ipc", "/proc/7/ns/ipc"), ("user", "/proc/7/ns/user")))
    shown = [str(step).split("  #")[0] for step in namespaces.plan(spec)]
    assert shown == ["join user /proc/7/ns/user", "join ipc /proc/7/ns/ipc", "new pid", "new mount"]
    with pytest.raises(SpecError, match="namespace ipc: is to be new and joined at once"):
        namespaces.plan(Namespaces(("ipc",), (("ipc", "/x"),)))


def test_a_path_that_is_no_namespace(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "file")
    open(path, "w").close()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(SpecError, match="is not a namespace's file"):
        namespaces.open_joined(Namespaces((), (("pid", path), ("uts", "/proc/self/ns/uts"))))
    with pytest.raises(SpecError, match=r"is of another kind \(CLONE.NEWUTS\)"):
        namespaces.open_joined(Namespaces((), (("pid", "/proc/self/ns/uts"),)))
    with pytest.raises(FileNotFoundError):
        namespaces.open_joined(Namespaces((), (("pid", "/proc/self/ns/none"),)))
    assert os.listdir("/proc/self/fd") == before


def test_refusals_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def explained(code: int, *names: str) -> str:
        return str(namespaces.explain(OSError(code, os.strerror(code)), names))

    assert "user namespaces are turned off" in explained(errno.EPERM, "user", "pid")
    assert "this takes CAP_SYS_ADMIN; run as root" in explained(errno.EPERM, "pid")
    assert "max_*_namespaces" in explained(errno.ENOSPC, "user")
    monkeypatch.setattr(namespaces, "missing", lambda _names: ("time",))
    error = namespaces.explain(OSError(errno.EINVAL, "Invalid argument"), ("time",))
    assert isinstance(error, UnsupportedError)
    assert "has no time namespace; time needs Linux 5.6" in str(error)


def test_looking_at_oneself() -> None:
    assert namespaces.same(os.getpid(), "self", "net")
    assert namespaces.inode("self", "mnt") == os.stat("/proc/self/ns/mnt").st_ino


def test_reap_collects_all_that_ended_and_waits_for_none() -> None:
    quick = [_child(lambda code=code: os._exit(code)) for code in (0, 3)]
    killed, sleeper = _child(signal.pause), _child(signal.pause)
    os.kill(killed, signal.SIGTERM)
    for pid in (*quick, killed):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    ended = dict(namespaces.reap())
    assert [ended[pid] for pid in quick] == [0, 3] and ended[killed] == -signal.SIGTERM
    assert sleeper not in ended
    os.kill(sleeper, signal.SIGKILL)
    os.waitpid(sleeper, 0)
    assert namespaces.reap() == []


def _child(function: object) -> int:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert callable(function)
        function()
        os._exit(9)
    return pid


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 7", 7),
        ("kill -9 $$", 137),
        ("exec /no/such/program", 127),
        ("sleep 0.05 & exit 0", 0),
    ],
)
def test_init_ends_as_its_program_did(script: str, status: int) -> None:
    assert _init("/bin/sh", "-c", script) == status


def test_init_of_a_missing_program() -> None:
    assert _init("no-such-program") == 127


def _init(*argv: str) -> int:
    pid = os.fork()
    if pid == 0:
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 2)
        os._exit(namespaces.run_init(argv))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_init_passes_signals_on() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        script = "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.02; done"
        os._exit(namespaces.run_init(("/bin/sh", "-c", script)))
    os.close(write)
    with os.fdopen(read) as output:
        assert output.readline() == "ready\n"
        os.kill(pid, signal.SIGUSR1)
        assert output.readline() == "got\n"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
