"""The last steps of every process that enters a container: whose it is, what it may, what it runs.

Both the container's first process (init) and one that joins later (exec) take them, in this order:

    limits       bounding set      user and groups      working directory      the program's file
    (ready, and whatever the runtime wants to do before the program runs)
    system call filter and capabilities      the program

Where privileges may still be gained by exec, loading a filter takes CAP_SYS_ADMIN: then the filter
comes before the capabilities go. Where they may not (`noNewPrivileges`), it comes after, and so it
may forbid everything but exec itself. See seccomp(2), capabilities(7), runtime-spec config.md.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

from labcontainer import capabilities, cgroups, users
from labcontainer.capabilities import Sets
from labcontainer.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    SpecError,
    StepError,
    UnsupportedError,
)
from labcontainer.kernel import confined, memexec, sockets, syscalls
from labcontainer.kernel.flags import CLONE, CLOSE_RANGE, PERSONALITY, PR, RESOLVE
from labcontainer.kernel.signals import signal
from labcontainer.kernel.trampoline import Birth
from labcontainer.record import Record
from labcontainer.runtime import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from labcontainer.runtime.spec import Hook, Process

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PERSONALITIES = {"": None, "LINUX": PERSONALITY.LINUX, "LINUX32": PERSONALITY.LINUX32}
_CAP_SYS_ADMIN = 1 << 21
_INFINITY = 2**64 - 1


class Filter(Record):
    """A compiled system call filter. `listener`: a socket of who decides about calls, or -1."""

    code: bytes
    flags: int = 0
    listener: int = -1
    metadata: str = ""


def compiled(profile: dict[str, Any]) -> Filter:
    """The filter of a `linux.seccomp`. Done where the host's code and files are in reach.

    Raises:
        SpecError: the profile is off.
        OSError: nobody listens where the profile says.
    """
    from labcontainer import seccomp

    program = seccomp.compile(profile)
    listener = sockets.connect(program.listener_path) if program.listener_path else -1
    return Filter(program.code(), program.load_flags(), listener, program.listener_metadata)


class Confinement:
    """One process on its way into a container. `warn` is told what could not be granted."""

    def __init__(
        self,
        process: Process,
        warn: Callable[[str], object],
        filter: Filter | None = None,
        pid: int = 0,
    ) -> None:
        """`filter` and `pid`, the process's number outside, may be set until `run`."""
        self.process = process
        self.sets = process.capabilities or Sets()
        self._warn = warn
        self.filter, self.pid = filter, pid
        # Loaded here, with all that runs in the container: there, no more code can be.
        if process.rlimits:
            import resource  # noqa: F401
        self._labels = _labels(process)
        self._path = ""

    # --- before `ready` -------------------------------------------------------------------------

    def set_personality(self, domain: str) -> None:
        """Show the program a 32-bit machine, if config.json asks for it."""
        if domain not in _PERSONALITIES:
            raise SpecError("linux.personality.domain", f"unknown domain {domain!r}")
        if (persona := _PERSONALITIES[domain]) is not None:
            syscalls.personality(persona)

    def set_scheduling(self) -> None:
        """Its turns at the CPU and the disk, while this process may ask for better ones."""
        scheduler, io_priority = self.process.scheduler, self.process.io_priority
        if scheduler is not None or io_priority is not None:
            from labcontainer.runtime import scheduling

            scheduling.apply(scheduler, io_priority)

    def take_stdio(self) -> None:
        """Give the standard streams to the user, who could else not open /dev/stdout again."""
        for fd in (0, 1, 2):
            try:
                about = os.fstat(fd)
                if about.st_rdev == os.makedev(1, 3) or about.st_uid == self.process.user.uid:
                    continue
                os.fchown(fd, self.process.user.uid, -1)
            except OSError as error:
                # A closed stream, a read-only file system, an owner that has no number in here.
                allowed = (errno.EBADF, errno.EROFS, errno.EINVAL, errno.EPERM, errno.EACCES)
                if error.errno not in allowed:
                    raise

    def become_user(self) -> None:
        """Drop capabilities from the bounding set, stand in the directory, become the user."""
        for what in capabilities.apply_bounding(self.sets.bounding):
            self._warn(f"capability {what}")
        user = self.process.user
        entered = self._change_directory(retry=True)
        capabilities.keep()
        users.become(user.uid, user.gid, user.additional_gids)
        if user.umask >= 0:
            os.umask(user.umask)
        if self._labels:
            from labcontainer.runtime import labels

            labels.check_proc()
        self._raise_wanted_only()
        if not entered:
            self._change_directory(retry=False)

    def _raise_wanted_only(self) -> None:
        """Look for the program with the program's own rights, not with ours."""
        _, permitted, inheritable = syscalls.capget()
        effective = capabilities.mask(self.sets.effective) & permitted
        syscalls.capset(effective, permitted, inheritable)

    def _change_directory(self, *, retry: bool) -> bool:
        """Stand in the working directory, walked without any of procfs's links to open files.

        Such a link (`/proc/self/fd/7`) may lead to a directory of the host (CVE-2024-21626).
        """
        os.chdir("/")
        cwd = self.process.cwd
        try:
            flags = os.O_PATH | os.O_DIRECTORY
            fd = confined.open_in(confined.HERE, cwd, flags, RESOLVE.NO_MAGICLINKS)
            try:
                os.fchdir(fd)
            finally:
                os.close(fd)
            os.getcwd()  # ENOENT where the kernel finds it outside of the root
            return True
        except OSError as error:
            if retry and error.errno == errno.EACCES:
                return False  # the user may be allowed where root of this namespace is not
            raise StepError(f"chdir to cwd ({cwd!r})", _words(error), error.errno or 0) from error

    def find_program(self) -> None:
        """Find the program's file, with the rights that the program will have."""
        name = self.process.args[0]
        if "/" in name:
            self._path = _check_program(name, name)
            return
        for folder in _variable(self.process.env, "PATH", DEFAULT_PATH).split(":"):
            path = f"{folder or '.'}/{name}"
            try:
                self._path = _check_program(name, path)
                return
            except CommandNotExecutableError as error:
                refused: StepError | None = error
            except CommandNotFoundError:
                refused = None
            if refused is not None and not os.path.isdir(path):
                raise refused
        raise CommandNotFoundError(f'exec: "{name}"', "executable file not found in $PATH")

    # --- after `start` --------------------------------------------------------------------------

    def become_hook(self, hook: Hook, state: bytes) -> None:
        """In a fork of this process: become a hook of the container's own instead of the program.

        With no more rights than the program, and by the sealed file too: the image may have put
        the hook there. Returns only by an error; what execve(2) refuses goes to standard error.

        Raises:
            OSError, StepError: the kernel refused, or there is no such file.
        """
        self._path = _check_program(hook.path, hook.path)
        self.process = self.process.replace(args=hook.args or (hook.path,), env=hook.env)
        self.run(os.dup(2), state=state)

    def set_limits(self, besides: str = "") -> None:
        """Set the resource limits: late, as they hold for what is still to be done too."""
        if not self.process.rlimits:
            return
        import resource

        for limit in self.process.rlimits:
            if limit.kind == besides:
                continue
            kind, pair = rlimit_kind(limit.kind), (_value(limit.soft), _value(limit.hard))
            try:
                resource.setrlimit(kind, pair)
            except (ValueError, OSError) as error:
                soft, hard = resource.getrlimit(kind)
                why = f"{error} (it is {soft}:{hard}; raising it takes CAP_SYS_RESOURCE)"
                raise StepError(f"set {limit.kind} to {limit.soft}:{limit.hard}", why) from error

    def run(
        self,
        status: int,
        preserve_fds: int = 0,
        state: bytes = b"{}",
        birth: Birth | None = None,
    ) -> None:
        """Take the rights, load the filter, become the program. Returns only by an error.

        Args:
            status: the descriptor that learns of a failing exec; closed when it succeeds.
            preserve_fds: how many descriptors from 3 on the program gets.
            state: the container's state as JSON, for who listens to the filter's questions.
            birth: from `birth`, where not this process is to become it, but a child.

        Raises:
            OSError, StepError: the kernel refused.
        """
        _reset_signals()
        self.set_limits("RLIMIT_NPROC" if birth is not None else "")
        syscalls.close_range(3 + preserve_fds, flags=CLOSE_RANGE.CLOEXEC)
        given = (self._path, self.process.args, self.process.env, status, birth, self._labels)
        program = memexec.Exec(*given)
        if program.is_sealed:
            for fd in (status, *(birth.doors if birth is not None else ())):
                os.set_inheritable(fd, True)
        elif birth is not None:
            _be_born(birth, status)
            birth = None
        if not program.is_sealed and self._labels:
            from labcontainer import rootfs

            for file, label in self._labels:
                rootfs.write_proc(file, label)
        if self.filter is not None and not self.process.no_new_privileges:
            self._load_filter_early(self.filter, state)
        for what in capabilities.apply(self.sets, self.process.no_new_privileges):
            self._warn(f"capability {what}")
        if self.filter is not None and self.process.no_new_privileges and birth is None:
            self._load_filter(self.filter, state)
        program.go()

    def birth(self, doors: tuple[int, ...]) -> Birth:
        """What is left to do for a child of this process that is born in the container.

        The filter is where it may: loading it takes no rights after noNewPrivileges. Else it was
        loaded before, and has to allow clone(2) and setsid(2).
        """
        late = self.filter if self.process.no_new_privileges else None
        limits = {limit.kind: (limit.soft, limit.hard) for limit in self.process.rlimits}
        return Birth(
            doors=doors,
            terminal=self.process.terminal,
            processes=limits.get("RLIMIT_NPROC"),
            filter=late.code if late is not None else b"",
            flags=late.flags if late is not None else 0,
            tells_listener=late is not None and late.listener >= 0,
        )

    def tell_listener(self, of: Filter, descriptor: int, pid: int, state: bytes) -> None:
        """Pass the filter's descriptor on to who is to decide about calls.

        See config-linux.md, "The Container Process State".
        """
        about = {
            "ociVersion": "1.2.0",
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": of.metadata,
            "state": jsontext.loads(state.decode(), "state"),
        }
        sockets.send(of.listener, jsontext.dumps(about).encode(), (descriptor,))
        os.close(descriptor)

    def _load_filter_early(self, program: Filter, state: bytes) -> None:
        """Load it with the one right that this takes, before the rights go."""
        _, permitted, inheritable = syscalls.capget()
        effective = (capabilities.mask(self.sets.effective) | _CAP_SYS_ADMIN) & permitted
        syscalls.capset(effective, permitted, inheritable)
        try:
            self._load_filter(program, state)
        except PermissionError as error:
            why = "loading a filter takes CAP_SYS_ADMIN or noNewPrivileges"
            raise UnsupportedError("seccomp", why, "set noNewPrivileges") from error

    def _load_filter(self, program: Filter, state: bytes) -> None:
        """Load it; where somebody listens, tell."""
        from labcontainer.kernel import classic_bpf

        descriptor = classic_bpf.install(program.code, program.flags)
        if program.listener >= 0:
            self.tell_listener(program, descriptor, self.pid, state)


def _be_born(birth: Birth, status: int) -> None:
    """What the tiny program does (trampoline.py), where there is none: the child returns."""
    pid, _ = syscalls.clone3(CLONE.PARENT, exit_signal=0)
    if pid:
        os.write(status, pid.to_bytes(8, "little"))
        os._exit(0)
    cgroups.enter(birth.doors)
    os.setsid()
    if birth.terminal:
        from labcontainer.kernel import terminal

        terminal.make_controlling(0)
    if os.read(status, 1) != b"1":
        os._exit(255)


def _labels(process: Process) -> tuple[tuple[str, str], ...]:
    if not process.apparmor_profile and not process.selinux_label:
        return ()
    from labcontainer.runtime import labels

    return labels.wanted(process)


def rlimit_kind(name: str) -> int:
    """The number of a resource limit's name.

    Raises:
        SpecError: there is none of that name.
    """
    import resource

    number = getattr(resource, name, None) if name.startswith("RLIMIT_") else None
    if not isinstance(number, int):
        raise SpecError("process.rlimits", f"unknown limit {name!r}")
    return number


def _value(value: int) -> int:
    import resource

    return resource.RLIM_INFINITY if value == _INFINITY or value >= 2**63 else value


def _variable(env: tuple[str, ...], name: str, default: str) -> str:
    """The value of an environment variable; the last one of the name counts."""
    for item in reversed(env):
        if item.startswith(f"{name}="):
            return item[len(name) + 1 :]
    return default


def _check_program(name: str, path: str) -> str:
    """The path, if it leads to a file that this process may execute.

    Raises:
        CommandNotFoundError, CommandNotExecutableError: it does not; in the words of runc.
    """
    try:
        about = os.stat(path)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        kind = CommandNotFoundError if missing else CommandNotExecutableError
        raise kind(f'exec: "{name}": stat {path}', _words(error), error.errno or 0) from None
    if stat.S_ISDIR(about.st_mode):
        raise CommandNotExecutableError(f'exec: "{name}"', "is a directory: permission denied", 13)
    if not os.access(path, os.X_OK, effective_ids=True):
        raise CommandNotExecutableError(f'exec: "{name}"', "permission denied", errno.EACCES)
    return path


def _words(error: OSError) -> str:
    """The kernel's answer as engines look for it: in small letters."""
    return os.strerror(error.errno or 0).lower()


def _reset_signals() -> None:
    """Give the program the dispositions that a program expects: Python ignores SIGPIPE."""
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):  # 32, 33: glibc's own
            if signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def load_no_more_code() -> None:
    """Forget how to import: from here on, what lies at the host's paths is the image's.

    A module that this process still had to load would be code of the image, run with the rights of
    the runtime (CVE-2019-14271 was that, with a library). What is built into Python stays.
    """
    sys.meta_path[:] = [
        finder
        for finder in sys.meta_path
        if getattr(finder, "__name__", "") in ("BuiltinImporter", "FrozenImporter")
    ]


def leave_keyring() -> None:
    """Begin a session keyring of its own: the caller's keys stay the caller's (keyrings(7))."""
    try:
        syscalls.keyctl_join_session()
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):  # this kernel or sandbox has none
            raise


def hide_from_container() -> None:
    """Keep this process's memory, descriptors and /proc/PID/exe from processes of the container.

    For one that joins a PID namespace in which others run already (CVE-2019-5736). The exec of the
    program undoes it.
    """
    syscalls.prctl(PR.SET_DUMPABLE, 0)
