"""`labcontainer up`: what is printed and run, on systems that this one pretends to be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from labcontainer.cli import main, up

WISH = up.Wish("/course", "/home/me/my work", 9000, "t0ken", "2g")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The programs that there are."""
    programs: set[str] = set()
    monkeypatch.setattr("shutil.which", lambda name: name if name in programs else None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return programs


@pytest.mark.parametrize(
    ("system", "programs", "way"),
    [
        ("Darwin", {"docker", "limactl"}, "docker"),
        ("Darwin", {"limactl"}, "lima"),
        ("Windows", {"podman", "wsl"}, "podman"),
        ("Windows", {"wsl"}, "wsl"),
        ("Linux", {"podman"}, "podman"),
    ],
)
def test_the_first_that_is_found(
    there: set[str], system: str, programs: set[str], way: str
) -> None:
    there |= programs
    assert up.plan(WISH, system).way == way


def test_a_whole_machine_first_on_a_processor_without_user_mode_linux(
    there: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there |= {"docker", "limactl"}
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert up.plan(WISH, "Darwin").way == "lima"
    assert up.plan(WISH, "Darwin", "docker").way == "docker"


def test_container_keeps_work_outside_and_answers_here_alone(there: set[str]) -> None:
    there.add("docker")
    found = up.plan(WISH, "Darwin")
    build, run = found.commands
    assert build[:2] == ("docker", "build") and build[-1] == "/course"
    assert run[run.index("--volume") + 1] == "/home/me/my work:/home/jovyan/work"
    assert run[run.index("--publish") + 1] == "127.0.0.1:9000:8888"
    assert "LABCONTAINER_WORK=/home/jovyan/work" in run and "JUPYTER_TOKEN=t0ken" in run
    assert not {"--privileged", "--cap-add", "--security-opt"} & set(run)
    assert found.address == "http://127.0.0.1:9000/lab?token=t0ken"


def test_user_of_the_image_is_this_one_on_linux(
    there: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there |= {"docker", "podman"}
    monkeypatch.setattr("os.getuid", lambda: 1234)
    assert "NB_UID=1234" in up.plan(WISH, "Linux").commands[0]
    assert "keep-id" in up.plan(WISH, "Linux", "podman").commands[-1]
    assert not any("NB_UID" in word for word in up.plan(WISH, "Darwin").commands[0])


def test_whole_machines_run_make_lab(there: set[str]) -> None:
    there |= {"limactl", "wsl"}
    start, inside = up.plan(WISH, "Darwin").commands
    assert start[:2] == ("limactl", "start") and "--mount-writable" in start
    assert "make lab" in inside[-1] and "LABCONTAINER_WORK='/home/me/my work'" in inside[-1]
    (inside,) = up.plan(WISH, "Windows").commands
    assert inside[0] == "wsl" and "--port 9000" in inside[-1] and "t0ken" in inside[-1]
    assert subprocess.run(["sh", "-nc", inside[-1]], check=False).returncode == 0


@pytest.mark.parametrize(("system", "fix"), [("Darwin", "lima"), ("Windows", "wsl --install")])
def test_nothing_there_is_one_line_that_says_what_to_install(
    there: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    system: str, fix: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("platform.system", lambda: system)
    assert main.main(["up"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and fix in said


def test_unknown_system(there: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    assert main.main(["up"]) == 1


class Told:
    """Stands for subprocess.run: remembers, and answers with statuses by the first words."""

    def __init__(self, **answers: tuple[int, bytes]) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.answers = answers

    def __call__(self, command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[bytes]:
        self.ran.append(command)
        status, output = self.answers.get("_".join(command[:3]), (0, b""))
        return subprocess.CompletedProcess(command, status, output)


@pytest.fixture
def run_it(
    there: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[set[str], Path]:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    return there, tmp_path / "work"


def test_printed_only_until_run_is_said(
    run_it: tuple[set[str], Path], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (programs, work), told = run_it, Told()
    programs.add("docker")
    monkeypatch.setattr("subprocess.run", told)
    assert main.main(["up", "--work", str(work)]) == 0
    assert told.ran == [] and not work.exists()
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("docker build ") and second.startswith("docker run ")
    assert third.startswith("# then open http://127.0.0.1:8888/lab?token=")
    assert main.main(["up", "--run", "--work", str(work)]) == 0
    assert [one[:2] for one in told.ran] == [("docker", "build"), ("docker", "run")]
    assert work.is_dir()


def test_a_failed_step_is_the_last(
    run_it: tuple[set[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (programs, work), told = run_it, Told()
    programs.add("docker")
    monkeypatch.setattr("subprocess.run", told)
    told.answers["docker_build_--tag"] = (7, b"")
    assert main.main(["up", "--run", "--work", str(work)]) == 7
    assert [one[:2] for one in told.ran] == [("docker", "build")]


def test_machine_that_was_made_before_is_started(
    run_it: tuple[set[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (programs, work), told = run_it, Told(podman_machine_inspect=(0, b"[{}]"))
    programs.add("podman")
    monkeypatch.setattr("subprocess.run", told)
    assert main.main(["up", "--run", "--work", str(work)]) == 0
    verbs = [one[1:3] for one in told.ran]
    assert ("machine", "start") in verbs and ("machine", "init") not in verbs
