"""A Jupyter kernel inside a kernel of its own: the host's side, and its kernel spec.

Jupyter starts `python -m labcontainer.lab.guest_kernel -f connection.json`. That boots a guest, a
user-mode kernel or else QEMU, has it run ipykernel as its root, and joins the five ports of the
file with the kernel's own (see tunnel). Interrupt, shutdown and restart are messages through these
ports. Nothing is left when it ends: the guest is a group of processes that ends with this one,
`kill -9` included.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

from labcontainer.errors import LabError, UnsupportedError
from labcontainer.lab import student, tunnel, where
from labcontainer.vm import uml
from labcontainer.vm.guest import Guest, Program

UML, QEMU, AUTO = "uml", "qemu", "auto"
NAMES = {UML: "labcontainer-uml", QEMU: "labcontainer-qemu"}
TITLES = {UML: "labcontainer (user-mode Linux)", QEMU: "labcontainer (QEMU)"}
MEMORY = "1G"
PARENT_SECONDS = 1.0  # how soon the end of Jupyter is noticed
_PASSED = ("IPYTHON", "JUPYTER", "MPL", "PYTEST_")


# --- the kernel spec ----------------------------------------------------------------------------


def spec(memory: str = MEMORY, machine: str = AUTO, title: str = TITLES[UML]) -> dict[str, Any]:
    """What kernel.json says (jupyter_client, "Kernel specs")."""
    program = [sys.executable, "-m", "labcontainer.lab.guest_kernel"]
    return {
        "argv": [*program, "--machine", machine, "--memory", memory, "-f", "{connection_file}"],
        "display_name": title,
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": False},
    }


def install(
    prefix: str = sys.prefix, memory: str = MEMORY, machine: str = AUTO
) -> tuple[Path, str]:
    """Write the kernel spec below `prefix`, where Jupyter of that environment looks: its folder and
    its title, which are those of the machine that comes first here.

    Raises:
        UnsupportedError: there is no such machine here. OSError: the folder can't be written.
    """
    kind = found(machine)[0]
    folder = Path(prefix, "share/jupyter/kernels", NAMES[kind])
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(spec(memory, machine, TITLES[kind]), indent=1)
    (folder / "kernel.json").write_text(text + "\n")
    return folder, TITLES[kind]


def remove(prefix: str = sys.prefix) -> list[Path]:
    """Take the kernel specs away; the folders where they were."""
    folders = [Path(prefix, "share/jupyter/kernels", name) for name in NAMES.values()]
    there = [folder for folder in folders if folder.exists()]
    for folder in there:
        shutil.rmtree(folder)
    return there


# --- the machine --------------------------------------------------------------------------------


def found(machine: str = AUTO) -> list[str]:
    """UML, QEMU: the machines that there are here, the faster one first; AUTO asks for any.

    Raises:
        UnsupportedError: there is none; why each is missing.
    """
    kinds, missing = [], []
    for kind, need in ((UML, uml.kernel), (QEMU, _need_qemu)):
        if machine not in (AUTO, kind):
            continue
        try:
            need()
            kinds.append(kind)
        except UnsupportedError as error:
            missing.append(error)
    if not kinds:
        why, fix = "; ".join(one.why for one in missing), " or ".join(one.fix for one in missing)
        raise UnsupportedError("a kernel of its own for notebooks", why, fix)
    return kinds


def _need_qemu() -> None:
    from labcontainer.vm import kernels, qemu

    qemu.program()
    kernels.find("9p")


def off(kind: str, memory: str) -> Guest:
    """The machine, which is to see this one's files, and may write to `shares`."""
    if kind == UML:
        return uml.Guest(uml.Machine(memory, shares(), hostname="lab"))
    from labcontainer.vm import qemu

    return qemu.Guest(qemu.Machine(qemu.TCG, memory, "/", share_rw=shares(), hostname="lab"))


def boot(machine: str, memory: str) -> Guest:
    """The machine, up; with AUTO the first that comes up.

    Raises:
        LabError: none did; why the last one did not. The others' reasons are printed.
    """
    kinds = (UML, QEMU) if machine == AUTO else (machine,)
    for kind in kinds:
        guest = off(kind, memory)
        try:
            guest.start()
            break
        except LabError as error:
            if kind == kinds[-1]:
                raise
            print(f"labcontainer: {kind}: {error}", file=sys.stderr, flush=True)
    return guest


# --- one kernel ---------------------------------------------------------------------------------


class Joined:
    """The host's ends of the five ports, and the program in the guest that has the other ends."""

    def __init__(self, guest: Guest, connection: dict[str, Any]) -> None:
        self._guest = guest
        # Bound at once, since Jupyter has promised the ports; who connects before the kernel
        # listens is refused, and comes again.
        self._doors = {int(connection[name]): _bind(connection, name) for name in tunnel.PORTS}
        self._last = 0
        program = Program(
            (sys.executable, "-m", "labcontainer.lab.guest_kernel_inside"),
            cwd=os.getcwd(), env=environment(),
        )  # fmt: skip
        self.program = guest.exec(program, self._hear, lambda data: os.write(2, data), stdin=None)
        guest.write(self.program, json.dumps(connection).encode() + b"\n")
        self._end = tunnel.End(guest, lambda data: guest.write(self.program, data))

    def _hear(self, data: bytes) -> None:
        for kind, _, _ in self._end.take(data):
            if kind == tunnel.UP:
                for port in self._doors:
                    self._open(port)

    def _open(self, port: int) -> None:
        door = self._doors[port]
        door.listen(64)
        self._guest.watch(door.fileno(), lambda: self._accept(port))

    def _accept(self, port: int) -> None:
        connection, _ = self._doors[port].accept()
        self._last += 1
        self._end.tell(tunnel.OPEN, self._last, str(port).encode())
        self._end.add(self._last, connection)


def _bind(connection: dict[str, Any], name: str) -> socket.socket:
    if connection.get("transport", "tcp") == "ipc":
        door = socket.socket(socket.AF_UNIX)
        door.bind(f"{connection['ip']}-{connection[name]}")
        return door
    door = socket.socket(socket.AF_INET6 if ":" in connection["ip"] else socket.AF_INET)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind((connection["ip"], connection[name]))
    return door


def environment() -> dict[str, str]:
    """The lab's variables, and those of Jupyter that name places of the notebook's."""
    passed = {key: value for key, value in os.environ.items() if key.startswith(_PASSED)}
    # Root's home is root's on the host: closed to whom the guest's files are asked for.
    return where.environment({**passed, "HOME": "/tmp"})


def shares() -> tuple[str, ...]:
    """Where work is saved: the notebook's folder and the learner's."""
    os.makedirs(student.home(), exist_ok=True)
    return tuple(dict.fromkeys((os.getcwd(), str(student.home()))))


def run(connection_file: str, memory: str = MEMORY, machine: str = AUTO) -> int:
    """Boot, run the kernel to its end; its exit status.

    Raises:
        LabError: the guest did not boot, or ended under the kernel.
    """
    with open(connection_file) as file:
        connection = json.load(file)
    with boot(machine, memory) as guest:
        joined, parent = Joined(guest, connection), os.getppid()
        while not guest.ended(joined.program):
            guest.turn(PARENT_SECONDS)
            if os.getppid() != parent:  # Jupyter is gone, as ipykernel sees it too
                return 1
        return guest.wait(joined.program)


def main(words: list[str]) -> int:
    """The command line of the kernel spec."""
    from argparse import ArgumentParser

    parser = ArgumentParser(prog="labcontainer.lab.guest_kernel", allow_abbrev=False)
    parser.add_argument("-f", dest="file", required=True, metavar="FILE")
    parser.add_argument("--memory", default=MEMORY, metavar="SIZE")
    parser.add_argument("--machine", choices=[AUTO, UML, QEMU], default=AUTO)
    args = parser.parse_args(words)
    try:
        return run(args.file, args.memory, args.machine)
    except (LabError, OSError) as error:
        print(f"labcontainer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
