"""One piece of a lesson, run in a fresh child: its output, its value or error, piped back.

    parent                       child
      │  fork ───────────────────▶ new namespaces, user, root (as the job says)
      │  ◀── {"started": pid}      [with a new PID namespace: forked once more, PID 1 runs the job]
      │  ◀── {"value": …} or {"error": …}
      │  ask: an expression ────▶  only with `hold`: the child stays, answers, ends when the
      │  ◀── {"value": …}          pipe closes

Output goes through a pipe of its own: a child never inherits the notebook's stdout. The caller
must have one thread only (the helper, or the process of a check).
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import CLONE, MS, PR
from labcontainer.record import Record

if TYPE_CHECKING:
    from labcontainer.lab.apart import Stage

ORDINARY_USER = 1000
OUTPUT_LIMIT = 256 * 1024
FLAGS = {
    "user": CLONE.NEWUSER,
    "mnt": CLONE.NEWNS,
    "uts": CLONE.NEWUTS,
    "ipc": CLONE.NEWIPC,
    "net": CLONE.NEWNET,
    "cgroup": CLONE.NEWCGROUP,
    "time": CLONE.NEWTIME,
    "pid": CLONE.NEWPID,
}


class Job(Record):
    """What to run: Python source and the name to call in it, or a program in `argv`."""

    source: str = ""
    file: str = "<lab>"  # what a traceback calls the source
    call: str = ""
    args: tuple[Any, ...] = ()
    argv: tuple[str, ...] = ()
    root: str = ""  # chroot here before `argv`
    namespaces: tuple[str, ...] = ()
    as_user: bool = False
    hold: bool = False
    path: tuple[str, ...] = ()  # put in front of sys.path


class Result(Record):
    """What came back: `value`, or `error` with `errno`; everything printed is in `output`."""

    value: Any = None
    error: str = ""  # "PermissionError: [Errno 1] Operation not permitted: '/x'"
    kind: str = ""  # the exception's class name
    errno: int = 0
    line: int = 0  # of the source
    output: str = ""
    status: int = 0  # exit code, or minus the signal's number
    timed_out: bool = False
    returned: bool = False  # the function came back with a value

    @property
    def ok(self) -> bool:
        """Whether it ended without error, in time, with status 0."""
        return not (self.error or self.timed_out or self.status)


class Running:
    """A child under way. `pid` is the process that runs the job, in the caller's PID namespace."""

    def __init__(self, first: int, output: int, answers: int, asks: int) -> None:
        self.first = first  # our own child: it and the job's process are two with "pid" or "time"
        self.pid = 0
        self._first_fd = syscalls.pidfd_open(first)
        self._output, self._answers, self._asks = output, answers, asks
        self._printed, self._received = bytearray(), bytearray()
        self._messages: list[dict[str, Any]] = []
        self._over = False
        self.status = 0

    def wait(self, timeout: float, also: int = -1) -> Result:
        """Wait for value, error or end. `also`: a descriptor whose closing ends the waiting."""
        limit = time.monotonic() + timeout
        while not self._settled():
            left = limit - time.monotonic()
            if left <= 0 or not self._pump(left, also):
                self.kill()
                return self._result().replace(timed_out=True)
        return self._result()

    def wait_started(self, timeout: float = 10) -> None:
        """Wait until the job's process stands in its namespaces and `pid` is known."""
        limit = time.monotonic() + timeout
        while not self.pid and not self._over and time.monotonic() < limit:
            self._pump(limit - time.monotonic(), -1)

    def ask(self, expression: str, timeout: float = 5) -> Any:
        """The value of an expression in a held child; raises RuntimeError if it has none."""
        self._messages = [message for message in self._messages if "started" in message]
        os.write(self._asks, json.dumps(expression).encode() + b"\n")
        result = self.wait(timeout)
        if result.error or not result.returned:
            raise RuntimeError(result.error or f"no answer to {expression!r}")
        return result.value

    def end(self, grace: float = 1) -> Result:
        """Let a held child go, and wait for its end."""
        if self._asks >= 0:
            os.close(self._asks)
            self._asks = -1
        self._pump_until_over(grace)
        self.kill()
        return self._result()

    def kill(self) -> None:
        """Kill the job's process and our child, reap it and close what is open."""
        if self.pid and self.pid != self.first and not self._over:
            _kill(self.pid)  # our child waits for it and ends then, so that no zombie is left
            self._pump_until_over(1)
        if not self._over:
            _kill(self.first)
        self._pump_until_over(5)
        self.close()

    def _pump_until_over(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while not self._over and (left := limit - time.monotonic()) > 0:
            self._pump(left, -1)

    def close(self) -> None:
        """Close the pipes; a process that outlives the job gets EPIPE on its next print."""
        for fd in (self._output, self._answers, self._asks, self._first_fd):
            if fd >= 0:
                os.close(fd)
        self._output = self._answers = self._asks = self._first_fd = -1

    def _settled(self) -> bool:
        return self._over or any("value" in m or "error" in m for m in self._messages)

    def _pump(self, timeout: float, also: int) -> bool:
        """Take in what the child sends; False if nothing came in time or `also` closed."""
        watched = [fd for fd in (self._output, self._answers, self._first_fd) if fd >= 0]
        ready = select.select([*watched, also] if also >= 0 else watched, [], [], timeout)[0]
        if not ready or also in ready:
            return False
        if self._output in ready:
            self._read_output()
        if self._answers in ready:
            self._read_answers()
        if self._first_fd in ready:
            self._reap()
        return True

    def _read_output(self) -> None:
        data = os.read(self._output, 65536)
        if not data:
            os.close(self._output)
            self._output = -1
        elif len(self._printed) < OUTPUT_LIMIT:
            self._printed += data

    def _read_answers(self) -> None:
        data = os.read(self._answers, 65536)
        if not data:
            os.close(self._answers)
            self._answers = -1
            return
        self._received += data
        *lines, rest = bytes(self._received).split(b"\n")
        self._received = bytearray(rest)
        for line in lines:
            message = json.loads(line)
            self._messages.append(message)
            self.pid = message.get("started", self.pid)

    def _reap(self) -> None:
        _, status = os.waitpid(self.first, 0)
        self.status = os.waitstatus_to_exitcode(status)
        self._over = True
        while self._answers >= 0 and _readable(self._answers):
            self._read_answers()

    def _result(self) -> Result:
        # What is printed before the answer is written was written before it: one more look.
        while self._output >= 0 and _readable(self._output):
            self._read_output()
        answer = next((m for m in self._messages if "value" in m or "error" in m), {})
        return Result(
            value=answer.get("value"),
            error=answer.get("error", ""),
            kind=answer.get("kind", ""),
            errno=answer.get("errno", 0),
            line=answer.get("line", 0),
            output=self._printed.decode(errors="replace"),
            status=0 if answer else self.status,
            returned="value" in answer,
        )


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def _kill(pid: int) -> None:
    """Kill a process and its process group: what it started goes with it."""
    for kill, target in ((os.killpg, pid), (os.kill, pid)):
        try:
            kill(target, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


# --- in the child -------------------------------------------------------------------------------

# In grading the fork becomes a program of its own first, which calls `run` itself.
becoming: Stage | None = None


def start(job: Job) -> Running:
    """Fork a child that does the job."""
    kept = () if becoming is None else (becoming.prepare(),)
    output, answers, asks = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid:
        for fd in (output[1], answers[1], asks[0]):
            os.close(fd)
        return Running(pid, output[0], answers[0], asks[1])
    try:
        os.setsid()
        redirect(output[1])
        _close_all_but(answers[1], asks[0], *kept)
        if becoming is not None:
            becoming.become(job, answers[1], asks[0])
        run(job, answers[1], asks[0])
    finally:
        os._exit(1)
    raise AssertionError


def redirect(output: int) -> None:
    """Standard output and error into one pipe, unbuffered: a fork must not double the text."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    if null > 2:
        os.close(null)
    os.dup2(output, 1)
    os.dup2(output, 2)
    raw = open(1, "wb", buffering=0, closefd=False)
    import io

    sys.stdout = sys.stderr = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def _close_all_but(*keep: int) -> None:
    """Close what was inherited: another child's pipe, held here, would never come to its end."""
    low = 3
    for fd in sorted(keep):
        if fd > low:
            os.closerange(low, fd)
        low = fd + 1
    syscalls.close_range(low)


def run(job: Job, answers: int, asks: int) -> None:
    """Everything that the child does, by the protocol above; never returns."""
    try:
        _prepare(job, answers)
        me = os.getpid()
        _send(answers, {"started": me} if not _forks(job) else {})
        namespace = _execute(job, answers)
        if os.getpid() != me:  # a fork of the learner's that came back from the function
            os._exit(0)
    except SystemExit as leaving:
        os._exit(leaving.code if isinstance(leaving.code, int) else 1 if leaving.code else 0)
    except BaseException as error:  # whatever it is, it goes to the parent
        _send(answers, describe(error, job.file))
        namespace = None
    if job.hold and namespace is not None:
        _answer(asks, answers, namespace)
    os._exit(0)


def _forks(job: Job) -> bool:
    return bool({"pid", "time"} & set(job.namespaces))


def _prepare(job: Job, answers: int) -> None:
    """Namespaces, then the user, then the root."""
    if job.as_user:
        become_ordinary()
    if job.namespaces:
        _new_namespaces(job, answers)
    if job.root:
        os.chroot(job.root)
        os.chdir("/")


def become_ordinary() -> None:
    """User and group 1000, no capabilities: where those ids are not mapped, in one more
    user namespace that maps them to us."""
    try:
        os.setgroups([])
        os.setresgid(*3 * (ORDINARY_USER,))
        os.setresuid(*3 * (ORDINARY_USER,))
    except OSError:
        uid, gid = os.geteuid(), os.getegid()
        if uid != ORDINARY_USER and syscalls.capget()[0]:  # without any right it is one already
            syscalls.unshare(CLONE.NEWUSER)
            files.write("/proc/self/setgroups", "deny")
            files.write("/proc/self/gid_map", f"{ORDINARY_USER} {gid} 1")
            files.write("/proc/self/uid_map", f"{ORDINARY_USER} {uid} 1")
            syscalls.capset(0, 0, 0)
    # Changing the user makes /proc/self belong to root; this gives it back (proc(5), PID files).
    syscalls.prctl(PR.SET_DUMPABLE, 1)
    os.environ.update(HOME="/", USER="student", LOGNAME="student")


def _new_namespaces(job: Job, answers: int) -> None:
    """Leave for new namespaces; with a new PID namespace go on in a child that is its PID 1."""
    uid, gid = os.geteuid(), os.getegid()
    names = set(job.namespaces)
    if "user" in names:
        syscalls.unshare(CLONE.NEWUSER)
        files.write("/proc/self/setgroups", "deny")
        files.write("/proc/self/gid_map", f"0 {gid} 1")
        files.write("/proc/self/uid_map", f"0 {uid} 1")
    rest = 0
    for name in names - {"user"}:
        rest |= int(FLAGS[name])
    if rest:
        syscalls.unshare(rest)
    if _forks(job):
        _fork_first(answers)
    if "mnt" in names:
        syscalls.mount(None, "/", None, MS.REC | MS.PRIVATE)
        if "pid" in names:
            syscalls.mount("proc", "/proc", "proc", MS.NOSUID | MS.NODEV | MS.NOEXEC)


def _fork_first(answers: int) -> None:
    """Fork: the child goes on, this process waits for it and ends as it ended."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        syscalls.prctl(PR.SET_PDEATHSIG, signal.SIGKILL)
        os.close(tell)
        os.read(told, 1)  # its answer must not overtake its number
        os.close(told)
        return
    os.close(told)
    _send(answers, {"started": pid})
    os.close(tell)
    os.close(answers)
    os.close(1)
    os.close(2)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (9, 19) else None
        os.kill(os.getpid(), -code)
    os._exit(code & 0xFF)


def _execute(job: Job, answers: int) -> dict[str, Any]:
    """Run the source, call the name in it, send the value."""
    sys.path[:0] = job.path
    if job.argv:
        os.execvp(job.argv[0], list(job.argv))
    namespace: dict[str, Any] = {"__name__": "__lab__", "__file__": job.file}
    remember_source(job.file, job.source)
    exec(compile(job.source, job.file, "exec"), namespace)  # the learner's own code
    me, value = os.getpid(), None
    if job.call:
        if job.call not in namespace:
            raise NameError(f"the cell defines no {job.call!r}")
        found = namespace[job.call]
        value = found(*job.args) if callable(found) else found
    if os.getpid() == me:
        _send(answers, {"value": value})
    return namespace


def remember_source(file: str, source: str) -> None:
    """Let tracebacks and `inspect` find the lines of a source that is in no file."""
    import linecache

    linecache.cache[file] = (len(source), None, source.splitlines(True), file)


def describe(error: BaseException, file: str) -> dict[str, Any]:
    """An exception as a message: its last line, errno, and the line of the source it came from."""
    line, frame = 0, error.__traceback__
    while frame:
        if frame.tb_frame.f_code.co_filename == file:
            line = frame.tb_lineno
        frame = frame.tb_next
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno or 0
    text = str(error)
    kind = type(error).__name__
    errno = error.errno if isinstance(error, OSError) else 0
    return {"error": f"{kind}: {text}" if text else kind, "kind": kind, "errno": errno or 0,
            "line": line}  # fmt: skip


def _answer(asks: int, answers: int, namespace: dict[str, Any]) -> None:
    """Answer expressions until the other side closes."""
    buffer = b""
    while data := os.read(asks, 65536):
        buffer += data
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            try:
                _send(answers, {"value": eval(json.loads(line), namespace)})
            except Exception as error:
                _send(answers, describe(error, "<ask>"))


def _send(answers: int, message: dict[str, Any]) -> None:
    if message:
        os.write(answers, json.dumps(message, default=_plain).encode() + b"\n")


def _plain(value: Any) -> Any:
    """What JSON lacks: sets as sorted lists, records as dictionaries, anything else as text."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Record):
        return value.as_dict()
    return repr(value)


def as_job(fields: dict[str, Any]) -> Job:
    """A job from its JSON form."""
    tuples = ("args", "argv", "namespaces", "path")
    values: dict[str, Any] = {n: tuple(v) if n in tuples else v for n, v in fields.items()}
    return Job(**values)
