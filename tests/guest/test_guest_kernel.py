"""A Jupyter kernel inside a user-mode kernel, as the lab's front end meets it.

The learner is uid 1000 without capabilities, with no_new_privs and Docker's default seccomp filter.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labcontainer.errors import UnsupportedError
from labcontainer.lab import guest_kernel
from labcontainer.vm import kernels as kernels_of_qemu
from tests.notebooks.learner import HANGS, NOTEBOOKS, ROOT, Learner, learner, nbval
from tests.vm.guests import kernels
from tests.vm.test_lab import CONFINED, UID

UML_KERNEL, QEMU_KERNEL = "labcontainer-uml", "labcontainer-qemu"
pytestmark = [pytest.mark.requires("uml", "seccomp"), pytest.mark.timeout(HANGS + 60)]


@contextmanager
def installed(place: Path, machine: str, name: str, title: str) -> Iterator[str]:
    """The kernel below a prefix: what JUPYTER_PATH must say for it to be found."""
    for folder in (place, place.parent):
        folder.chmod(0o755)
    command = [sys.executable, "-m", "labcontainer.cli.main", "lab", "kernel"]
    said = subprocess.run(
        [*command, "install", "--prefix", str(place), "--machine", machine],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    folder = place / f"share/jupyter/kernels/{name}"
    assert said.stdout == f"{folder}: {title}\n"
    written = json.loads((folder / "kernel.json").read_text())
    assert written == guest_kernel.spec(machine=machine, title=title)
    yield str(place / "share/jupyter")
    subprocess.run([*command, "remove", "--prefix", str(place)], check=True, cwd=ROOT)
    assert not folder.exists()


@pytest.fixture(scope="module")
def spec_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("prefix")
    with installed(place, "auto", UML_KERNEL, "labcontainer (user-mode Linux)") as path:
        yield path


@pytest.fixture(scope="module")
def qemu_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        kernels_of_qemu.find("9p")
    except UnsupportedError as error:
        pytest.skip(str(error))
    with installed(
        tmp_path_factory.mktemp("prefix"), "qemu", QEMU_KERNEL, "labcontainer (QEMU)"
    ) as path:
        yield path


def confined(student: Learner, path: str, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    words = [
        "env",
        f"JUPYTER_PATH={path}",
        f"TMPDIR={student.home}",
        sys.executable,
        "-c",
        CONFINED,
        *map(str, argv),
    ]
    return student.run(words)


@pytest.fixture(params=["spec_path", "qemu_path"], ids=["uml", "qemu"])
def kernel(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The name of a kernel, and JUPYTER_PATH."""
    name = UML_KERNEL if request.param == "spec_path" else QEMU_KERNEL
    return name, str(request.getfixturevalue(request.param))


# A front end: what it sees is printed as lines of JSON.
FRONT_END = """
import json, sys, time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name=KERNEL)
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=300)

def run(code, then=None):
    # `then` is called at the first output
    seen = []
    def hear(message):
        content = message["content"]
        if message["msg_type"] in ("stream", "error"):
            if then and not seen:
                then()
            seen.append(content.get("text") or content["ename"])
    client.execute_interactive(code, timeout=300, output_hook=hear)
    print(json.dumps("".join(seen)), flush=True)
"""
TALKS = (
    FRONT_END
    + """
run("import os; print(os.uname().release, os.getuid(), os.getcwd())")
run("print(open('/proc/self/status').read().split('CapEff:')[1].split()[0])")
run("print('x' * 3_000_000)")
run("print(len(%r))" % ("y" * 300_000))
run("open('saved', 'w').write('kept'); before = 1")
run("import time; print('begun', flush=True); time.sleep(100)", then=manager.interrupt_kernel)
manager.restart_kernel(now=False)
client.wait_for_ready(timeout=300)
run("print('before' in globals(), open('saved').read())")
manager.shutdown_kernel()
print(json.dumps(manager.is_alive()))
"""
)


def faults(stderr: str) -> list[str]:
    """The lines of tracebacks that lead through this package. ipykernel prints one of its own now
    and then as it ends: its control thread says goodbye on a socket that is closed already."""
    return [line for line in stderr.splitlines() if f'File "{ROOT}/labcontainer/' in line]


def test_cells_interrupt_restart_and_shutdown(kernel: tuple[str, str]) -> None:
    name, path = kernel
    with learner(UID) as student:
        code = f"import os; os.chdir({str(student.home)!r}); KERNEL = {name!r}\n{TALKS}"
        done = confined(student, path, sys.executable, "-c", code)
        assert done.returncode == 0, done.stderr[-3000:]
        assert not faults(done.stderr), done.stderr[-3000:]
        said = [json.loads(line) for line in done.stdout.splitlines()]
        release, uid, where = said[0].split()
        assert release != os.uname().release
        assert (uid, where) == ("0", str(student.home))
        assert int(said[1], 16) & 1 << 21, "CAP_SYS_ADMIN, in there"
        assert said[2] == "x" * 3_000_000 + "\n"
        assert said[3] == "300000\n"
        assert said[4:6] == ["", "begun\nKeyboardInterrupt"]
        assert said[6] == "False kept\n", "a new process, and work that is saved outside"
        assert said[7] is False
        made = student.home / "saved"
        assert (made.read_text(), made.stat().st_uid) == ("kept", UID)
        assert not kernels(student.home)


HOLDS = (
    FRONT_END
    + """
run("pass")
print(manager.provisioner.pid, flush=True)
time.sleep(100)
"""
)


@pytest.mark.parametrize(
    ("kernel", "killed"),
    [("spec_path", "the kernel"), ("spec_path", "Jupyter"), ("qemu_path", "Jupyter")],
    indirect=["kernel"],
)
def test_nothing_is_left_after_kill_9(kernel: tuple[str, str], killed: str) -> None:
    """Killed is what Jupyter started, or Jupyter itself, which can then end nothing."""
    name, path = kernel
    with learner(UID) as student:
        drop = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        argv = [*(drop if os.geteuid() == 0 else []), sys.executable, "-c",
                f"KERNEL = {name!r}\n{HOLDS}"]  # fmt: skip
        environment = os.environ | {
            "JUPYTER_PATH": path, "LABCONTAINER_HOME": str(student.home),
            "HOME": str(student.home), "TMPDIR": str(student.home),
            "JUPYTER_RUNTIME_DIR": str(student.home / ".runtime"),
        }  # fmt: skip
        front_end = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     text=True, cwd=student.home, env=environment)  # fmt: skip
        try:
            assert front_end.stdout is not None
            assert front_end.stdout.readline() == '""\n'
            pid = int(front_end.stdout.readline())
            assert kernels(student.home)
            os.kill(pid if killed == "the kernel" else front_end.pid, signal.SIGKILL)
            ends = time.monotonic() + 60
            while kernels(student.home) and time.monotonic() < ends:
                time.sleep(0.1)
            assert not kernels(student.home)
        finally:
            front_end.kill()
            front_end.communicate()


# --- the notebooks --------------------------------------------------------------------------------


def run_there(
    spec_path: str, path: Path, kernel: str = UML_KERNEL
) -> subprocess.CompletedProcess[str]:
    words = [word for word in nbval(path) if word != "--nbval-current-env"]
    with learner(UID) as student:
        return confined(student, spec_path, *words, f"--nbval-kernel-name={kernel}")


# The later ones take longer, so they begin.
@pytest.mark.parametrize("path", NOTEBOOKS[::-1], ids=lambda path: path.stem)
def test_every_notebook_has_the_same_outputs_there(spec_path: str, path: Path) -> None:
    done = run_there(spec_path, path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_a_notebook_has_the_same_outputs_in_qemu(qemu_path: str) -> None:
    (path,) = [path for path in NOTEBOOKS if path.stem == "02_chroot"]
    done = run_there(qemu_path, path, QEMU_KERNEL)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
