"""What all tests share: markers that ask the doctor, a clean machine, a root file system, a user.

@pytest.mark.requires("root", "overlay")    skips with the doctor's reason; a word that the doctor
                                            does not know is a program that must be on the PATH
@pytest.mark.leaves("cgroups", why="…")     a module whose foreign engine does not clean up
rootfs                                      a small busybox root, the same for the whole session
as_user(argv, uid=1000, …)                  runs a command as an ordinary user
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from labcontainer.lab import doctor
from tests import machine

ROOT = Path(__file__).resolve().parent.parent
APPLETS = (
    "sh ash cat cp chmod chown date dd df echo env expr false find free grep head hostname id ip "
    "kill ln ls mkdir mknod mount mv nc ping ps pwd readlink rm rmdir sed seq sleep sort stat stty "
    "sync tail tee test time touch tr true tty umount uname vi wc wget which whoami xargs yes"
).split()


# --- options, markers, skips ---------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("labcontainer")
    group.addoption(
        "--no-unlisted-skips",
        action="store_true",
        default=bool(os.environ.get("CI")) and os.geteuid() == 0,
        help="a skip that --allowed-skips does not name fails the run (CI as root: always)",
    )
    group.addoption(
        "--allowed-skips",
        type=Path,
        default=ROOT / "tests/allowed_skips.txt",
        help="patterns of tests that may be skipped, one a line, each with its reason",
    )
    group.addoption(
        "--whole-machine",
        action="store_true",
        default=bool(os.environ.get("CI")),
        help="nothing else runs here: any change of the machine is the tests' own (CI: always)",
    )
    group.addoption(
        "--one-processor",
        action="store_true",
        help="each worker, and what its tests start, stays on a processor of its own",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A temporary directory of this run's own, which an ordinary user may pass through.

    pytest's own place is shared by all runs of a user, and each closes it (0700) when it begins:
    a test that works as another user in another run then fails.
    """
    _hear_interrupts()
    if config.option.one_processor and _is_worker(config):
        _stay_on_one_processor(int(config.workerinput["workerid"].removeprefix("gw")))  # type: ignore[attr-defined]
    if config.option.basetemp is None or _is_worker(config):
        for path in Path(tempfile.gettempdir()).glob("pytest-lc-*"):
            if not Path("/proc", path.name.rpartition("-")[2]).exists():
                shutil.rmtree(path, ignore_errors=True)  # of a run that was killed
        config.option.basetemp = Path(tempfile.gettempdir(), f"pytest-lc-{os.getpid()}")


def _stay_on_one_processor(worker: int) -> None:
    """Two user-mode kernels that begin on the same processor would share it to their ends."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[worker % len(allowed)]})


def _hear_interrupts() -> None:
    """A shell that starts the tests in the background has Ctrl-C ignored, and all programs that the
    tests start would inherit that."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            own = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, own)


_skips: list[tuple[str, str]] = []
_changed: list[str] = []  # what workers, all together, have left behind


def pytest_runtest_setup(item: pytest.Item) -> None:
    names = [str(name) for mark in item.iter_markers("requires") for name in mark.args]
    for name in names:
        ok, reason = fact(name)
        if not ok:
            pytest.skip(f"{name}: {reason}")


def fact(name: str) -> tuple[bool, str]:
    """Whether this machine has something, and the doctor's reason."""
    if name in doctor.NAMES:
        return doctor.probe(name)
    return bool(shutil.which(name)), f"there is no program {name}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skips.append((report.nodeid, reason.removeprefix("Skipped: ")))


def allowed_skips(path: Path) -> list[str]:
    """The patterns of the list; behind each stands why."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split("  #")[0].strip() for line in lines if line and not line.startswith("#")]


def unlisted(config: pytest.Config) -> list[tuple[str, str]]:
    """Skips that the list does not name."""
    allowed = allowed_skips(config.getoption("--allowed-skips"))
    return [skip for skip in _skips if not any(fnmatch.fnmatch(skip[0], one) for one in allowed)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == 0:  # what tests wrote is of use only where one failed
        shutil.rmtree(session.config.option.basetemp, ignore_errors=True)
    wanted = session.config.getoption("--no-unlisted-skips")
    if exitstatus == 0 and wanted and unlisted(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _changed:
        terminalreporter.section("the test run left the machine changed", red=True)
        terminalreporter.write_line("\n".join(_changed))
    if config.getoption("--no-unlisted-skips") and unlisted(config):
        terminalreporter.section("skips that tests/allowed_skips.txt does not name", red=True)
        for nodeid, reason in unlisted(config):
            terminalreporter.write_line(f"{nodeid}: {reason}")


# --- the clean machine ---------------------------------------------------------------------------


def _left_behind(before: machine.Facts, kinds: Sequence[str]) -> list[str]:
    """What differs from before; the kernel takes some things away a moment after the call."""
    ends = time.monotonic() + 20
    while left := machine.difference(before, machine.look(), kinds):
        if time.monotonic() > ends:
            break
        time.sleep(0.1)
    return left


OWN = ["descriptors", "processes"]  # what is known to be of one process's making
EVERYTHING = [*OWN, "mounts", "cgroups", "links", "rules", "files", "settings"]


def _kinds(config: pytest.Config) -> list[str]:
    # On a machine that others use too, and beside other workers (pytest-xdist), only what carries
    # our mark can be blamed on a test.
    alone = config.getoption("--whole-machine") and not _is_worker(config)
    return EVERYTHING if alone else OWN


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Where workers share the tests out among them, the machine is looked at around all of them."""
    spread = getattr(session.config.option, "numprocesses", None) and not _is_worker(session.config)
    before = machine.look() if spread else {}
    found = yield
    if spread and session.config.getoption("--whole-machine"):
        left = _left_behind(before, [kind for kind in EVERYTHING if kind not in OWN])
        if left:
            _changed.extend(left)
            session.testsfailed += 1
    return found


@pytest.fixture(scope="session", autouse=True)
def clean_machine_after_all(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The machine at the end of the run is the machine at its beginning."""
    os.environ.setdefault(machine.MARK, uuid.uuid4().hex)
    before = machine.look()
    yield
    left = _left_behind(before, _kinds(request.config))
    if left:
        pytest.fail("the test run left the machine changed:\n" + "\n".join(left), pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def clean_machine(request: pytest.FixtureRequest, clean_machine_after_all: None) -> Iterator[None]:
    """The machine after a module is the machine before it, but for what the module declares."""
    before = machine.look()
    yield
    declared = {kind for mark in request.node.iter_markers("leaves") for kind in mark.args}
    kinds = [kind for kind in _kinds(request.config) if kind not in declared]
    left = _left_behind(before, kinds)
    if left:
        name = request.node.name
        pytest.fail(f"{name} left the machine changed:\n" + "\n".join(left), pytrace=False)


# --- what system tests share ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def rootfs(clean_machine_after_all: None) -> Iterator[Path]:
    """A busybox root file system that any user may read; tests must not write to it."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox: there is no program busybox; fix: apt-get install busybox-static")
    top = Path(tempfile.mkdtemp(prefix="busybox-root-"))
    top.chmod(0o755)
    try:
        make_root(top, busybox)
        yield top
    finally:
        shutil.rmtree(top)


def make_root(top: Path, busybox: str) -> None:
    """Busybox with its links, the files that name users, and the directories mounts go to."""
    for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var", "work"):
        (top / name).mkdir()
    (top / "tmp").chmod(0o1777)
    (top / "root").chmod(0o700)
    shutil.copy(busybox, top / "bin/busybox")
    for name in APPLETS:
        (top / "bin" / name).symlink_to("busybox")
    users = "root:x:0:0:root:/root:/bin/sh\nlearner:x:1000:1000::/home/learner:/bin/sh\n"
    (top / "etc/passwd").write_text(users + "nobody:x:65534:65534:nobody:/:/bin/false\n")
    (top / "etc/group").write_text(
        "root:x:0:\ntty:x:5:\nwheel:x:10:root,learner\nlearner:x:1000:\nnogroup:x:65534:\n"
    )
    (top / "etc/hostname").write_text("image\n")
    (top / "home/learner").mkdir()
    if os.geteuid() == 0:
        os.chown(top / "home/learner", 1000, 1000)


@pytest.fixture
def as_user() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs a command as an ordinary user with an empty home; as who runs the tests if not root."""
    homes: list[str] = []

    def run(
        argv: Sequence[str | Path],
        *,
        uid: int = 1000,
        env: dict[str, str] | None = None,
        timeout: float = 60,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        home = tempfile.mkdtemp(prefix="lc-home-")
        homes.append(home)
        drop: list[str] = []
        if os.geteuid() == 0:
            os.chown(home, uid, uid)
            drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
        own = {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": home,
            "XDG_RUNTIME_DIR": home,
            "LANG": "C.UTF-8",
            machine.MARK: os.environ[machine.MARK],
        }
        return subprocess.run(
            [*drop, *map(str, argv)],
            env=own | (env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=options.pop("cwd", home),
            **options,
        )

    yield run
    for home in homes:
        # What a mapped user made there belongs to ids that only root may remove.
        shutil.rmtree(home, ignore_errors=os.geteuid() != 0)
