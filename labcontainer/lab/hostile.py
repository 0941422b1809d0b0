"""Programs that a stranger may send in, and what one sees from outside of those that got through.

    with Stage("/mnt/stage") as stage:                   # what a stranger would like to reach
        verdict = run(judge, program, stage, limits)     # in a process that may be killed for it
        seen = stage.seen(program, verdict)              # "" or the fact that tells that it won

Every program ends by itself or at the outer limits of `run`: none can hurt the machine, also where
a sandbox is wrong. None asks for more than 112 MiB, 24 processes and 24 MB of files.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from labcontainer.kernel import files, netlink, rtnetlink, syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.record import Record

OUTER = {"RLIMIT_CPU": 60, "RLIMIT_DATA": 1 << 30, "RLIMIT_NPROC": 2000}  # of any judge
BRIEF = 0.3  # seconds at least for what never ends by itself
AMPLE = 20  # a busy user-mode kernel counts waiting as computing: so much more for what ends
PATIENCE = 90.0  # seconds for a judge that does not come back
LATE = {"ended": "late"}
SENT = "sent:"  # what a program's word begins with: /proc/PID/cmdline shows it


class Program(Record):
    """One program; of the hostile ones `idea` says what it tries, `hint` how it could."""

    name: str
    idea: str
    code: str
    hint: str = ""
    honest: bool = False
    says: str = ""  # an honest one's output
    endless: bool = False


HOSTILE = (
    Program(
        "loop", "computes for ever", "while True: pass\n",
        "RLIMIT_CPU ends it by its own processor time.", endless=True,
    ),
    Program(
        "sleeper",
        "takes no signal but SIGKILL, closes its output, and sleeps",
        "import os, signal\n"
        "for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)\n"
        "os.close(1); os.close(2)\n"
        "while True: signal.pause()\n",
        "Its output is at its end, and it is not: wait for its report too, and not longer than "
        "`wall`. It takes no processor time, so no limit of that kind ends it.",
        endless=True,
    ),
    Program(
        "orphan",
        "leaves a child behind: two forks and a session of its own",
        "import os, signal\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        os.closerange(0, 3)\n"
        "        while True: signal.pause()\n"
        "    os._exit(0)\n"
        "os.wait()\n",
        "A group of processes or a session can be left. A PID namespace can't: with its PID 1 "
        "all of it ends.",
    ),
    Program(
        "bomb",
        "starts process after process",
        "import os, signal\n"
        "made = []\n"
        "try:\n"
        "    while len(made) < 24:\n"
        "        made.append(os.fork())\n"
        "        if made[-1] == 0: signal.pause()\n"
        "    print('WON', flush=True)\n"
        "finally:\n"
        "    for pid in made: os.kill(pid, 9)\n",
        "RLIMIT_NPROC counts the processes of one user in one user namespace; "
        "the machine's root is not counted, so the box needs a user namespace.",
    ),
    Program(
        "hog",
        "touches 112 MiB",
        "kept = [b'x' * (1 << 20) for _ in range(112)]\n"
        "print('WON')\n",
        "Is RLIMIT_AS set, before the exec?",
    ),
    Program(
        "flood", "prints 256 KiB", "print('x' * (1 << 18))\n",
        "The judge must not read more than `output`, and not read on until the end.",
    ),
    Program(
        "filler",
        "fills the disk with files of 1 MB",
        "for number in range(24):\n"
        "    open(f'fill{number}', 'wb').write(bytes(1 << 20))\n"
        "print('WON')\n",
        "Each file is small enough for RLIMIT_FSIZE. How large is the tmpfs at /tmp?",
    ),
    Program(
        "giant",
        "lifts its own limit, and makes a file of 1 TB that takes no room",
        "import os, resource\n"
        "most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))\n"
        "open('giant', 'w').truncate(1 << 40)\n"
        "print('WON')\n",
        "A soft limit can be lifted up to the hard one: set both.",
    ),
    Program(
        "reader", "reads the answers", "print(open('/mnt/stage/answers').read())\n",
        "The machine's files must not be there: a root directory of its own, and the old one gone.",
    ),
    Program(
        "writer",
        "writes where others will find it",
        "open('/mnt/stage/outside/WORD', 'w').close()\n",
        "The machine's files must not be there: a root directory of its own, and the old one gone.",
    ),
    Program(
        "heir",
        "reads what its judge left open, and its environment",
        "import os\n"
        "for fd in (0, *range(3, 20)):\n"
        "    try: print(os.pread(fd, 4096, 0))\n"
        "    except OSError: pass\n"
        "print(dict(os.environ))\n",
        "/dev/null for descriptor 0, close_range(3) for the rest, an environment of its own.",
    ),
    Program(
        "caller",
        "calls a server on the judge's machine",
        "import socket\n"
        "socket.create_connection(('127.0.0.1', PORT)).send(b'hello')\n",
        "A network namespace of its own has no way out.",
    ),
    Program(
        "spy",
        "looks for others' processes and what their command lines tell",
        "import os\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try: print(open(f'/proc/{pid}/cmdline').read())\n"
        "    except OSError: pass\n",
        "A PID namespace is not enough: a /proc from outside shows those outside.",
    ),
    Program(
        "killer",
        "kills who waits for it",
        "import os\n"
        "os.kill(os.getppid(), 9)\n"
        "os.write(1, b'still here')\n",
        "PID 1 of a PID namespace can't be killed from inside.",
    ),
    Program(
        "forger",
        "writes a verdict of its own into the pipes of who waits for it, and fails",
        "import os\n"
        "line = b'{\"status\":0,\"seconds\":0,\"peak\":0,\"ended\":\"exit 0\"}\\n'\n"
        "for fd in range(3, 20):\n"
        "    path = f'/proc/{os.getppid()}/fd/{fd}'\n"
        "    try: os.write(os.open(path, os.O_WRONLY | os.O_NONBLOCK), line)\n"
        "    except OSError: pass\n"
        "os._exit(3)\n",
        "Its PID 1 is the same user. Who has fewer capabilities may not look into it: drop them.",
    ),
    Program(
        "mounter",
        "puts a file system without a limit over the small one",
        "import ctypes\n"
        "if ctypes.CDLL(None).mount(b'big', b'.', b'tmpfs', 0, None) == 0: print('WON')\n",
        "It is root of its box. Drop its capabilities, in the bounding set too.",
    ),
    Program(
        "climber",
        "makes itself root of a new user namespace, and mounts there",
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "user, mount = 1 << 28, 1 << 17  # CLONE_NEWUSER, CLONE_NEWNS\n"
        "made = libc.unshare(user | mount) == 0\n"
        "if made and libc.mount(b'big', b'.', b'tmpfs', 0, None) == 0: print('WON')\n",
        "Without a capability it gets all of them anew. Docker's seccomp profile refuses unshare.",
    ),
)  # fmt: skip

HONEST = (
    Program(
        "sums", "computes", "print(sum(n * n for n in range(100_000)))\n",
        honest=True, says="333328333350000\n",
    ),
    Program(
        "notes",
        "writes a file of 1 MB and reads it again",
        "open('notes', 'w').write('x' * 1_000_000)\n"
        "print(len(open('notes').read()))\n",
        honest=True,
        says="1000000\n",
    ),
    Program(
        "three",
        "three processes, one after the other's end",
        "import os\n"
        "for number in range(3):\n"
        "    if os.fork() == 0: os.write(1, b'%d\\n' % number); os._exit(0)\n"
        "    os.wait()\n",
        honest=True,
        says="0\n1\n2\n",
    ),
    Program(
        "roomy", "fills 20 MB", "print(len(b'x' * 20_000_000))\n", honest=True, says="20000000\n"
    ),
    Program(
        "words", "prints UTF-8", "print('Grüße, 안녕하세요')\n",
        honest=True, says="Grüße, 안녕하세요\n",
    ),
)  # fmt: skip
PROGRAMS = HOSTILE + HONEST
IN_TURN = tuple(sorted(PROGRAMS, key=lambda program: program.endless))  # the endless ones last


def find(name: str) -> Program:
    """The program of that name."""
    return next(program for program in PROGRAMS if program.name == name)


class Stage:
    """What a stranger would like to reach, with words that are new in each run; a context."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.secret = secrets.token_hex(8)
        self.word = ""
        self.usual = 0.0  # seconds that the last program took that ends by itself: here, and now

    def __enter__(self) -> Stage:
        os.umask(0)
        for folder in ("", "/outside", "/work"):
            os.mkdir(self.top + folder, 0o777)
        files.write_atomically(f"{self.top}/answers", f"{self.secret}\n".encode(), 0o644)
        with netlink.Netlink() as link:
            link.do(rtnetlink.set_link("lo", up=True))
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.neighbour = os.fork()
        if self.neighbour == 0:
            waits = [sys.executable, "-ISc", "import signal; signal.pause()", self.secret]
            os.execv(sys.executable, waits)
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.neighbour, signal.SIGKILL)
        os.waitpid(self.neighbour, 0)
        self.server.close()
        shutil.rmtree(self.top)

    def text(self, program: Program) -> str:
        """A program as it is sent in: with this machine's port, and a word to know it by."""
        self.word = f"{SENT}{secrets.token_hex(4)}"
        code = program.code.replace("PORT", str(self.server.getsockname()[1]))
        return f"# {self.word}\n{code}".replace("WORD", self.word)

    def seen(self, program: Program, verdict: dict[str, Any] | None) -> str:
        """The fact by which a hostile program has won, or an honest one has lost; "" if none."""
        left, called = self.left_behind(), self.was_called()
        if verdict is None:
            return "there is no verdict: its judge is dead"
        said, ended = str(verdict.get("output")), verdict.get("ended")
        if program.honest:
            right = (program.says, "exit 0")
            return "" if (said, ended) == right else f"ended by {ended}, printed {said[:60]!r}"
        facts = (
            (ended == "lost", "there is no report: its supervisor is dead"),
            (ended == "late", "its judge still waits"),
            (program.name == "forger" and ended != "exit 3", f"its verdict is {ended!r}"),
            (called, "the server was called"),
            (os.path.exists(f"{self.top}/outside/{self.word}"), "its file lies outside"),
            (self.secret in said, "the secret is in its output"),
            (len(said) > 1 << 16, "more than 64 KiB of output were taken"),
            ("WON" in said, "it had all that it asked for"),
            (left, "a process of it lives on"),
        )
        return next((text for fact, text in facts if fact), "")

    def left_behind(self) -> int:
        """Kill the processes of the last program that live on; how many they were."""
        found = 0
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                line = files.read(f"/proc/{name}/cmdline")
                if self.word in line and "\nState:\tZ" not in files.read(f"/proc/{name}/status"):
                    os.kill(int(name), signal.SIGKILL)
                    found += 1
            except OSError:
                pass  # it has ended meanwhile
        return found

    def was_called(self) -> bool:
        """Whether somebody connected to the server since the last look."""
        try:
            self.server.accept()[0].close()
        except BlockingIOError:
            return False
        return True


def run(
    judge: Callable[..., Any],
    program: Program,
    stage: Stage,
    limits: dict[str, Any],
    hasty: bool = False,
) -> dict[str, Any] | None:
    """What a judge says to a program; None if it did not live to say anything.

    The judge is a process of its own, in a mount namespace of its own, with the answers on its
    standard input and a secret in its environment, as careless judges have them. With `hasty` what
    never ends gets as little time of the clock as is enough for it to have begun.
    """
    brief = program.endless and (hasty or program.name != "loop")
    begun = time.monotonic()
    wall = max(BRIEF, 3 * stage.usual) if brief else limits["wall"]
    text = stage.text(program)
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _be_judge(stage, writes)
            seconds = limits["seconds"] * (1 if program.endless else AMPLE)
            verdict = judge(text, {**limits, "wall": wall, "seconds": seconds})
            os.write(3, json.dumps(verdict).encode() + b"\n")
        finally:
            os._exit(1)
    os.close(writes)
    deadline = time.monotonic() + PATIENCE
    told = _read_line(reads, deadline)
    while told != LATE and select.select([reads], [], [], max(0, deadline - time.monotonic()))[0]:
        if not os.read(reads, 1 << 16):  # its end: a forged verdict comes before that of the judge
            break
    os.close(reads)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if not program.endless:
        stage.usual = time.monotonic() - begun
    return told


def _be_judge(stage: Stage, writes: int) -> None:
    """A process group, a mount namespace, outer limits; descriptor 3 is the way to the verdict."""
    answers = os.open(f"{stage.top}/answers", os.O_RDONLY)
    os.dup2(answers, 0)
    os.dup2(writes, 3, inheritable=False)
    syscalls.close_range(4)
    syscalls.unshare(CLONE.NEWNS)
    syscalls.mount(None, "/", None, MS.REC | MS.PRIVATE)
    os.environ["ANSWERS_KEY"] = stage.secret
    os.chdir(f"{stage.top}/work")
    for name, most in OUTER.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _read_line(fd: int, deadline: float) -> dict[str, Any] | None:
    """The first line of a pipe; None at its end."""
    got = b""
    while b"\n" not in got:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return LATE
        part = os.read(fd, 1 << 16)
        if not part:
            return None
        got += part
    verdict = json.loads(got.partition(b"\n")[0])
    return verdict if isinstance(verdict, dict) else {"ended": repr(verdict)}
