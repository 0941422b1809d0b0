"""cgroups.freeze: stop a whole group where it stands."""

from __future__ import annotations

import os
import subprocess
import threading
import time

from labcontainer import cgroups
from labcontainer.kernel import files
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
from labcontainer.kernel import files


def freeze(directory: str, version: int) -> None:
    """Stop every process of the group in `directory`; return when they have stopped."""
    if version == 1:
        ...
    else:
        ...
'''

SOLUTION = '''\
from labcontainer.kernel import files


def freeze(directory: str, version: int) -> None:
    """Stop every process of the group in `directory`; return when they have stopped."""
    if version == 1:
        files.write(f"{directory}/freezer.state", "FROZEN")
        while files.read(f"{directory}/freezer.state") != "FROZEN":
            pass
    else:
        files.write(f"{directory}/cgroup.freeze", "1")
        while "frozen 1" not in files.read(f"{directory}/cgroup.events"):
            pass
'''

HEAD = SOLUTION[: SOLUTION.index("    if version == 1:")]
ONE_BY_ONE = (
    HEAD
    + """\
    import os
    import signal

    for pid in files.read(f"{directory}/cgroup.procs").split():
        os.kill(int(pid), signal.SIGSTOP)
"""
)
OTHER_WORD = (
    HEAD
    + """\
    if version == 1:
        files.write(f"{directory}/freezer.state", "THAWED")
    else:
        files.write(f"{directory}/cgroup.freeze", "0")
"""
)
AT_ONCE = (
    HEAD
    + """\
    if version == 1:
        files.write(f"{directory}/freezer.state", "FROZEN")
    else:
        files.write(f"{directory}/cgroup.freeze", "1")
"""
)
# Version -> the file that tells how far it is, what it says meanwhile, and at last.
TELLS = {
    1: ("freezer.state", "FREEZING", "FROZEN"),
    2: ("cgroup.events", "populated 1\nfrozen 0", "populated 1\nfrozen 1"),
}


def check(trial: Trial) -> Outcome:
    group = cgroups.Cgroup(f"/{trial.group}", cgroups.detect())
    tested = []
    with group:
        for version, directory in _freezers(group).items():
            outcome = _try(trial, group, directory, version)
            if outcome is not None:
                return outcome
            tested.append(f"version {version}")
    for version in TELLS:
        if not _waits(trial, version):
            return _too_early(version)
    return done(f"the kernel says frozen ({' and '.join(tested)}), and lets them go on")


def _freezers(group: cgroups.Cgroup) -> dict[int, str]:
    """The directories with which this machine can freeze: a hybrid one has both."""
    found = {}
    if os.path.exists(f"{group.directory('freezer')}/freezer.state"):
        found[1] = group.directory("freezer")
    if "" in group.directories:
        found[2] = group.directories[""]
    return found


def _frozen(directory: str, version: int) -> tuple[bool, str]:
    if version == 1:
        state = files.read(f"{directory}/freezer.state")
        return state == "FROZEN", f"freezer.state: {state}"
    state = next(
        line for line in files.read(f"{directory}/cgroup.events").splitlines() if "frozen" in line
    )
    return state == "frozen 1", f"cgroup.events: {state}"


def _too_early(version: int) -> Outcome:
    name, meanwhile, _ = TELLS[version]
    return not_yet(
        expected="it returns when the processes have stopped",
        observed=f"it returned while {name} said {meanwhile.splitlines()[-1]}",
        where=f"the branch of version {version}",
        hint="The write only asks for it, and a large group needs a while. Read, until all stand.",
    )


def _waits(trial: Trial, version: int) -> bool:
    """Whether it waits for a group that is slow to freeze: here a file that changes by and by."""
    name, meanwhile, at_last = TELLS[version]
    directory = trial.directory(f"slow{version}", {name: at_last})
    real = files.write

    def say(words: str) -> None:
        with open(f"{directory}/{name}", "w") as file:
            file.write(words)

    def slow_write(path: str, value: str | int | bytes, *, dir_fd: int | None = None) -> None:
        if not path.startswith(directory):
            return real(path, value, dir_fd=dir_fd)
        say(meanwhile)
        later = threading.Timer(0.5, say, [at_last])
        later.daemon = True
        return later.start()

    try:
        files.write = slow_write
        trial.call("freeze", directory, version)
    finally:
        files.write = real
    return files.read(f"{directory}/{name}") != meanwhile


def _freezes(directory: str, version: int) -> bool:
    """Whether a group that did not stand yet does so in a moment."""
    ends = time.monotonic() + 0.5
    while time.monotonic() < ends:
        if _frozen(directory, version)[0]:
            return True
        time.sleep(0.01)
    return False


def _try(trial: Trial, group: cgroups.Cgroup, directory: str, version: int) -> Outcome | None:
    with subprocess.Popen(["sleep", "60"]) as program:
        try:
            group.add(program.pid)
            trial.call("freeze", directory, version)
            frozen, observed = _frozen(directory, version)
            later = frozen or _freezes(directory, version)
            stopped = files.read(f"/proc/{program.pid}/stat").rpartition(")")[2].split()[0] == "T"
            cgroups.thaw(directory, version)
        finally:
            program.kill()
    if later:
        return None if frozen else _too_early(version)
    return not_yet(
        expected="the group is frozen: " + ("FROZEN" if version == 1 else "frozen 1"),
        observed=observed,
        where=f"the branch of version {version}",
        hint="You have stopped the processes one by one: whoever forks meanwhile runs on, and each "
        "can see it. The group itself has a file for it."
        if stopped
        else "The group runs. Which word freezes, in which file?",
    )


EXERCISE = Exercise(
    id="cgroups.freeze",
    notebook="05_cgroups",
    title="Freeze a group",
    hole=HOLE,
    solution=SOLUTION,
    own="labcontainer.cgroups.freeze",
    replaces="labcontainer.cgroups.freeze",
    check=check,
    needs=("cgroup-write",),
    writes=("cgroup",),
    seconds=20,
    hints=(
        "Version 1: `freezer.state` takes FROZEN or THAWED. Version 2: `cgroup.freeze`, 1 or 0.",
        "The write asks. Version 1 reads FREEZING until all stand; 2 has `frozen 1` in its events.",
        "Write, then read again and again until it is so.",
    ),
    wrong=(
        Wrong(ONE_BY_ONE, "one by one"),
        Wrong(AT_ONCE, "only asks for it"),
        Wrong(OTHER_WORD, "Which word freezes"),
    ),
)
