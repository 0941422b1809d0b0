"""The guest's side of a Jupyter kernel in a user-mode kernel: starts it, and joins its five ports.

`python -m labcontainer.lab.guest_kernel_inside`; the line to the host is standard input and output,
the first line of it the connection file that Jupyter wrote (jupyter_client, "Connection files").
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from labcontainer.lab import tunnel

START_SECONDS = 120.0


def connection_here(told: dict[str, Any]) -> dict[str, Any]:
    """The same keys and ports, on this machine's loopback."""
    return {**told, "transport": "tcp", "ip": "127.0.0.1"}


def first_line() -> bytes:
    """The first line of standard input, and no byte more."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(1)
        line += byte
    return line


def start(connection: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start ipykernel; what it prints goes to the host's log."""
    fd, path = tempfile.mkstemp(prefix="kernel-", suffix=".json")
    with os.fdopen(fd, "w") as file:
        json.dump(connection, file)
    line = [sys.executable, "-m", "ipykernel_launcher", "-f", path]
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True)


def wait_until_it_listens(kernel: subprocess.Popen[bytes], ports: list[int]) -> None:
    """Return when every port takes connections; end with the kernel if it does."""
    ends = time.monotonic() + START_SECONDS
    for port in ports:
        while kernel.poll() is None and time.monotonic() < ends:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)


def join(kernel: subprocess.Popen[bytes]) -> None:
    """Pass bytes until the kernel ends, or the host closes the line."""
    watcher = tunnel.Watcher()
    end = tunnel.End(watcher, lambda data: tunnel.write_all(1, data))
    going_on = True

    def hear() -> None:
        nonlocal going_on
        data = os.read(0, tunnel.CHUNK)
        going_on = bool(data)
        for kind, number, body in end.take(data):
            if kind == tunnel.OPEN:
                try:
                    end.add(number, socket.create_connection(("127.0.0.1", int(body))))
                except ConnectionRefusedError:  # the kernel is on its way out
                    end.tell(tunnel.CLOSE, number)

    watcher.watch(0, hear)
    watcher.watch(os.pidfd_open(kernel.pid), lambda: None)
    end.tell(tunnel.UP)
    while going_on and kernel.poll() is None:
        watcher.turn(None)


def main() -> None:
    """Start the kernel, join its ports; the exit status is its own."""
    connection = connection_here(json.loads(first_line()))
    kernel = start(connection)
    try:
        wait_until_it_listens(kernel, [connection[name] for name in tunnel.PORTS])
        if kernel.poll() is None:
            join(kernel)
    finally:
        if kernel.poll() is None:
            os.killpg(kernel.pid, signal.SIGKILL)
        status = kernel.wait()
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
