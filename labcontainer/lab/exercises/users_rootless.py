"""users.rootless: the container of the last two notebooks, without root."""

from __future__ import annotations

import errno
import os

from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import LearnerError, Trial

HOLE = '''\
import os

from labcontainer import namespaces, rootfs
from labcontainer.kernel import files, syscalls


def rootless(root: str, name: str) -> None:
    """An ordinary user, alone: root of new namespaces, `root` for `/`, `name` for a host name."""
    uid, gid = os.getuid(), os.getgid()
    ...
'''

SOLUTION = '''\
import os

from labcontainer import namespaces, rootfs
from labcontainer.kernel import files, syscalls


def rootless(root: str, name: str) -> None:
    """An ordinary user, alone: root of new namespaces, `root` for `/`, `name` for a host name."""
    uid, gid = os.getuid(), os.getgid()
    namespaces.unshare(("user", "mount", "uts", "ipc", "network"))
    files.write("/proc/self/setgroups", "deny")
    files.write("/proc/self/gid_map", f"0 {gid} 1")
    files.write("/proc/self/uid_map", f"0 {uid} 1")
    namespaces.set_hostname(name)
    rootfs.prepare(rootfs.Rootfs(root))
    rootfs.pivot_root()
'''

NO_USER = SOLUTION.replace('("user", "mount"', '("mount"')
NO_MAPS = SOLUTION.replace('    files.write("/proc/self/uid_map", f"0 {uid} 1")\n', "")
CHROOT = SOLUTION.replace(
    "    rootfs.prepare(rootfs.Rootfs(root))\n    rootfs.pivot_root()\n",
    "    rootfs.enter_chroot(root)\n",
)
SHARES_IPC = SOLUTION.replace(', "ipc"', "")

WANTED = ("user", "mnt", "uts", "ipc", "net")


def check(trial: Trial) -> Outcome:
    try:
        return _check(trial)
    except LearnerError as error:
        if error.result.errno != errno.EPERM and "CAP_SYS_ADMIN" not in error.result.error:
            raise
        return not_yet(
            expected="`rootless` returns",
            observed=error.result.error,
            where=f"line {error.result.line} of the cell",
            hint="Who may do this? Root of the user namespace that the others belong to: `user` in"
            " the same call, and both maps before all that follows.",
        )


def _check(trial: Trial) -> Outcome:
    secret = trial.secret()
    root = trial.directory("root", {"flag": secret, "proc": None, "dev": None})
    os.chmod(root, 0o755)
    own = {kind: os.stat(f"/proc/self/ns/{kind}").st_ino for kind in WANTED}
    name = trial.token("name")
    with trial.hold("rootless", root, name, as_user=True) as process:
        found = process.namespaces()
        shared = [kind for kind in WANTED if found[kind] == own[kind]]
        if shared:
            return not_yet(
                expected="namespaces of its own: " + ", ".join(WANTED),
                observed=f"{', '.join(shared)} is the one outside",
                where="the names given to unshare",
                hint="unshare takes several names at once; `user` gives the right to all.",
            )
        ids = [process.ask(f"__import__('os').get{kind}()") for kind in ("uid", "gid")]
        if ids != [0, 0]:
            return not_yet(
                expected="0:0 inside",
                observed=f"{ids[0]}:{ids[1]}",
                where="the maps",
                hint="Both maps, as in `users.be_root`; 65534 means that a map is missing.",
            )
        points = [mount.point for mount in process.mounts()]
        if not os.path.exists(process.inside("flag")) or len(points) > 1 or _chrooted(process.pid):
            return not_yet(
                expected="`root` is the only mount of the namespace, and `/`",
                observed=f"{len(points)} mounts; the namespace begins at the old root"
                if _chrooted(process.pid)
                else f"{len(points)} mounts",
                where="how `/` is changed",
                hint="prepare and pivot_root, as in notebook 02: chroot is no wall for root, and "
                "root is what the process is, inside.",
            )
        if process.ask("__import__('os').uname().nodename") != name:
            return not_yet(
                expected=f"host name {name}",
                observed=process.ask("__import__('os').uname().nodename"),
                where="set_hostname",
            )
    return done("five namespaces, a root of its own, and nobody asked for a password",
                score=f"{len(points)} mount")  # fmt: skip


def _chrooted(pid: int) -> bool:
    """Whether the namespace's root is another than the process's: who enters it anew tells."""
    from labcontainer import namespaces

    child = os.fork()
    if child == 0:
        try:
            namespaces.enter_process(pid, ("user", "mount"))
            os._exit(0 if os.path.exists("/flag") else 1)
        except OSError:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


EXERCISE = Exercise(
    id="users.rootless",
    notebook="04_users",
    title="A container without root",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "userns"),
    errors=(
        (
            errno.EINVAL,
            "EINVAL: pivot_root wants a mount point, no shared mounts; prepare(…) sees to both.",
        ),
    ),
    hints=(
        "Leave for new user, mount, uts, ipc and network namespaces in one call.",
        "Then the maps, then what root may do: the host name, prepare, pivot_root.",
        "After unshare: three files.write, set_hostname, prepare(Rootfs(root)), pivot_root.",
    ),
    wrong=(
        Wrong(NO_USER, "Who may do this"),
        Wrong(NO_MAPS, "a map is missing"),
        Wrong(CHROOT, "chroot is no wall"),
        Wrong(SHARES_IPC, "is the one outside"),
    ),
)
