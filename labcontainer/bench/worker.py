"""What is measured inside of every subject: one program, read from its standard input.

`python3 -I -S -E - PLACE DISK < worker.py`: PLACE is a directory in memory, DISK one on a disk, or
"" where there is none. Prints one JSON line: name -> one sample, in the unit of its name
(measures.py). Standard library alone, for the subject may have nothing else. Each sample is the
least of a few turns: what disturbs a turn only ever makes it longer.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 5
SIZE = 1 << 20


def least(action: Callable[[int], object], number: int) -> float:
    """Nanoseconds of one of `number` repetitions: the best of a few turns."""
    found = []
    for _ in range(TURNS):
        begun = time.perf_counter_ns()
        action(number)
        found.append((time.perf_counter_ns() - begun) / number)
    return min(found)


def cpu(number: int) -> None:
    """A loop that stays in the program: no call of the kernel, no memory to speak of."""
    total = 0
    for one in range(number):
        total += one & 7


def system_call(number: int) -> None:
    """The cheapest question to the kernel: getppid(2)."""
    ask = os.getppid
    for _ in range(number):
        ask()


def fork_exec(number: int) -> None:
    """A new process that runs another program, and is waited for."""
    for _ in range(number):
        pid = os.fork()
        if pid == 0:
            os.execv("/bin/busybox", ["true"])
        os.waitpid(pid, 0)


def file_create(number: int) -> None:
    """Make an empty file, and take it away."""
    for _ in range(number):
        os.close(os.open("lcbench", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink("lcbench")


def file_write(number: int) -> None:
    """Write a mebibyte."""
    data = bytes(SIZE)
    for _ in range(number):
        fd = os.open("lcbench-data", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.write(fd, data)
        os.close(fd)


def file_read(number: int) -> None:
    """Read that mebibyte again: from memory."""
    for _ in range(number):
        fd = os.open("lcbench-data", os.O_RDONLY)
        while os.read(fd, 1 << 17):
            pass
        os.close(fd)


def fsync(number: int) -> None:
    """Add a page to a file, and wait until the disk has it."""
    page = bytes(4096)
    fd = os.open("lcbench-sync", os.O_CREAT | os.O_WRONLY)
    for _ in range(number):
        os.write(fd, page)
        os.fsync(fd)
    os.close(fd)
    os.unlink("lcbench-sync")


def reachable() -> bool:
    """Whether loopback is up; a network namespace is born with it down, and only its root may."""
    up = ["busybox", "ip", "link", "set", "lo", "up"]
    for _ in range(2):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("127.0.0.1", 9))
                return True
            except OSError:
                os.spawnv(os.P_WAIT, "/bin/busybox", up)
    return False


def connected() -> tuple[socket.socket, int]:
    """Two ends of a TCP connection over loopback; the far end is another process, an echo."""
    server = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        there, _ = server.accept()
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := there.recv(1 << 17):
            if len(data) == 1:
                there.sendall(data)
            elif data.endswith(b"."):
                there.sendall(b".")
        os._exit(0)
    here = socket.socket()
    here.connect(server.getsockname())
    here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server.close()
    return here, pid


def network(found: dict[str, float]) -> None:
    """A byte there and back; and mebibytes one way, until the far end has said that it has them."""
    here, pid = connected()

    def there_and_back(number: int) -> None:
        for _ in range(number):
            here.sendall(b"x")
            here.recv(1)

    def stream(number: int) -> None:
        data = bytes(SIZE - 1) + b"."
        for _ in range(number):
            here.sendall(data)
            here.recv(1)

    found["tcp round trip"] = least(there_and_back, 200) / 1e3
    found["tcp throughput"] = SIZE / least(stream, 8) * 1e3
    here.close()
    os.waitpid(pid, 0)


def main(place: str, disk: str) -> None:
    """Measure everything once, on one processor: a guest has no more."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.chdir(place)
    found = {
        "cpu": least(cpu, 100_000),
        "system call": least(system_call, 2_000),
        "fork and exec": least(fork_exec, 5) / 1e3,
        "file create": least(file_create, 100) / 1e3,
        "file write": least(file_write, 4) / 1e3,
        "file read": least(file_read, 4) / 1e3,
    }
    os.unlink("lcbench-data")
    if disk:
        os.chdir(disk)
        found["fsync"] = least(fsync, 3) / 1e3
    if reachable():
        network(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
