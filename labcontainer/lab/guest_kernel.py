"""A Jupyter kernel inside a user-mode kernel: the host's side, and its kernel spec.

Jupyter starts `python -m labcontainer.lab.guest_kernel -f connection.json`. That boots the guest,
has it run ipykernel as its root, and joins the five ports of the file with the kernel's own (see
tunnel). Interrupt, shutdown and restart are messages through these ports. Nothing is left when it
ends: the guest is a group of processes that ends with this one, `kill -9` included.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

from labcontainer.errors import LabError
from labcontainer.lab import student, tunnel, where
from labcontainer.vm import uml

NAME = "labcontainer-uml"
TITLE = "labcontainer (user-mode Linux)"
MEMORY = "1G"
PARENT_SECONDS = 1.0  # how soon the end of Jupyter is noticed
_PASSED = ("IPYTHON", "JUPYTER", "MPL", "PYTEST_")


# --- the kernel spec ----------------------------------------------------------------------------


def spec(memory: str = MEMORY) -> dict[str, Any]:
    """What kernel.json says (jupyter_client, "Kernel specs")."""
    program = [sys.executable, "-m", "labcontainer.lab.guest_kernel"]
    return {
        "argv": [*program, "--memory", memory, "-f", "{connection_file}"],
        "display_name": TITLE,
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": False},
    }


def install(prefix: str = sys.prefix, memory: str = MEMORY) -> Path:
    """Write the kernel spec below `prefix`, where Jupyter of that environment looks; its folder.

    Raises:
        UnsupportedError: there is no user-mode kernel here. OSError: the folder can't be written.
    """
    uml.kernel()
    folder = Path(prefix, "share/jupyter/kernels", NAME)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps(spec(memory), indent=1) + "\n")
    return folder


def remove(prefix: str = sys.prefix) -> Path:
    """Take the kernel spec away; the folder where it was."""
    folder = Path(prefix, "share/jupyter/kernels", NAME)
    shutil.rmtree(folder, ignore_errors=True)
    return folder


# --- one kernel ---------------------------------------------------------------------------------


class Joined:
    """The host's ends of the five ports, and the program in the guest that has the other ends."""

    def __init__(self, guest: uml.Guest, connection: dict[str, Any]) -> None:
        self._guest = guest
        # Bound at once, since Jupyter has promised the ports; who connects before the kernel
        # listens is refused, and comes again.
        self._doors = {int(connection[name]): _bind(connection, name) for name in tunnel.PORTS}
        self._last = 0
        program = uml.Program(
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
    return where.environment(passed)


def shares() -> tuple[str, ...]:
    """Where work is saved: the notebook's folder and the learner's."""
    os.makedirs(student.home(), exist_ok=True)
    return tuple(dict.fromkeys((os.getcwd(), str(student.home()))))


def run(connection_file: str, memory: str = MEMORY) -> int:
    """Boot, run the kernel to its end; its exit status.

    Raises:
        LabError: the guest did not boot, or ended under the kernel.
    """
    with open(connection_file) as file:
        connection = json.load(file)
    with uml.Guest(uml.Machine(memory, shares(), hostname="lab")) as guest:
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
    args = parser.parse_args(words)
    try:
        return run(args.file, args.memory)
    except (LabError, OSError) as error:
        print(f"labcontainer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
