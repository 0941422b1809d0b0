"""The run: who takes part here, rounds in turns, memory of one to many instances.

A subject that fails once is out, with its own words as the reason; the others go on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from labcontainer.bench import builds, dataset, memory, runtimes, samples, subjects
from labcontainer.bench.dataset import Dataset, Samples
from labcontainer.bench.subjects import Subject
from labcontainer.errors import LabError, UnsupportedError
from labcontainer.record import Record

NAMES = ("process", "mnt namespace", "pid namespace", "uts namespace", "ipc namespace",
         "net namespace", "cgroup namespace", "user namespace", "bubblewrap", "labcontainer",
         "runc", "crun", "podman", "dockerd", "UML", "QEMU TCG", "QEMU KVM")  # fmt: skip
QUICK = ("process", "pid namespace", "net namespace", "bubblewrap", "UML")
WORKER = Path(__file__).resolve().parent / "worker.py"
FAILURES = (LabError, OSError, ValueError, subprocess.SubprocessError)
FEWEST = 2  # rounds that count, however slow the machine is
Told = Callable[[str], object]


class Plan(Record):
    """How much is measured: rounds, numbers of instances for memory, and who.

    `patience`: seconds after which no further round of one kind begins, once there are FEWEST.
    """

    runs: int = 15
    patience: float = float("inf")
    instances: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
    names: tuple[str, ...] = NAMES
    note: str = ""


QUICK_PLAN = Plan(runs=5, patience=8, instances=(1, 2), names=QUICK)


class Run:
    """One run: subjects are added, measured and closed. A context manager."""

    def __init__(self, plan: Plan, tell: Told = lambda _: None) -> None:
        self.plan = plan
        self.tell = tell
        self.subjects: dict[str, Subject] = {}
        self.absent: dict[str, str] = {}
        self.stack = ExitStack()
        self.outside: tuple[str, ...] = ()  # how to enter the machine's own mount namespace

    def __enter__(self) -> Run:
        if os.geteuid() == 0 and "crun" in self.plan.names:
            mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY)
            self.stack.callback(os.close, mounts)
            self.outside = ("nsenter", f"--mount=/proc/{os.getpid()}/fd/{mounts}", "--")
            self.stack.enter_context(runtimes.version_2_only())
        place = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="labcontainer-bench-"))
        self.place = Path(place)
        self.place.chmod(0o755)
        self.root = subjects.make_root(self.place / "rootfs")
        for name in self.plan.names:
            try:
                self.subjects[name] = self.find(name)
                self.subjects[name].start()  # a rehearsal: who can't is told before the clock runs
            except FAILURES as error:
                self.drop(name, error)
        return self

    def __exit__(self, *_: object) -> None:
        for subject in self.subjects.values():
            subject.close()
        if "podman" in self.subjects:
            subjects.unmount_below(str(self.place), self.outside)
        self.stack.close()

    def drop(self, name: str, error: Exception) -> None:
        """Go on without one."""
        subject = self.subjects.pop(name, None)
        if subject is not None:
            subject.close()
        self.absent[name] = " ".join(str(error).split())[:200]
        self.tell(f"without {name}: {self.absent[name]}")

    # --- who --------------------------------------------------------------------------------------

    def find(self, name: str) -> Subject:
        """The subject of a name. Raises LabError where it can't be had here."""
        if name == "process":
            return subjects.process()
        if name.endswith(" namespace"):
            return next(one for one in subjects.namespaces() if one.name == name)
        if name == "UML":
            return subjects.user_mode_linux(self.place)
        if name.startswith("QEMU "):
            return subjects.qemu(name.removeprefix("QEMU ").lower(), self.place)
        if name == "bubblewrap":
            _need("bwrap", "bubblewrap")
            return subjects.bubblewrap(self.root)
        if os.geteuid() != 0:
            raise UnsupportedError(name, "it is measured as root", "run the benchmark by sudo")
        return self._as_root(name)

    def _as_root(self, name: str) -> Subject:
        if name == "podman":
            _need("podman", "podman")
            return subjects.podman(self.root, self.place, self.outside)
        if name == "dockerd":
            return self._dockerd()
        bundle = self._bundle()
        if name == "labcontainer":
            words = (str(runtimes.launcher(self.place)),)
        else:
            words = (_need(name, name),)
        return subjects.runtime(name, words, bundle, self.place)

    def _bundle(self) -> Path:
        """Docker's usual isolation around the root that all have."""
        from labcontainer.rootfs import MASKED_PATHS, READONLY_PATHS

        document = runtimes.configuration(list(MASKED_PATHS), list(READONLY_PATHS))
        (self.place / "config.json").write_text(json.dumps(document))
        return self.place

    def _dockerd(self) -> Subject:
        """A dockerd of our own, with the root as its one image."""
        base = self.place / "docker"
        base.mkdir()
        shutil.make_archive(str(base / "root"), "tar", self.root)
        words = self.stack.enter_context(builds.dockerd(base, load=False))
        builds.call([*words, "import", f"{base}/root.tar", "lcbench"], {**os.environ})
        return subjects.docker(words, "lcbench")

    # --- what -------------------------------------------------------------------------------------

    def measure(self) -> Dataset:
        """All rounds of all measures."""
        machine = dataset.machine(self.plan.note)
        found: Samples = {"start": {}}
        self._rounds("start", lambda subject: {"start": 1000 * subject.start()}, found)
        code = WORKER.read_bytes()

        def work(subject: Subject) -> dict[str, float]:
            argv = (*subjects.PYTHON, "/dev/shm", subject.disk)
            numbers: dict[str, float] = json.loads(subject.run(argv, code))
            return numbers

        self._rounds("the worker", work, found)
        for name, subject in self.subjects.items():
            subject.close()
            if name not in found.get("tcp round trip", {}):
                self.absent[f"{name}, tcp"] = "loopback is down in its network namespace"
        taken = self._memory()
        return Dataset(machine, found, taken, subjects.sizes(self.root), self.absent)

    def _rounds(
        self, what: str, one: Callable[[Subject], dict[str, float]], found: Samples
    ) -> None:
        """Let them take turns; the first round does not count."""
        draw = samples.turns()
        ends = time.monotonic() + self.plan.patience
        for number in range(self.plan.runs + 1):
            if number > FEWEST and time.monotonic() > ends:
                break
            self.tell(f"{what}: round {number} of {self.plan.runs}")
            order = list(self.subjects)
            draw.shuffle(order)
            for name in order:
                try:
                    numbers = one(self.subjects[name])
                except FAILURES as error:
                    self.drop(name, error)
                    continue
                for measure, value in numbers.items() if number else ():
                    found.setdefault(measure, {}).setdefault(name, []).append(value)

    def _memory(self) -> dict[str, list[tuple[int, float]]]:
        """Of one to many idle instances, all together."""
        found: dict[str, list[tuple[int, float]]] = {}
        for name, subject in list(self.subjects.items()):
            self.tell(f"memory: {name}")
            for number in [one for one in self.plan.instances if one <= subject.most]:
                try:
                    with subject.held(number) as pids:
                        found.setdefault(name, []).append((number, memory.memory_of(pids)))
                except FAILURES as error:
                    self.absent[f"{name}, memory of {number}"] = str(error)[:200]
                    break
        return found


def _need(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise UnsupportedError(program, "it is not installed", f"apt install {package}")
    return path


def run(plan: Plan, tell: Told = lambda _: None) -> Dataset:
    """Measure this machine."""
    with Run(plan, tell) as going:
        return going.measure()
