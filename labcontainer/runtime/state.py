"""What a container leaves on disk: one directory with state.json, the gate, a copy of config.json.

    ROOT/ID/state.json    written once, by rename: who the container is, where its cgroup is
    ROOT/ID/config.json   what it was made of: `exec` needs its filter and its namespaces
    ROOT/ID/gate          a socket that the first process listens on until `start`

Whether it is created, running, paused or stopped is read off the machine, never stored.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from labcontainer.errors import ExistsError, NotFoundError, UsageError
from labcontainer.kernel import files, syscalls
from labcontainer.record import Record
from labcontainer.runtime import jsontext, lifecycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_SPEC_VERSION = "1.2.0"


def default_root() -> str:
    """Where containers are remembered until the machine starts anew: as root, or as a user.

    Raises:
        PermissionError: somebody else has made the directory in /tmp.
    """
    if os.geteuid() == 0:
        return "/run/labcontainer"
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base or files.own_directory(f'/tmp/labcontainer-{os.geteuid()}')}/labcontainer"


def check_id(container_id: str) -> None:
    """Refuse a name that would not be one directory.

    Raises:
        UsageError: it has other letters than runc allows, or none.
    """
    if not container_id or set(container_id) - _LETTERS or container_id in (".", ".."):
        raise UsageError(f"invalid container ID format: {container_id!r}")
    if len(container_id) > 1024:
        raise UsageError("the container ID is longer than 1024 letters")


class State(Record):
    """A container as it is remembered. `started` is the first process's start time in ticks."""

    id: str
    bundle: str
    pid: int = 0
    started: int = 0
    created: str = ""
    rootfs: str = ""
    owner: str = ""
    version: str = _SPEC_VERSION
    annotations: dict[str, str] = {}
    cgroup: dict[str, Any] = {}
    hooks: dict[str, Any] = {}
    new_keyring: bool = True  # of the first process, and of each that joins it

    def alive(self) -> bool:
        """Whether the first process lives: the same one, not another of its number."""
        return self.pid > 0 and start_time(self.pid) == self.started

    def open(self) -> int:
        """A pidfd of the first process; -1 where it has ended.

        A number is given to another process once its own has ended. So who is to be signalled or
        joined is looked at again when it is open: from then on the descriptor means no other.
        """
        try:
            pidfd = syscalls.pidfd_open(self.pid) if self.pid > 0 else -1
        except ProcessLookupError:
            return -1
        if pidfd >= 0 and not self.alive():
            os.close(pidfd)
            return -1
        return pidfd


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where it has ended (proc(5))."""
    try:
        fields = files.read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def now() -> str:
    """The time as RFC 3339, in UTC."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanos:09d}Z"


class Directory:
    """The directory of one container under a root."""

    def __init__(self, root: str, container_id: str) -> None:
        check_id(container_id)
        self.id = container_id
        self.path = f"{root}/{container_id}"

    def make(self) -> None:
        """Make the directory; whoever makes it owns the name.

        Raises:
            ExistsError: a container of this name is there.
        """
        os.makedirs(os.path.dirname(self.path), 0o711, exist_ok=True)
        try:
            os.mkdir(self.path, 0o711)
        except FileExistsError:
            raise ExistsError(f"container with given ID already exists: {self.id}") from None

    @property
    def gate(self) -> str:
        """The socket on which the first process waits for `start`."""
        return f"{self.path}/gate"

    def save(self, state: State) -> None:
        """Write state.json, whole or not at all."""
        text = jsontext.dumps(state.as_dict())
        files.write_atomically(f"{self.path}/state.json", text.encode())

    def load(self) -> State:
        """The container's state.

        Raises:
            NotFoundError: there is no such container.
        """
        try:
            document = jsontext.load(f"{self.path}/state.json")
        except FileNotFoundError:
            raise NotFoundError(f"container does not exist: {self.id}") from None
        return State(**{name: document[name] for name in State._fields if name in document})

    def lock(self) -> int:
        """Wait for the only right to change this container; the descriptor to close for it.

        Raises:
            NotFoundError: there is no such container.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"container does not exist: {self.id}") from None
        files.lock(fd)
        if not os.path.isdir(self.path):
            os.close(fd)
            raise NotFoundError(f"container does not exist: {self.id}")
        return fd

    def remove(self) -> None:
        """Forget the container. What an engine has put there besides goes too."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        for name in names:
            os.unlink(f"{self.path}/{name}")
        try:
            os.rmdir(self.path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def status(self, state: State) -> str:
        """The container's state now, as the machine tells it; one of lifecycle.STATES."""
        if not state.alive():
            return lifecycle.STOPPED
        if _frozen(state.cgroup):
            return lifecycle.PAUSED
        return lifecycle.CREATED if _is_socket(self.gate) else lifecycle.RUNNING


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _frozen(cgroup: dict[str, Any]) -> bool:
    """Whether the container's cgroup is frozen, by the file that the cgroup's record names."""
    for path, word in cgroup.get("freezer", {}).items():
        try:
            if files.read(path) == word:
                return True
        except OSError:
            continue
    return False


def to_oci(directory: Directory, state: State) -> dict[str, Any]:
    """The state as the runtime-spec has it (runtime.md, "State"), for `state` and for hooks."""
    status = directory.status(state)
    document: dict[str, Any] = {
        "ociVersion": state.version,
        "id": state.id,
        "status": status,
        "pid": 0 if status == lifecycle.STOPPED else state.pid,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        "owner": state.owner,
    }
    if state.annotations:
        document["annotations"] = state.annotations
    return document


def write_pid(path: str, pid: int) -> None:
    """A pid file as engines read it: digits, no newline, whole or not there."""
    files.write_atomically(path, str(pid).encode(), 0o644)
