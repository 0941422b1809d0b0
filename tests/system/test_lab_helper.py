"""The helper process: what it isolates, what it tells, and that nothing outlives the kernel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcontainer.errors import UsageError
from labcontainer.kernel import syscalls
from labcontainer.lab import helper
from tests.system.lab_home import eventually

pytestmark = pytest.mark.requires("sandbox")
KINDS = ("mnt", "pid", "uts", "ipc", "net")
LIMIT = 7


@pytest.fixture(autouse=True)
def fresh_helper() -> Iterator[None]:
    helper.restart()
    helper._State.aliases.clear()
    yield
    helper.restart()


def namespaces() -> dict[str, str]:
    kinds = ("mnt", "pid", "uts", "ipc", "net", "user")
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}


def write_then_list(name: str) -> list[str]:
    with open(f"/mnt/{name}", "w") as file:
        file.write(name)
    return sorted(os.listdir("/mnt"))


def rename_machine(name: str) -> str:
    syscalls.sethostname(name)
    return os.uname().nodename


def doubled(number: int) -> int:
    return number * LIMIT


def uses_another() -> int:
    return doubled(6)


def wait() -> None:
    time.sleep(60)


def test_a_job_stands_in_namespaces_apart() -> None:
    here, there = namespaces(), helper.run(namespaces)
    assert all(there[kind] != here[kind] for kind in KINDS)
    assert (there["user"] == here["user"]) == (helper.mode() == "root")
    assert namespaces() == here


def test_what_one_job_makes_the_next_one_finds_and_nobody_else() -> None:
    before = os.listdir("/mnt")
    assert helper.run(write_then_list, "one") == ["one"]
    assert helper.run(write_then_list, "two") == ["one", "two"]
    assert os.listdir("/mnt") == before
    helper.restart()
    assert helper.run(write_then_list, "three") == ["three"]


def test_an_error_is_one_line_and_its_number() -> None:
    result = helper.attempt(rename_machine, "mine", as_user=True)
    assert result.errno == 1
    assert result.error == (
        "PermissionError: [Errno 1] Operation not permitted: \"sethostname('mine', 4)\""
    )


def test_an_ordinary_user_renames_a_namespace_of_its_own() -> None:
    assert helper.run(rename_machine, "mine", namespaces=("user", "uts"), as_user=True) == "mine"
    assert helper.run("import os; print(os.uname().nodename)") is None
    assert helper.attempt("import os\nprint(os.uname().nodename)").output == "lab\n"


def test_as_user_is_user_1000_without_capabilities() -> None:
    code = "print(open('/proc/self/status').read())\nimport os; print(os.getuid(), os.getgid())"
    text = helper.attempt(code, as_user=True).output
    assert "CapEff:\t0000000000000000" in text
    assert text.endswith("1000 1000\n")


def test_the_first_process_of_a_pid_namespace_is_number_1() -> None:
    code = "import os; print(os.getpid(), sorted(n for n in os.listdir('/proc') if n.isdigit()))"
    assert helper.attempt(code, namespaces=("pid", "mnt")).output == "1 ['1']\n"


def test_what_a_function_refers_to_goes_with_it() -> None:
    assert helper.run(uses_another) == 42


def test_a_lambda_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="write it with def"):
        helper.run(lambda: 1)


def test_output_is_one_transcript(capsys: pytest.CaptureFixture[str]) -> None:
    helper.run("import os, sys\nprint('a')\nprint('b', file=sys.stderr)\nos.system('echo c')\n1/0")
    told = capsys.readouterr()
    assert told.out == "a\nb\nc\nZeroDivisionError: division by zero\n"
    assert told.err == ""


def test_shell_tells_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert helper.shell("echo hi\nexit 3") == 3
    assert helper.shell("kill -9 $$") == -9
    out = capsys.readouterr().out
    assert out == "$ echo hi\n$ exit 3\nhi\n[exit status 3]\n$ kill -9 $$\n[killed by SIGKILL]\n"


def test_a_job_that_does_not_end_is_ended_with_what_it_started() -> None:
    result = helper.attempt("import os\nos.system('sleep 61')", timeout=0.5)
    assert result.timed_out
    code = "import os\nprint(sum(p.isdigit() for p in os.listdir('/proc')))"
    assert eventually(lambda: int(helper.attempt(code).output) <= 2)


def test_a_fork_that_comes_back_does_not_answer_twice() -> None:
    output = helper.attempt("import os\nos.fork()\nprint('x')").output
    assert output.replace("\n", "") in ("x", "xx")
    assert helper.run(doubled, 1) == LIMIT


def test_namespaces_get_stable_names() -> None:
    code = "import os; print(os.readlink('/proc/self/ns/uts'))"
    first = helper.stable(helper.attempt(code).output)
    other = helper.stable(helper.attempt(code, namespaces=("uts",)).output)
    assert (first, other) == ("uts#1\n", "uts#2\n")
    assert helper.stable("at 0x7f3b1c2d9e10") == "at 0x…"
    assert helper.alias("pid", 4711) == helper.alias("pid", "4711") == "pid#1"


def test_a_spawned_process_lives_until_its_block_ends() -> None:
    with helper.spawn(wait, namespaces=("pid",)) as process:
        look = f"import os; print(os.path.exists('/proc/{process.pid}'))"
        assert helper.attempt(look).output == "True\n"
    assert helper.attempt(look).output == "False\n"


def test_an_interrupted_kernel_starts_a_new_helper() -> None:
    helper.run(doubled, 1)
    process = getattr(helper._State.connection, "_helper").process  # noqa: B009  (mypy: None)
    process.kill()
    process.wait()
    with pytest.raises(Exception, match="helper process"):
        helper.run(doubled, 1)
    assert helper.run(doubled, 1) == LIMIT


# --- the end of the kernel ----------------------------------------------------------------------

KERNEL = '''
import os, time
from labcontainer.lab import helper

stay = """
import os, time
os.makedirs("/mnt/deep", exist_ok=True)
os.system("mount -t tmpfs lc-left /mnt/deep")
if os.fork() == 0:
    os.setsid()
time.sleep(600)
"""
helper.spawn(stay)
helper.spawn(stay, namespaces=("pid", "mnt"))
import threading
threading.Thread(target=helper.command, args=("sleep", "600"), daemon=True).start()
threading.Thread(target=helper.run, args=("import time; time.sleep(600)",), daemon=True).start()
print("up", flush=True)
time.sleep(600)
'''


def processes_with(mark: str) -> list[int]:
    """Every live process that inherited an environment variable."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_kernel(uid: int, number: int) -> None:
    if os.geteuid() and uid != os.geteuid():
        uid = os.geteuid()
    mark = f"LC_MARK={uuid.uuid4().hex}"
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    kernel = subprocess.Popen(
        [*(drop if uid != os.geteuid() else []), sys.executable, "-c", KERNEL],
        stdout=subprocess.PIPE,
        env={**os.environ, mark.partition("=")[0]: mark.partition("=")[2], "HOME": "/tmp",
             "LABCONTAINER_HOME": "/tmp", "LABCONTAINER_SEED": "course"},
    )  # fmt: skip
    assert kernel.stdout is not None
    assert kernel.stdout.readline() == b"up\n"
    # The kernel, the starter and PID 1; two and three of `stay`; one of `command`, one of `run`.
    assert eventually(lambda: len(processes_with(mark)) >= 10), processes_with(mark)
    os.kill(kernel.pid, number)
    kernel.wait()
    kernel.stdout.close()
    assert eventually(lambda: processes_with(mark) == []), processes_with(mark)
    assert "lc-left" not in Path("/proc/self/mountinfo").read_text()


def test_a_command_line_may_be_one_text(capsys: pytest.CaptureFixture[str]) -> None:
    helper.command("echo 'two words' one")
    helper.command("echo", "two words", "one")
    said = capsys.readouterr().out.split("$ ")
    assert said[1].strip() == said[2].strip() == "echo 'two words' one\ntwo words one"


def test_the_first_cell_makes_the_world_anew() -> None:
    """All cells run a second time find nothing of the first, and print the same names."""
    first = helper.attempt(os.makedirs, "/mnt/built").error, helper.alias("thing", 41)
    helper.begin()
    assert (helper.attempt(os.makedirs, "/mnt/built").error, helper.alias("thing", 42)) == first
