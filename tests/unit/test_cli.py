"""The command line: words to requests, errors to one line and an exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labcontainer import errors
from labcontainer.cli import completion, create, groups, main, run
from labcontainer.engine import request


def asked(*given: str) -> request.Request:
    found = run.parse(list(given))
    assert isinstance(found, request.Request)
    return found


# --- the cut at the image's name --------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "image", "command"),
    [
        (["busybox"], "busybox", ()),
        (["busybox", "ls", "-l"], "busybox", ("ls", "-l")),
        (["--rm", "busybox", "--", "x"], "busybox", ("--", "x")),
        (["--", "busybox", "--rm"], "busybox", ("--rm",)),
        (["-it", "busybox", "-it"], "busybox", ("-it",)),
        (
            ["-m", "64m", "busybox", "sh", "-c", "echo --help"],
            "busybox",
            ("sh", "-c", "echo --help"),
        ),
        (["--name", "x", "./root", ""], "./root", ("",)),
    ],
)
def test_all_after_the_image_is_the_programs(
    given: list[str], image: str, command: tuple[str, ...]
) -> None:
    found = asked(*given)
    assert (found.image, found.command) == (image, command)


@pytest.mark.parametrize(
    "given",
    [["-e", "A=1"], ["-eA=1"], ["-e=A=1"], ["--env", "A=1"], ["--env=A=1"], ["-ie", "A=1"]],
)
def test_every_way_to_write_a_flag(given: list[str]) -> None:
    assert asked(*given, "busybox").env == ("A=1",)


@pytest.mark.parametrize(
    ("given", "tty"),
    [(["-t"], True), (["--tty"], True), (["--tty=false"], False), (["-t=0"], False), ([], False)],
)
def test_switches_take_a_truth(given: list[str], tty: bool) -> None:
    assert asked(*given, "busybox").tty is tty


def test_last_of_two_values_counts_and_lists_grow() -> None:
    found = asked("--name", "a", "--name=b", "-v", "/a:/a", "-v", "/b:/b", "busybox")
    assert found.name == "b"
    assert [one.target for one in found.volumes] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "run needs the name of an image"),
        (["--rm"], "run needs the name of an image"),
        (["--memory"], "flag --memory needs a value"),
        (["-m"], "flag -m needs a value"),
        (["--memroy", "1m", "busybox"], "unknown flag --memroy"),
        (["--mem", "1m", "busybox"], "unknown flag --mem"),
        (["-x", "busybox"], "unknown flag -x"),
        (["--rm=maybe", "busybox"], "invalid value 'maybe' for --rm"),
        (["-m", "lots", "busybox"], "invalid value 'lots' for --memory"),
        (["-m", "-1", "busybox"], "invalid value '-1' for --memory"),
        (["-m", "nan", "busybox"], "invalid value 'nan' for --memory"),
        (["-m", "inf", "busybox"], "invalid value 'inf' for --memory"),
        (["-m", "", "busybox"], "invalid value '' for --memory"),
        (["-m", "64mm", "busybox"], "invalid value '64mm' for --memory"),
        (["--memory-swap", "1g", "busybox"], "it needs --memory"),
        (["-m", "2g", "--memory-swap", "1g", "busybox"], "less than --memory"),
        (["-m", "1g", "--memory-reservation", "2g", "busybox"], "more than --memory"),
        (["--cpus", "0", "busybox"], "invalid value '0' for --cpus"),
        (["--cpus", "nan", "busybox"], "invalid value 'nan' for --cpus"),
        (["--cpus", "99999", "busybox"], "from 0.01 to"),
        (["--cpus", "1", "--cpu-quota", "1000", "busybox"], "can't be given together"),
        (["--cpuset-cpus", "0-", "busybox"], "invalid value '0-' for --cpuset-cpus"),
        (["--pids", "many", "busybox"], "invalid value 'many' for --pids"),
        (["--pids-limit", "-2", "busybox"], "invalid value '-2' for --pids-limit"),
        (["-e", "=x", "busybox"], "invalid value '=x' for --env"),
        (["-e", "", "busybox"], "invalid value '' for --env"),
        (["--env-file", "/no/such", "busybox"], "--env-file /no/such: No such file"),
        (["-w", "here", "busybox"], "invalid value 'here' for --workdir"),
        (["-v", "/a:b", "busybox"], "no absolute path"),
        (["-v", "/a:/", "busybox"], "can't be '/'"),
        (["-v", "/a:/b/..", "busybox"], "can't be '/'"),
        (["-v", "/a:/b:rx", "busybox"], "unknown option 'rx'"),
        (["-v", "/a:/b:ro:x", "busybox"], "it is SRC:DST"),
        (["--mount", "type=bind,source=/no/such,target=/x", "busybox"], "does not exist"),
        (["--mount", "type=bind,source=/tmp", "busybox"], "no absolute path"),
        (["--mount", "type=nfs,target=/x", "busybox"], "the type is bind or tmpfs"),
        (["--mount", "type=tmpfs,target=/x,colour=red", "busybox"], "unknown key 'colour'"),
        (["--tmpfs", "run", "busybox"], "no absolute path"),
        (["-p", "http", "busybox"], "invalid port: 'http'"),
        (["-p", "0:80", "busybox"], "invalid port: '0'"),
        (["-p", "80:70000", "busybox"], "invalid port: '70000'"),
        (["-p", "80:80/icmp", "busybox"], "must be tcp or udp"),
        (["-p", "1-2:80-82", "busybox"], "differ in length"),
        (["-p", "1.2.3:80:80", "busybox"], "invalid IP address"),
        (["--dns", "localhost", "busybox"], "no IP address"),
        (["--add-host", "db", "busybox"], "it is NAME:IP"),
        (["--ulimit", "files=1", "busybox"], "invalid value 'files=1' for --ulimit"),
        (["--ulimit", "nofile=2:1", "busybox"], "above the hard limit"),
        (["--sysctl", "x", "busybox"], "it is NAME=VALUE"),
        (["--device", "/dev/no-such", "busybox"], "does not exist"),
        (["--device", "/dev/null:/dev/x:rwz", "busybox"], "not of the letters"),
        (["--security-opt", "magic=1", "busybox"], "invalid value 'magic=1' for --security-opt"),
        (["--name", "-x", "busybox"], "invalid value '-x' for --name"),
        (["--name", "a/b", "busybox"], "invalid value 'a/b' for --name"),
        (["--hostname", "x" * 65, "busybox"], "at most 64 bytes"),
    ],
)
def test_bad_words_are_one_clear_line_and_125(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["run", *given]) == 125
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("labcontainer: ")
    assert said in err
    assert err.count("\n") == 1


# --- the words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("0", None),
        ("67108864", 64 << 20),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("64mb", 64 << 20),
        ("64MiB", 64 << 20),
        ("512k", 512 << 10),
        ("1.5g", 3 << 29),
        ("1t", 1 << 40),
        ("6291456b", 6 << 20),
    ],
)
def test_sizes(word: str, wanted: int | None) -> None:
    found = asked("-m", word, "busybox")
    assert found.memory == wanted
    assert found.memory_swap == (None if wanted is None else 2 * wanted)


def test_swap_without_limit() -> None:
    assert asked("-m", "1g", "--memory-swap", "-1", "busybox").memory_swap == -1


def test_cpus_are_a_quota_of_docker_s_period() -> None:
    found = asked("--cpus", "0.5", "busybox")
    assert (found.cpu_quota, found.cpu_period) == (50_000, 100_000)


def test_pids_has_two_names() -> None:
    assert asked("--pids", "64", "busybox").pids == 64
    assert asked("--pids-limit=64", "busybox").pids == 64


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HOST", "here")
    monkeypatch.delenv("NOT_THERE", raising=False)
    file = tmp_path / "env"
    file.write_text("# a comment\n\nA=file\nB=two words\nFROM_HOST\n")
    found = asked("--env-file", str(file), "-e", "A=word", "-e", "NOT_THERE", "-e", "E=", "busybox")
    assert found.env == ("A=word", "B=two words", "FROM_HOST=here", "E=")


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("80", [("", 0, 80, "tcp")]),
        ("8080:80", [("", 8080, 80, "tcp")]),
        ("53:53/udp", [("", 53, 53, "udp")]),
        ("127.0.0.1:8080:80", [("127.0.0.1", 8080, 80, "tcp")]),
        ("127.0.0.1::80", [("127.0.0.1", 0, 80, "tcp")]),
        ("[::1]:8080:80", [("::1", 8080, 80, "tcp")]),
        ("8000-8001:80-81", [("", 8000, 80, "tcp"), ("", 8001, 81, "tcp")]),
    ],
)
def test_ports(word: str, wanted: list[tuple[str, int, int, str]]) -> None:
    found = asked("-p", word, "busybox").ports
    assert [(p.host_ip, p.host_port, p.container_port, p.protocol) for p in found] == wanted


def test_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = asked("-v", "./data:/data:ro,rslave", "-v", "/fresh", "busybox").volumes
    assert found == (
        request.Volume(f"{tmp_path}/data", "/data", True, propagation="rslave", create=True),
        request.Volume("", "/fresh"),
    )


def test_mounts() -> None:
    found = asked(
        *("--mount", "type=bind,src=/tmp,dst=/x,ro"),
        *("--mount", "type=tmpfs,target=/y,tmpfs-size=1m,tmpfs-mode=700"),
        *("--tmpfs", "/z:size=2m"),
        "busybox",
    )
    assert found.volumes == (request.Volume("/tmp", "/x", True),)
    assert [one.target for one in found.tmpfs] == ["/z", "/y"]
    assert found.tmpfs[0].options[-1] == "size=2m"
    assert found.tmpfs[1].options[-2:] == ("size=1048576", "mode=700")


def test_security_options() -> None:
    found = asked(
        "--security-opt", "no-new-privileges", "--security-opt=seccomp=unconfined", "host"
    )
    assert found.no_new_privileges
    assert found.seccomp == "unconfined"


# --- the edge ---------------------------------------------------------------------------------


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("labcontainer version ")
    assert main.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {command} " in shown for command in main.COMMANDS)


@pytest.mark.parametrize("given", [["nope"], ["--nope"], []])
def test_unknown_command(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(given) == 2
    assert capsys.readouterr().out == ""


def test_run_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["run", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{flag.long}" in shown for flag in (*run.FLAGS, *create.FLAGS))


def test_long_names_are_the_commands() -> None:
    assert groups.shortened(["container", "ls", "-a"]) == ["ps", "-a"]
    assert groups.shortened(["image", "build", "."]) == ["build", "."]
    for words in (["container", "prune"], ["container"], ["image", "ls"], ["container", "nosuch"]):
        assert groups.shortened(words) == words
    assert {one for group in groups.SHORT.values() for one in group.values()} <= set(main.COMMANDS)


def test_completion_of_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services: {web: {image: x}, worker: {image: x, profiles: [a]}, db: {image: x}}"
    )
    (tmp_path / "other.yaml").write_text("services: {third: {image: x}}")
    monkeypatch.chdir(tmp_path)
    assert completion.candidates(["compose", "stop", "w"]) == ["web", "worker"]
    assert completion.candidates(["compose", "-f", "other.yaml", "up", ""]) == ["third"]
    assert completion.candidates(["compose", "logs", "-f", "d"]) == ["db"]
    (tmp_path / "compose.yaml").write_text("no: [")
    assert completion.candidates(["compose", "stop", "w"]) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["container", "re"], {"rename", "restart"}),
        (["container", "ls", "--fo"], {"--format"}),
        (["run", "--det"], {"--detach", "--detach-keys"}),
        (["compose", "up", "--no-d"], {"--no-deps"}),
        (["compose", "sc"], {"scale"}),
        (["sea"], {"search"}),
    ],
)
def test_completion_knows_all_of_them(words: list[str], found: set[str]) -> None:
    assert set(completion.candidates(words)) == found


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.LabError("one\ntwo"), "one two"),
        (OSError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (
            OSError(1, "Operation not permitted", "mount('a')"),
            "mount('a'): Operation not permitted",
        ),
        (OSError("plain"), "plain"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str) -> None:
    assert main.one_line(error) == line


def test_an_error_tells_what_undoing_it_met() -> None:
    error = errors.LabError("first")
    error.add_note("and taking it back failed: second")
    assert main.one_line(error) == "first; and taking it back failed: second"


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    from labcontainer.kernel import trace

    try:
        assert main.main(["--debug", "tag", "no-such-image", "x"]) == 1
    finally:
        trace.watchers.clear()
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("labcontainer: No such image: no-such-image:latest\n")


def test_our_own_fault_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_words: list[str]) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr(run, "parse", broken)
    assert main.main(["run", "busybox"]) == 125
    err = capsys.readouterr().err
    assert err.startswith("labcontainer: a fault of labcontainer's own: ValueError: two lines;")
    assert err.count("\n") == 1
    with pytest.raises(ValueError, match="two"):
        main.main(["--debug", "run", "busybox"])
    from labcontainer.kernel import trace

    trace.watchers.clear()


def test_closed_pipe_is_no_error_message(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "labcontainer.cli.main", "image", "from-host", "--plan"]
    read, write = os.pipe()
    os.close(read)  # before it begins: it must not have said all already
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_run_is_imported_without_argparse_and_json() -> None:
    """Every start of a container pays for what the command line imports."""
    code = (
        f"import sys; sys.path.insert(0, {os.getcwd()!r});"
        "from labcontainer.cli import main, run;"
        "run.parse(['-m', '64m', '-e', 'A=1', 'busybox', 'true']);"
        "print(sorted({'argparse', 'json', 're', 'typing', 'dataclasses', 'subprocess'}"
        " & set(sys.modules)))"
    )
    words = [sys.executable, "-I", "-S", "-c", code]
    shown = subprocess.run(words, capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
