"""The tiny program of both architectures, run as a program, with what surrounds it made up."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labcontainer import seccomp
from labcontainer.kernel import memexec, syscalls
from labcontainer.kernel.trampoline import Birth
from tests.system.lab_home import eventually

EMULATORS = {"aarch64": "qemu-aarch64", "x86_64": "qemu-x86_64"}
Make = Callable[["Tiny"], "Tiny"]
ALLOW = b"\x06\0\0\0\0\0\xff\x7f"  # a filter of one instruction: return SECCOMP_RET_ALLOW


class Tiny:
    """One image in a file, and the socket that it is to tell its results."""

    def __init__(
        self,
        place: Path,
        machine: str,
        birth: Birth | None = None,
        labels: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.mine, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.mine.settimeout(20)
        program = place / "tiny"
        program.write_bytes(memexec.image(self.theirs.fileno(), birth, machine, labels))
        program.chmod(0o755)
        self.words = [str(program)]
        if machine != syscalls.MACHINE:
            emulator = shutil.which(EMULATORS[machine])
            if emulator is None:
                pytest.skip(f"no {EMULATORS[machine]} to run code of another architecture")
            self.words = [emulator, "-0", "", str(program)]

    def run(self, *words: str, passed: tuple[int, ...] = ()) -> subprocess.Popen[str]:
        """Start it; the kernel gives it `words` for arguments, the first one too."""
        argv = [*self.words[:-1], *words] if len(self.words) == 1 else [*self.words, *words[1:]]
        if len(self.words) > 1:
            argv[2] = words[0]
        process = subprocess.Popen(
            argv,
            executable=self.words[0],
            env={"GIVEN": "yes"},
            pass_fds=(self.theirs.fileno(), *passed),
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=seccomp.no_new_privs,  # then a filter may be loaded without a right
        )
        self.theirs.close()
        return process

    def __enter__(self) -> Tiny:
        return self

    def __exit__(self, *_: object) -> None:
        self.mine.close()
        self.theirs.close()

    def result(self) -> int:
        return int.from_bytes(self.mine.recv(64), "little", signed=True)


@pytest.fixture
def made() -> Iterator[Make]:
    """Closes the sockets of what a test has made."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.mark.parametrize("machine", EMULATORS)
def test_it_becomes_the_program(made: Make, tmp_path: Path, machine: str) -> None:
    tiny = made(Tiny(tmp_path, machine))
    process = tiny.run("/bin/sh", "sh", "-c", 'echo "$0 $1 $GIVEN"', "zero", "one")
    assert process.communicate()[0] == "zero one yes\n"
    assert tiny.mine.recv(64) == b""


@pytest.mark.parametrize("machine", EMULATORS)
def test_it_tells_why_it_cannot(made: Make, tmp_path: Path, machine: str) -> None:
    tiny = made(Tiny(tmp_path, machine))
    process = tiny.run("/nonexistent", "x")
    assert tiny.result() == -2
    assert process.communicate()[0] == "" and process.returncode == 255


@pytest.mark.parametrize("machine", EMULATORS)
def test_it_writes_labels_before_the_program(made: Make, tmp_path: Path, machine: str) -> None:
    files = (tmp_path / "one", tmp_path / "two, of the other module")
    for file in files:
        file.touch()
    labels = tuple((str(file), f"label of {file.name}") for file in files)
    tiny = made(Tiny(tmp_path, machine, None, labels))
    process = tiny.run("/bin/sh", "sh", "-c", 'cat "$0" "$1"; ls /proc/$$/fd', *map(str, files))
    written, *_ = process.communicate()[0].split("\n")
    assert written == "label of onelabel of two, of the other module0"
    assert tiny.mine.recv(64) == b""


@pytest.mark.parametrize("machine", EMULATORS)
def test_a_label_that_cannot_be_had_lets_nothing_run(
    made: Make, tmp_path: Path, machine: str
) -> None:
    tiny = made(Tiny(tmp_path, machine, None, (("/nonexistent/attr", "label"),)))
    process = tiny.run("/bin/sh", "sh", "-c", "echo ran")
    assert tiny.result() == -2
    assert process.communicate()[0] == ""


@pytest.mark.parametrize("machine", EMULATORS)
def test_without_the_descriptor_it_only_ends(made: Make, tmp_path: Path, machine: str) -> None:
    tiny = made(Tiny(tmp_path, machine))
    argv = ["/bin/echo", "echo", "ran"]
    argv = argv if len(tiny.words) == 1 else [*tiny.words, *argv[1:]]
    done = subprocess.run(argv, executable=tiny.words[0], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (255, b"")


def test_a_child_is_born_told_and_waits(made: Make, tmp_path: Path) -> None:
    door = os.open(tmp_path / "door", os.O_WRONLY | os.O_CREAT)
    birth = Birth(doors=(door,), processes=(7, 9), filter=ALLOW)
    tiny = made(Tiny(tmp_path, syscalls.MACHINE, birth))
    script = "grep -E '^(Seccomp|PPid):' /proc/self/status | sort;"
    script += "grep processes /proc/self/limits; ls /proc/$$/fd"
    process = tiny.run("/bin/sh", "sh", "-c", script, passed=(door,))
    os.close(door)
    child = tiny.result()
    assert child > 0
    # It tells its number before it enters.
    assert eventually(lambda: (tmp_path / "door").read_text() == "0"), "it has not entered"
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    parent, session = int(fields[1]), int(fields[3])
    assert (parent, session) == (os.getpid(), child)
    assert resource.prlimit(child, resource.RLIMIT_NPROC) != (7, 9), "it waits"
    tiny.mine.send(b"1")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    lines = process.communicate()[0].split()
    assert lines[:8] == ["PPid:", str(child), "Seccomp:", "2", "Max", "processes", "7", "9"]
    assert str(door) not in lines[8:]


@pytest.mark.parametrize(("word", "expected"), [(b"", 255), (b"1", 0)])
def test_a_child_whose_maker_is_gone_ends(
    made: Make, tmp_path: Path, word: bytes, expected: int
) -> None:
    tiny = made(Tiny(tmp_path, syscalls.MACHINE, Birth()))
    process = tiny.run("/bin/sh", "sh", "-c", "echo ran")
    child = tiny.result()
    if word:
        tiny.mine.send(word)
    else:
        tiny.mine.close()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == expected
    assert process.communicate()[0] == ("ran\n" if word else "")


def test_a_step_that_fails_is_told_and_nothing_runs(made: Make, tmp_path: Path) -> None:
    tiny = made(Tiny(tmp_path, syscalls.MACHINE, Birth(doors=(999,))))
    process = tiny.run("/bin/sh", "sh", "-c", "echo ran")
    told = sorted((tiny.result(), tiny.result()))
    assert told[0] == -9 and told[1] > 0, "EBADF, and the child"
    os.waitpid(told[1], 0)
    assert process.communicate()[0] == ""


def test_there_is_none_for_other_machines() -> None:
    with pytest.raises(ValueError, match="riscv64"):
        memexec.image(3, None, "riscv64")
