"""Answers that attack whoever grades them. Each is the body of `own_name`, an exercise's function.

They are sent as text, with the constants below filled in; what one has got it tells in an
exception. So an import stands in the function, as in a cell.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable

_DONE = {"state": "done", "text": "", "expected": "", "observed": "", "where": "", "hint": "",
         "score": ""}  # fmt: skip
VERDICT = json.dumps({"outcome": _DONE, "limit": ""})
PLACES = ["/tmp", "/var/tmp", "/dev/shm", "/mnt", "/run", "/submitted"]
MARK = ""  # an argument by which a process is found
PORT = 0  # of a server on this machine's loopback
ABSTRACT = ""  # the name of a server on a Unix socket
PATHS: list[str] = []  # of this machine, which should not be there
WORDS: list[str] = []  # that should be nowhere; as patterns, for the words themselves are then here

EARLY_PRINT = "class Early:\n    print(VERDICT)\n"
EARLY_PATCH = """\
class Early:
    import os
    from labcontainer.lab import exercise, trial
    exercise.not_yet = trial.not_yet = lambda **words: exercise.done("patched")
    trial.Held.namespaces = lambda self: {"uts": 1}
    os.stat = None
"""


Attack = Callable[..., object]


def text(attack: Attack, before: str = "", **constants: object) -> str:
    """An attack as an answer to `namespaces.own_name`."""
    known = {"VERDICT": VERDICT, "PLACES": PLACES, **constants}
    lines = "".join(f"{name} = {value!r}\n" for name, value in known.items())
    source = inspect.getsource(attack)
    called = source[len("def ") : source.index("(")]
    return f"{lines}{before}\n\n{source.replace(f'def {called}(', 'def own_name(', 1)}"


def prints(name: str) -> None:
    import os
    import sys

    print(VERDICT)
    print(VERDICT, file=sys.__stderr__)
    os.write(2, VERDICT.encode())


def writes(name: str) -> None:
    import os

    for fd in range(3, 600):
        try:
            os.write(fd, VERDICT.encode() + b"\n")
        except OSError:
            pass


def looks(name: str) -> None:
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    got: list[str] = []

    def look(where: str) -> None:
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            if os.path.samefile(f"/proc/{pid}", "/proc/self"):
                continue
            for file in ("mem", "environ", "maps", "root/", "cwd/", "ns/mnt", "exe"):
                try:
                    os.open(f"/proc/{pid}/{file}", os.O_RDONLY)
                    got.append(f"{where} {pid}/{file}")
                except OSError:
                    pass
            for fd in range(30):
                try:
                    os.write(os.open(f"/proc/{pid}/fd/{fd}", os.O_WRONLY), VERDICT.encode())
                    got.append(f"{where} {pid}/fd/{fd}")
                except OSError:
                    pass

    def take() -> None:
        for pid in range(1, os.getpid()):
            if libc.ptrace(0x4206, pid, 0, 0) == 0:  # PTRACE_SEIZE
                got.append(f"traced {pid}")
            pidfd = libc.syscall(434, pid, 0)
            if pidfd >= 0 and libc.setns(pidfd, 0x20000) == 0:
                got.append(f"joined {pid}")
            for fd in range(30):
                if pidfd >= 0 and libc.syscall(438, pidfd, fd, 0) >= 0:  # pidfd_getfd
                    got.append(f"took {fd} of {pid}")

    look("inside")
    take()
    if libc.umount2(b"/proc", 2) == 0 and os.path.isdir("/proc/self"):
        look("below")
        got.append("saw below")
    raise LookupError("got " + ", ".join(got))


def kills(name: str) -> None:
    import os

    os.kill(1, 9)
    os.kill(1, 19)
    os.kill(-1, 9)
    raise LookupError("alive")


def ends(name: str) -> None:
    import os

    os._exit(0)


def forks(name: str) -> None:
    import os

    while True:
        os.fork()


def allocates(name: str) -> None:
    bytearray(10 << 30)


def hogs(name: str) -> None:
    import os
    import time

    for _ in range(6):
        if os.fork() == 0:
            held = bytearray(300 << 20)
            held[::4096] = bytes(len(held) // 4096)
            time.sleep(60)
    os.wait()  # until the kernel has ended one of them


def fills(name: str) -> None:
    for number in range(10):
        with open(f"/mnt/{number}", "wb") as file:
            file.write(bytes(100 << 20))


def loops(name: str) -> None:
    while True:
        pass


def floods(name: str) -> None:
    import os

    for _ in range(2000):
        os.write(1, bytes(65536))


def answers(name: str) -> str:
    return "x" * (200 << 20)


def finds(name: str) -> None:
    import os
    import re
    import sys

    found = []
    words = [re.compile(word.encode()) for word in WORDS]
    for top, folders, files in os.walk("/"):
        if top in ("/usr", "/proc", "/sys", "/dev", sys.prefix):
            folders[:] = []
            continue
        if "/lab/exercises" in top and files:
            found.append(top)
        for file in files:
            try:
                with open(os.path.join(top, file), "rb") as opened:
                    content = opened.read(1 << 24)
            except OSError:
                continue
            found += [f"{top}/{file}" for word in words if word.search(content)]
    found += [path for path in PATHS if os.path.exists(path)]
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
        for line in maps:
            first, last = (int(end, 16) for end in line.split()[0].split("-"))
            if " rw" in line:
                try:
                    memory.seek(first)
                    data = memory.read(last - first)
                except OSError:
                    continue
                found += [f"memory: {word}" for word in words if word.search(data)]
    raise LookupError("found " + ", ".join(found))


def calls(name: str) -> None:
    import socket

    met = [interface for _, interface in socket.if_nameindex()]
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", PORT)),
        (socket.AF_INET, ("192.0.2.1", 53)),
        (socket.AF_UNIX, f"\0{ABSTRACT}"),
        (40, (2, 22)),  # AF_VSOCK: the machine that this one is a guest of
    ):
        try:
            socket.socket(family, socket.SOCK_STREAM).connect(address)
            met.append(str(address))
        except OSError:
            pass
    raise LookupError("met " + ", ".join(met))


def stays(name: str) -> None:
    import os

    if os.fork() == 0:
        os.setsid()
        os.execv("/bin/sleep", [MARK, "1000"])


def poisons(name: str) -> None:
    for place in PLACES:
        try:
            open(f"{place}/poison", "w").close()
        except OSError:
            pass
    raise LookupError("poisoned")


def victim(name: str) -> None:
    import os

    seen = [place for place in PLACES if os.path.exists(f"{place}/poison")]
    raise LookupError("seen " + ", ".join(seen))


def patches(name: str) -> None:
    import sys

    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
        if "trial" in frame.f_locals:
            raise LookupError("the check")


def mounts(name: str) -> None:
    import os

    from labcontainer.kernel import syscalls
    from labcontainer.kernel.flags import MS

    os.mkdir("/mnt/fake")
    for place in ("/course", os.path.dirname(os.__file__), "/proc"):
        syscalls.mount("/mnt/fake", place, None, MS.BIND)


def overwrites(name: str) -> None:
    import ctypes
    import os
    import resource
    import sys

    libc, did = ctypes.CDLL(None, use_errno=True), []
    for top in ("/", "/usr", "/course", sys.prefix):
        libc.mount(None, top.encode(), None, 32 | 4096, None)  # remount, bind: not read-only
    for path in ("/course/labcontainer/lab/trial.py", "/usr/bin/env", "/etc/passwd", "/new",
                 sys.executable, os.__file__):  # fmt: skip
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
            did.append(path)
        except OSError:
            pass
    for number in (resource.RLIMIT_NPROC, resource.RLIMIT_AS, resource.RLIMIT_CPU):
        try:
            resource.setrlimit(number, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            did.append(f"limit {number}")
        except (OSError, ValueError):
            pass
    try:
        os.mknod("/mnt/disk", 0o60600, os.makedev(8, 0))
        did.append("a disk")
    except OSError:
        pass
    raise LookupError("wrote " + ", ".join(did))


def computes(name: str) -> None:
    raise type('=HYPERLINK("http://x")', (Exception,), {})


def tells(name: str) -> None:
    import importlib

    own = importlib.import_module("mycontainer.chroot")
    raise LookupError(f"{name} {own.__file__}")


# attack -> the state that it must come to, and words of what is observed. Behind a `LookupError: …`
# that ends in a blank nothing may follow: whatever came there, the attack has got.
WANTED: dict[Attack, tuple[str, str]] = {
    prints: ("not yet", "the one that everybody is in"),
    writes: ("not yet", ""),
    looks: ("not yet", "LookupError: got "),
    kills: ("not yet", "LookupError: alive"),
    ends: ("not yet", "the process ended"),
    forks: ("refused", "processes"),
    allocates: ("refused", "memory"),
    fills: ("refused", "file size"),
    loops: ("", ""),  # out of processor time, or of the time on the clock
    floods: ("not yet", "the one that everybody is in"),
    answers: ("", ""),  # how far the check gets with 200 MB depends on the moment
    finds: ("not yet", "LookupError: found "),
    calls: ("not yet", "LookupError: met lo "),
    stays: ("not yet", "the one that everybody is in"),
    poisons: ("not yet", "LookupError: poisoned"),
    victim: ("not yet", "LookupError: seen "),
    patches: ("not yet", "the one that everybody is in"),
    mounts: ("not yet", ""),
    overwrites: ("not yet", "LookupError: wrote "),
    computes: ("not yet", "=HYPERLINK"),
}
BEFORE: dict[Attack, str] = {prints: EARLY_PRINT, patches: EARLY_PATCH}
