"""As root of a user namespace, without being root: what an ordinary user's layers are written by.

Files of a layer belong to many users. An ordinary user may own the ids of a range (/etc/subuid)
only in a user namespace that maps them, so a fresh process enters one, does one thing, and ends:

    python -m labcontainer.image.inside unpack STORE DIGEST DIFF_ID
    python -m labcontainer.image.inside remove PATH …
"""

from __future__ import annotations

import os
import sys

from labcontainer import errors, users
from labcontainer.kernel import files, syscalls
from labcontainer.kernel.flags import CLONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labcontainer.users import IdMap

    Maps = tuple[tuple[IdMap, ...], tuple[IdMap, ...]]

PATIENCE = 10.0  # seconds in which a thread that was joined gets a processor to end on


def is_root() -> bool:
    """Whether this process may give files away: root, or root of its user namespace."""
    return os.geteuid() == 0


def in_user_namespace() -> bool:
    """Whether the ids seen here are not the machine's own (user_namespaces(7))."""
    try:
        return files.read("/proc/self/uid_map").split() != ["0", "0", "4294967295"]
    except OSError:  # a kernel without user namespaces
        return False


def has_all_ids() -> bool:
    """Whether the namespace maps more ids than the user's own."""
    return sum(int(line.split()[2]) for line in files.read("/proc/self/uid_map").splitlines()) > 1


def enter_user_namespace(maps: Maps, also: int = 0) -> None:
    """New user namespace (and `also`, as CLONE.NEWNS), whose maps a child outside writes.

    The process must have one thread.

    Raises:
        UnsupportedError: this user may not.
    """
    mine, theirs = os.pipe2(os.O_CLOEXEC)
    answer, answer_there = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(theirs)
        _write_maps(os.getppid(), maps, mine, answer_there)
    os.close(mine)
    os.close(answer_there)
    try:
        _wait_for_threads()
        syscalls.unshare(CLONE.NEWUSER | also)
        os.write(theirs, b"x")
        problem = os.read(answer, 4096).decode()
    finally:
        os.close(theirs)
        os.close(answer)
        os.waitpid(child, 0)
    if problem != "ok":
        raise errors.UnsupportedError("a user namespace", problem or "no answer")


def _wait_for_threads() -> None:
    """Let threads that were joined end in the kernel too: a process of several tasks gets EINVAL.

    Python's join returns when the thread gives up the interpreter, a moment before its exit(2), of
    which no descriptor tells.
    """
    import time

    ends = time.monotonic() + PATIENCE
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < ends:
        time.sleep(0.001)


def _write_maps(pid: int, maps: Maps, wait: int, answer: int) -> None:
    """In the child, outside: write the maps when told, and say how it went."""
    try:
        if os.read(wait, 1):
            users.write_maps(pid, *maps)
            os.write(answer, b"ok")
    except (errors.LabError, OSError) as error:
        os.write(answer, str(error).encode()[:4096])
    finally:
        os._exit(0)


def call(*words: str) -> None:
    """Do one of the verbs in a process of its own.

    Raises:
        LabError: what it said on standard error.
    """
    import subprocess

    line = [sys.executable, "-m", "labcontainer.image.inside", *words]
    surroundings = {**os.environ, "PYTHONPATH": _home()}
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env=surroundings,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise errors.LabError(said[-1] if said else f"it ended with status {done.returncode}")


def _home() -> str:
    import labcontainer

    return os.path.dirname(labcontainer.__path__[0])


def main(words: list[str]) -> int:
    """Enter the namespace and do what the words say."""
    from labcontainer.image import snapshots, store

    try:
        enter_user_namespace(users.rootless_maps(os.geteuid(), os.getegid()))
        verb, *rest = words
        if verb == "unpack":
            path, digest, diff_id = rest
            snapshots.Snapshots(store.Store(path)).unpack_blob(digest, diff_id)
        elif verb == "remove":
            for path in rest:
                snapshots.remove_tree(path)
        else:
            raise errors.UsageError(f"unknown verb {verb!r}")
    except (errors.LabError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
