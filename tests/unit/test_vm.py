"""The guest's command line, its boot plan and the messages on its line, without booting one."""

from __future__ import annotations

import subprocess

import pytest

from labcontainer.cli import vm
from labcontainer.errors import UnsupportedError
from labcontainer.vm import boot, frames, uml

BOOT = boot.Boot("/usr/bin/linux.uml", ("/bin/busybox", "sh"), "/usr/bin/python3", "64M", ("/a b",))


def test_the_command_line_names_descriptors_and_no_file() -> None:
    words = boot.command_line(BOOT, 5, 6)
    assert words[:2] == ["/usr/bin/linux.uml", "mem=64M"]
    assert {"ssl0=fd:5", "ubd0r=/proc/self/fd/6", "rootfstype=hostfs", "ro"} <= set(words)
    assert words[-4:] == ["init=/bin/busybox", "--", "sh", "/dev/ubda"]


def test_the_overlay_is_the_root_before_anything_is_shared() -> None:
    what = [step.what for step in boot.plan(BOOT)]
    assert what.index("the overlay module") < what.index("host below, memory above")
    assert what.index("make it the root (pivot_root(2), NOTES)") < what.index("/a b of the host")
    assert what.index("temporary files") < what.index("/a b of the host")
    assert "agent.py" in str(boot.plan(BOOT)[-1])


def test_a_step_prints_as_one_line() -> None:
    assert all("\n" not in str(step) for step in boot.plan(BOOT))


def test_the_script_fills_sectors_and_is_shell() -> None:
    text = boot.script(BOOT)
    assert len(text) % boot.SECTOR == 0
    subprocess.run(["sh", "-n"], input=text, check=True)
    assert b"mount -t hostfs -o '/a b' share '/a b'" in text


def test_only_what_must_be_there_ends_the_boot() -> None:
    lines = boot.script(BOOT).decode().splitlines()
    assert next(line for line in lines if "pivot_root . ." in line).endswith("exit 1; }")
    assert next(line for line in lines if "modprobe -q -a" in line).endswith("|| :")


def test_a_program_is_its_words() -> None:
    argv, env = ("sh", "-c", "", "a=b\n\udcff"), {"A": "1=2", "EMPTY": ""}
    data = frames.pack_program(1000, "/a b", argv, env)
    assert frames.unpack_program(data) == (1000, "/a b", list(argv), env)
    assert frames.unpack_program(frames.pack_program(0, "/", ("id",), {})) == (0, "/", ["id"], {})
    with pytest.raises(ValueError, match="NUL"):
        frames.pack_program(0, "/", ("a\0b",), {})


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_messages_survive_any_cut(size: int) -> None:
    sent = [(frames.STDOUT, 1, b"x" * 300), (frames.EXIT, 2, b"0"), (frames.STDIN, 3, b"")]
    data = b"".join(frames.pack(*one) for one in sent)
    reader = frames.Reader()
    got = [one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])]
    assert got == sent


@pytest.mark.parametrize(
    ("words", "user", "command"),
    [
        (["run", "--user", "7", "--", "id", "-u"], 7, ["id", "-u"]),
        (["run", "--", "sh", "-c", "x", "--", "--user", "9"], 0,
         ["sh", "-c", "x", "--", "--user", "9"]),
        (["run", "true"], 0, ["true"]),
        (["plan", "--user", "3"], 3, []),
    ],
)  # fmt: skip
def test_what_comes_after_two_dashes_is_the_programs(
    words: list[str], user: int, command: list[str]
) -> None:
    args = vm.parse(words)
    assert (args.user, args.command) == (user, command)


def test_another_machine_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(UnsupportedError, match="riscv64"):
        uml.kernel()


def test_the_cause_is_the_line_that_says_it() -> None:
    guest = uml.Guest(uml.Machine())
    guest.console += b"noise\nlabcontainer: boot failed at: x\nKernel panic - not syncing\n more\n"
    assert guest._cause() == "labcontainer: boot failed at: x"
