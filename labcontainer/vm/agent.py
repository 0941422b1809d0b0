"""The guest's first process: runs the programs that the host asks for, and passes bytes on.

Runs as `python -I -S -E agent.py LINE [ROOT]`: LINE is the device that leads to the host, ROOT the
directory that programs have as their root. From the host's file tree or the initramfs, without the
package on its path.
The messages are drawn in frames.py.
"""

from __future__ import annotations

# What `signal` wraps: its enums are a third of this program's start, which every boot waits for.
import _signal as signal  # type: ignore[import-not-found, unused-ignore]
import os
import select
import sys
import time
import warnings  # noqa: F401  os.execvpe asks for it, in a child whose root may be another

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # type: ignore[import-not-found, unused-ignore]

CHUNK = 65536
LINGER = 1.0  # seconds that output may still come from what a program left running
GROUPS = "/sys/fs/cgroup"


class Program:
    """One program: its process, the ends of its pipes, its status once it is known."""

    def __init__(self, pid: int, stdin: int, outputs: dict[int, int]) -> None:
        self.pid = pid
        self.stdin = stdin
        self.outputs = outputs  # descriptor -> kind of message
        self.pending = bytearray()  # for its standard input
        self.closing = False
        self.status: int | None = None
        self.ended = 0.0

    def done(self) -> bool:
        """It has ended, and so has its output (or it has had its time)."""
        if self.status is None:
            return False
        return not self.outputs or time.monotonic() - self.ended > LINGER

    def feed(self) -> None:
        """Write what its standard input takes now; close it at the end."""
        try:
            if self.pending:
                del self.pending[: os.write(self.stdin, self.pending)]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.pending.clear()
            self.closing = True
        if self.closing and not self.pending:
            os.close(self.stdin)
            self.stdin = -1


def start(program: bytes) -> Program:
    """Fork and exec one program."""
    read0, write0 = os.pipe()
    read1, write1 = os.pipe()
    read2, write2 = os.pipe()
    pid = os.fork()
    if pid == 0:
        become(program, (read0, write1, write2))
    for end in (read0, write1, write2):
        os.close(end)
    for end in (write0, read1, read2):
        os.set_blocking(end, False)
    return Program(pid, write0, {read1: frames.STDOUT, read2: frames.STDERR})


def become(program: bytes, streams: tuple[int, int, int]) -> None:
    """The child's side: never returns."""
    status = 126
    uid, cwd, argv, env = frames.unpack_program(program)
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        for number, end in enumerate(streams):
            os.dup2(end, number)
        os.setsid()
        if len(sys.argv) > 2:
            os.chroot(sys.argv[2])
        own_group(uid)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        os.chdir(cwd)
        os.execvpe(argv[0], argv, env)
    except FileNotFoundError as error:
        status = 127
        print(f"labcontainer: {argv[0]}: {error}", file=sys.stderr, flush=True)
    except BaseException as error:
        print(f"labcontainer: {argv[0]}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def own_group(uid: int) -> None:
    """A control group that belongs to the user, as systemd gives each (Delegate=yes)."""
    if uid == 0 or not os.path.exists(f"{GROUPS}/cgroup.procs"):
        return
    above = f"{GROUPS}/user-{uid}"
    for path in (above, f"{above}/session"):
        os.makedirs(path, exist_ok=True)
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(os.path.join(path, name), uid, uid)
    with open(f"{above}/session/cgroup.procs", "w") as file:
        file.write("0")


class Agent:
    """The loop over the line, the pipes and the ends of children."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.reader = frames.Reader()
        self.programs: dict[int, Program] = {}
        self.woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        os.set_blocking(self.woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)

    def send(self, kind: int, number: int, data: bytes = b"") -> None:
        """Write one message; blocks while the host does not read."""
        left = memoryview(frames.pack(kind, number, data))
        while left:
            left = left[os.write(self.line, left) :]

    def serve(self) -> None:
        """Until the host closes the line."""
        self.send(frames.READY, 0)
        while True:
            readable, _, _ = select.select(*self.watched(), [], self.wait_time())
            if self.line in readable and not self.hear():
                return
            if self.woken in readable:
                os.read(self.woken, CHUNK)
            self.reap()
            self.pass_on(readable)

    def watched(self) -> tuple[list[int], list[int]]:
        """Descriptors to read from, and to write to."""
        reads = [self.line, self.woken]
        for program in self.programs.values():
            reads += program.outputs
        return reads, [one.stdin for one in self.programs.values() if one.pending]

    def wait_time(self) -> float | None:
        """Seconds to sleep at most: a program that ended may have left its output open."""
        return 0.1 if any(one.status is not None for one in self.programs.values()) else None

    def hear(self) -> bool:
        """Take what the host sent; False when the line is closed."""
        try:
            data = os.read(self.line, CHUNK)
        except OSError:
            return False
        for kind, number, body in self.reader.feed(data):
            self.obey(kind, number, body)
        return bool(data)

    def obey(self, kind: int, number: int, body: bytes) -> None:
        """One message of the host."""
        if kind == frames.EXEC:
            self.programs[number] = start(body)
            return
        if kind == frames.STDIN and body:
            self.send(frames.STDIN, number)
        program = self.programs.get(number)
        if program is None or program.status is not None:
            return  # it ended while the message was under way
        if kind == frames.STDIN and program.stdin >= 0:
            program.pending += body
            program.closing = program.closing or not body
            program.feed()
        elif kind == frames.SIGNAL:
            os.kill(program.pid, int(body))

    def reap(self) -> None:
        """Collect ended children: the programs', and those that others left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for program in self.programs.values():
                if program.pid == pid:
                    program.status = status
                    program.ended = time.monotonic()

    def pass_on(self, readable: list[int]) -> None:
        """Move output to the host and input to the programs; tell who is done."""
        for number, program in list(self.programs.items()):
            for end in [one for one in program.outputs if one in readable]:
                data = os.read(end, CHUNK)
                if data:
                    self.send(program.outputs[end], number, data)
                else:
                    del program.outputs[end]
                    os.close(end)
            if program.pending:
                program.feed()
            if program.done():
                self.finish(number, program)

    def finish(self, number: int, program: Program) -> None:
        """Tell the host how it ended. hostfs wrote out its files when they were closed; a sync(2)
        here would wait for ever once the overlay was written to."""
        for end in [*program.outputs, *([program.stdin] if program.stdin >= 0 else [])]:
            os.close(end)
        del self.programs[number]
        code = os.waitstatus_to_exitcode(program.status or 0)
        self.send(frames.EXIT, number, str(code if code >= 0 else 128 - code).encode())


if __name__ == "__main__":
    Agent(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)).serve()
