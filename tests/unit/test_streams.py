"""Bytes and signals between a caller and a container, here between pipes and a child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from labcontainer.engine import streams
from labcontainer.kernel import syscalls


def relayed(code: str, given: bytes = b"", *, slow: bool = False) -> tuple[bytes, list[int]]:
    """Run a Python program behind a relay; what came out, and the signals that were passed on."""
    passed: list[int] = []
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    stdin = os.dup(child.stdin.fileno())
    child.stdin.close()
    os.set_blocking(stdin, False)
    source, feed = os.pipe()
    result, target = os.pipe()
    got: list[bytes] = []
    threads = [threading.Thread(target=_feed, args=(feed, given))]
    threads.append(threading.Thread(target=_drain, args=(result, got, slow)))
    for thread in threads:
        thread.start()
    relay = streams.Relay()
    relay.pass_on(source, stdin, close=True)
    relay.pass_on(child.stdout.fileno(), target)
    pidfd = syscalls.pidfd_open(child.pid)

    def pass_on(number: int) -> None:
        passed.append(number)
        child.send_signal(number)

    with streams.Signals() as signals:
        relay.run(pidfd, signals, pass_on, {child.stdout.fileno()})
    child.wait()
    os.close(source)  # whoever still feeds is told that nobody reads
    os.close(target)
    for thread in threads:
        thread.join()
    child.stdout.close()
    for fd in (pidfd, result):
        os.close(fd)
    return b"".join(got), passed


def _feed(fd: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        pass
    os.close(fd)


def _drain(fd: int, got: list[bytes], slow: bool) -> None:
    while part := os.read(fd, 65536):
        got.append(part)
        if slow:
            time.sleep(0.001)


ECHO = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


def test_every_byte_arrives_and_the_end_too() -> None:
    data = os.urandom(1 << 20)
    assert relayed(ECHO, data)[0] == data


def test_slow_reader_loses_nothing_after_the_end() -> None:
    count = 300_000
    found, _ = relayed(f"import os; [os.write(1, b'x' * 1000) for _ in range({count // 1000})]",
                       slow=True)  # fmt: skip
    assert len(found) == count


def test_stray_process_that_keeps_an_output_open_is_not_waited_for() -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid)"
    stray = int(relayed(code)[0])
    os.kill(stray, signal.SIGKILL)  # it is there: an error if not


def test_program_that_reads_nothing_is_not_waited_for() -> None:
    assert relayed("print('done')", os.urandom(1 << 20))[0] == b"done\n"


def test_signals_are_passed_on_and_handlers_put_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))\n"
        "os.kill(os.getppid(), signal.SIGUSR1)\n"
        "while True: signal.pause()"
    )
    assert relayed(code)[1] == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_own_signals_are_not_passed_on() -> None:
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT} <= {*streams.FORWARDED}
    assert not {signal.SIGCHLD, signal.SIGKILL, signal.SIGPIPE} & {*streams.FORWARDED}
