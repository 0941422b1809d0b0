"""Facts of a process, a container and two virtual machines, asked in each of them by one script.

What can be booted here is booted and asked; where it can't, the answers recorded on another machine
stand in, and say so. Machines start from the notebook's own place, as ordinary processes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

from labcontainer.bench import measures, memory
from labcontainer.errors import LabError, UnsupportedError
from labcontainer.lab import helper, where
from labcontainer.lab.figures import Canvas, Figure
from labcontainer.vm import guest

KINDS = ("process", "container", "UML", "QEMU")
SCRIPT = """
echo release=$(uname -r | cut -d. -f1,2)
echo boot=$(cat /proc/sys/kernel/random/boot_id)
echo processors=$(grep -c ^processor /proc/cpuinfo)
echo memory=$(sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo)
echo name=$(cat /proc/sys/kernel/hostname)
echo pid_namespace=$(readlink /proc/self/ns/pid)
echo processes=$(ls -d /proc/[0-9]* | wc -l)
"""
RECORDED: Mapping[str, Mapping[str, str]] = {
    "UML": {
        "release": "6.1", "boot": "recorded-uml", "processors": "1", "memory": "124304",
        "name": "uml", "pid_namespace": "pid:[4026531836]", "processes": "33",
    },
    "QEMU": {
        "release": "6.1", "boot": "recorded-qemu", "processors": "1",
        "memory": "92860", "name": "vm", "pid_namespace": "pid:[4026531836]", "processes": "53",
    },
}  # fmt: skip
MEMORY = "128M"
SECONDS = 60.0


def look(kind: str) -> dict[str, str]:
    """What one of KINDS says of itself; `source` is "live", or why it is recorded."""
    if kind == "process":
        return _facts(where.run(["sh", "-c", SCRIPT]).output) | {"source": "live"}
    if kind == "container":
        found = helper.attempt(_ask_inside, SCRIPT, namespaces=("pid", "mnt", "uts", "ipc"))
        return _facts(str(found.value).encode()) | {"source": "live"}
    try:
        with machine(kind) as running:
            _, out, _ = guest.run_in(running, guest.Program(("sh", "-c", SCRIPT)), SECONDS)
        return _facts(out) | {"source": "live"}
    except LabError as error:
        return {**RECORDED[kind], "source": f"recorded: {error}"}


def _ask_inside(script: str) -> str:
    import subprocess

    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False).stdout


def _facts(said: bytes) -> dict[str, str]:
    pairs = [line.partition("=") for line in said.decode().splitlines()]
    return {name: value for name, _, value in pairs}


def machine(kind: str) -> guest.Guest:
    """A machine of that kind, off.

    Raises:
        UnsupportedError: not here: not installed, no kernel, or we are in a guest ourselves.
    """
    from labcontainer.vm import kernels, qemu, uml

    with open("/proc/cpuinfo") as file:
        if "User Mode Linux" in file.read():
            raise UnsupportedError(kind, "a machine within this one would take minutes")
    if kind == "UML":
        uml.kernel()
        return uml.Guest(uml.Machine(memory=MEMORY))
    qemu.program()
    kernels.find()
    return qemu.Guest(qemu.Machine(memory=MEMORY))


def relations(facts: Mapping[str, Mapping[str, str]], names: Sequence[str]) -> list[list[str]]:
    """A table: which facts of each kind are those of the process; the first row is its head."""
    rows = [["fact", *[kind for kind in facts if kind != "process"]]]
    for name in names:
        base = facts["process"][name]
        same = ["same" if one[name] == base else "own" for kind, one in facts.items()
                if kind != "process"]  # fmt: skip
        rows.append([name, *same])
    return rows


# --- seen from outside --------------------------------------------------------------------------

# The pattern comes in two words: this very search must not find itself.
_SEARCH = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c \"^$0$1$\""


def outside(kind: str) -> dict[str, object]:
    """Let a program sleep in a container or a machine, and look for it from outside.

    `seen`: whether /proc outside shows it; `processes`: what is there for it, "name, threads".
    """
    mark = ("98765", f".{time.monotonic_ns() % 10**9:09}")
    program = ["sleep", "".join(mark)]
    if kind == "container":
        with helper.spawn(_sleep, program, namespaces=("pid", "mnt")):
            return {"seen": _found(mark), "processes": ["sleep, 1"], "source": "live"}
    try:
        with machine(kind) as running:
            running.exec(guest.Program(tuple(program)))
            guest.run_in(running, guest.Program(("true",)), SECONDS)  # so it has begun
            return {"seen": _found(mark), "processes": _family(running.pid), "source": "live"}
    except LabError as error:
        many = ["linux.uml, 1"] * 4 if kind == "UML" else ["qemu-system-x86, 3"]
        return {"seen": False, "processes": many, "source": f"recorded: {error}"}


def _sleep(program: list[str]) -> None:
    import os

    os.execvp(program[0], program)


def _found(mark: tuple[str, str]) -> bool:
    for _ in range(40):
        if where.run(["sh", "-c", _SEARCH, *mark]).output.strip() not in (b"0", b""):
            return True
        time.sleep(0.05)
    return False


def _family(pid: int) -> list[str]:
    """The machine's own processes: without the guard's shell."""
    found = []
    for one in sorted(memory.family([pid])):
        try:
            with open(f"/proc/{one}/status") as file:
                status = dict(line.split(":", 1) for line in file if ":" in line)
        except OSError:
            continue
        name = status["Name"].strip()
        if name != "sh":
            found.append(f"{name}, {status['Threads'].strip()}")
    return found


# --- both structures ----------------------------------------------------------------------------


def structure(facts: Mapping[str, Mapping[str, str]], views: Mapping[str, object]) -> Figure:
    """Who stands on what: a container on the left, a virtual machine on the right."""
    host, inside = facts["process"], facts["QEMU"]
    canvas = Canvas(720, 330)
    for left, title in ((10, "a container"), (370, "a virtual machine")):
        canvas.text(left + 165, 22, title, middle=True, bold=True)
        canvas.box(left, 284, 330, 36, f"hardware: {host['processors']} processors", "quiet")
        canvas.box(left, 236, 330, 40, f"the host's kernel\nLinux {host['release']}", "host")
    canvas.box(10, 184, 160, 40, "a process\nof the host", "plain")
    canvas.box(180, 184, 160, 40, "a process with\nown namespaces", "inside")
    canvas.frame(370, 40, 330, 186, f"{_first_word(views)}: a process of the host", "plain")
    canvas.box(386, 170, 298, 44, f"devices that it plays, {_mib(inside)} MiB", "quiet")
    canvas.box(386, 122, 298, 42, f"the guest's kernel\nLinux {inside['release']}", "inside")
    canvas.box(386, 72, 140, 42, "the guest's first\nprocess", "inside")
    canvas.box(544, 72, 140, 42, "your program\nin the guest", "inside")
    table = [("layer", "container", "virtual machine"),
             ("your program", "a process of the host", "a process of the guest"),
             ("kernel it asks", f"Linux {host['release']}, the host's",
              f"Linux {inside['release']}, its own"),
             ("seen by the host's ps", "yes", "no: only the machine is"),
             ("hardware", "the host's", "what the machine plays")]  # fmt: skip
    alt = ("Left: hardware, the host's kernel, and on it side by side a process and a process with "
           "own namespaces. Right: hardware, the host's kernel, on it one process, the machine; in "
           "it devices, a second kernel, and on that the guest's processes.")  # fmt: skip
    return Figure(canvas, alt, table, "Who stands on what, as found on this machine")


def _first_word(views: Mapping[str, object]) -> str:
    seen = views.get("QEMU")
    processes = seen.get("processes") if isinstance(seen, dict) else None
    return str(processes[0]).partition(",")[0] if processes else "qemu-system-x86"


def _mib(facts: Mapping[str, str]) -> int:
    return int(facts["memory"]) // 1024


def show_plot(plot: object) -> Figure:
    """A figure of the benchmark's (bench/plots.py), for a notebook."""
    from labcontainer.bench.plots import Plot

    assert isinstance(plot, Plot)
    # Quotes of a font's name would end the attribute that the drawing is put into.
    return Figure(plot.svg.replace("'", ""), plot.alt, plot.table, plot.caption)


def measured(tell: bool = True) -> object:
    """The quick benchmark of this machine, without memory, so that it fits into a lesson.

    In a guest of ours it is the recorded data.
    """
    from labcontainer.bench import dataset

    with open("/proc/cpuinfo") as file:
        if "User Mode Linux" in file.read():
            return dataset.recorded()
    found = measures.run(measures.QUICK_PLAN.replace(instances=()))
    if tell:
        for name, why in found.absent.items():
            print(f"without {name}: {why}", file=sys.stdout)
    return found


# --- a first root of one's own ------------------------------------------------------------------


def boot(archive: bytes, expected: str) -> str:
    """What the first process of an initramfs says, in lines that begin with "init:".

    It must end with `poweroff -f`. `expected` is said where no QEMU can be started here.
    """
    import os
    import socket
    import subprocess

    from labcontainer.vm import qemu

    try:
        spec = qemu.Machine(memory=MEMORY)
        machine("QEMU")  # or the reason why not
        contents = qemu.contents_of(spec)
    except LabError:
        return expected
    ours, theirs = socket.socketpair()
    file = os.memfd_create("first-root", 0)
    try:
        os.write(file, archive)
        argv = qemu.command_line(spec, contents, theirs.fileno(), file)
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              pass_fds=(theirs.fileno(), file), timeout=SECONDS)  # fmt: skip
    finally:
        for end in (ours, theirs):
            end.close()
        os.close(file)
    lines = done.stdout.decode(errors="replace").splitlines()
    return "\n".join(line.strip() for line in lines if line.startswith("init:"))
