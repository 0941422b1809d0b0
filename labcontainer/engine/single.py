"""One container in the foreground, no daemon, nothing remembered: `labcontainer run`.

    command ── unshare(mount, and user as an ordinary user) ── overlay ── create ── start ── wait
       └─ watcher: a fork that cleans up if the command is killed          │
                                                                 the container's init

The overlay is mounted in the command's own mount namespace, so it is gone with the processes. All
else that a container leaves is in one directory and known by it: see leftovers.
"""

from __future__ import annotations

import os

from labcontainer import errors, users
from labcontainer.engine import defaults, leftovers, ociconfig, request, rootdir, streams
from labcontainer.image import inside
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Maps = tuple[tuple[users.IdMap, ...], tuple[users.IdMap, ...]]

DEFAULT_COMMAND = ("sh",)
OUT_OF_MEMORY = 137
# Static programs that serve as PID 1; the first that is installed is shown to the container.
INITS = ("docker-init", "tini-static", "catatonit", "dumb-init")


ONE_ID = (
    "this user has one id, which is root in the container",
    "give the user ranges in /etc/subuid and /etc/subgid, and install uidmap",
)


class Here(Record):
    """Who runs the container: `uid` is the user's outside, `maps` those of the namespace made."""

    rootless: bool
    uid: int
    maps: Maps = ((), ())

    @property
    def all_ids(self) -> bool:
        """Whether the container has the ids of a whole system."""
        return not self.rootless or len(self.maps[0]) > 1


def tell(text: str) -> None:
    """A note for the user: one line on standard error."""
    os.write(2, f"labcontainer: {text}\n".encode(errors="surrogateescape"))


def run(asked: request.Request) -> int:
    """Run one container to its end; the exit status of its program, 128+n when a signal ended it.

    Raises:
        LabError, OSError: it could not be set up; the program was not run and nothing is left.
    """
    if asked.tty and asked.interactive and not os.isatty(0):
        raise errors.UsageError("the input device is not a TTY: leave out -t or -i")
    with rootdir.found(asked.image, asked.pull, tell) as root:
        return _run_in(asked, root)


def _run_in(asked: request.Request, root: rootdir.Root) -> int:
    """The run itself, with the image's own words where the user said nothing."""
    config = root.config if root.is_image else {"Cmd": DEFAULT_COMMAND}
    asked = defaults.fill_in(asked, config)
    rootdir.sources(asked)
    if asked.using:
        from labcontainer.runtime import using

        using.install(asked.using)
    folder = leftovers.folder()
    here = enter()
    for path in leftovers.abandoned(folder):
        clean(path)
    identity = os.urandom(6).hex()
    path = leftovers.claim(folder, asked.name or identity)
    watcher = leftovers.watch(path, lambda: clean(path))
    try:
        return _run(asked, here, root, path, identity)
    finally:
        clean(path)
        os.write(watcher, b"x")
        os.close(watcher)


def enter() -> Here:
    """Leave the host's mount namespace, and as an ordinary user its user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    may_mount = syscalls.capget()[0] >> 21 & 1  # CAP_SYS_ADMIN
    if may_mount:
        syscalls.unshare(CLONE.NEWNS)
        here = Here(False, uid)
    else:
        maps = users.rootless_maps(uid, gid)
        inside.enter_user_namespace(maps, CLONE.NEWNS)
        here = Here(True, uid, maps)
    # Mounts of the host still come in; ours never go out.
    syscalls.mount(None, "/", None, MS.SLAVE | MS.REC)
    return here


# --- one run ----------------------------------------------------------------------------------


def _run(asked: request.Request, here: Here, image: rootdir.Root, path: str, identity: str) -> int:
    from labcontainer.engine import connect, contained

    network = connect.choose(asked, here.rootless, tell)
    hostname = os.uname().nodename if asked.uts == "host" else asked.hostname or identity
    maps = inner_maps(asked, here)
    root = rootdir.make(
        image, path, in_user_namespace=here.rootless, maps=_of_root(here, maps), tell=tell
    )
    place = _place(asked, here, root, path).replace(
        hostname=hostname,
        network=network.kind,
        maps=maps,
        cgroups_path=cgroups_path(here, identity),
    )
    hosts = network.hosts(hostname, connect.Address())
    files = rootdir.host_files(path, hostname, hosts, network.resolv_conf())
    place = place.replace(files=files)
    with streams.Signals() as signals, contained.Container(path, asked, place) as container:
        own = network.attach(container.pid, path)
        rootdir.write(f"{path}/hosts", network.hosts(hostname, own))
        container.start()
        status = container.wait(signals)
        if status == OUT_OF_MEMORY and container.ran_out_of_memory():
            limit = f"the limit of {asked.memory} bytes" if asked.memory else "the machine's memory"
            tell(f"killed by the kernel: out of memory ({limit})")
        return status


def _place(asked: request.Request, here: Here, root: str, path: str) -> ociconfig.Place:
    """What the configuration must know beside the request, but the network."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user = users.lookup_user(asked.user, root_fd)
        extra = users.lookup_groups(asked.group_add, root_fd)
    finally:
        os.close(root_fd)
    if asked.userns == "keep-id" and not asked.user:
        user = user.replace(uid=here.uid, gid=here.uid)
    if not here.all_ids and (user.uid, user.gid) != (0, 0):
        raise errors.UnsupportedError(f"--user={asked.user}", *ONE_ID)
    return ociconfig.Place(
        root=root,
        user=user.replace(gids=(*user.gids, *extra)),
        args=(asked.entrypoint or "", *asked.command),
        hostname="",
        rootless=here.rootless,
        all_ids=here.all_ids,
        init=find_init() if asked.init else "",
        console_size=_window(),
        profile=_profile(asked),
        fresh=rootdir.fresh_volumes(asked, path, root),
    )


def cgroups_path(here: Here, identity: str) -> str:
    """Where the container's cgroup is made: below one group of ours."""
    return "" if here.rootless else f"/labcontainer/{identity}"


def find_init() -> str:
    """A static init program of the host's.

    Raises:
        UnsupportedError: none is installed.
    """
    from labcontainer.image import elf

    for name in INITS:
        for directory in ("/usr/bin", "/usr/libexec/podman", "/usr/libexec/docker"):
            path = f"{directory}/{name}"
            if os.path.isfile(path) and (found := elf.read(path)) and not found.interpreter:
                return path
    raise errors.UnsupportedError("--init", "no static init is installed", "install tini")


def _window() -> tuple[int, int] | None:
    from labcontainer.kernel import terminal

    return terminal.get_size(0) if os.isatty(0) else None


def _profile(asked: request.Request) -> dict[str, Any] | None:
    """The seccomp profile: a file's, none, or Docker's default for the capabilities granted."""
    if asked.seccomp == "unconfined" or (asked.privileged and not asked.seccomp):
        return None
    if asked.seccomp:
        import json

        try:
            with open(asked.seccomp) as file:
                profile = json.load(file)
        except (OSError, ValueError) as error:
            raise errors.UsageError(f"--security-opt seccomp={asked.seccomp}: {error}") from None
        if not isinstance(profile, dict):
            raise errors.UsageError(f"--security-opt seccomp={asked.seccomp}: not a JSON object")
        return profile
    from labcontainer import seccomp_default

    return seccomp_default.default_profile(ociconfig.granted(asked))


# --- whose ids --------------------------------------------------------------------------------


def inner_maps(asked: request.Request, here: Here) -> Maps:
    """The maps of the container's own user namespace; empty where it shares the one we are in.

    Raises:
        UsageError, UnsupportedError: the mode does not go with this user.
    """
    if asked.userns == "keep-id":
        if not here.rootless:
            raise errors.UsageError("--userns=keep-id is for ordinary users")
        if not here.all_ids:
            raise errors.UnsupportedError("--userns=keep-id", *ONE_ID)
        return (_keep(here.maps[0], here.uid), _keep(here.maps[1], here.uid))
    if asked.userns == "private" and not here.rootless:
        ranges = [users.subordinate_ranges("root", f"/etc/sub{kind}") for kind in ("uid", "gid")]
        if not all(ranges):
            fix = "add the line root:100000:65536 to /etc/subuid and /etc/subgid"
            raise errors.UnsupportedError("--userns=private", "root has no subordinate ids", fix)
        first, second = ranges
        return (_from_zero(first), _from_zero(second))
    return ((), ())


def _from_zero(ranges: tuple[tuple[int, int], ...]) -> tuple[users.IdMap, ...]:
    maps, following = [], 0
    for start, count in ranges:
        maps.append(users.IdMap(following, start, count))
        following += count
    return tuple(maps)


def _keep(maps: tuple[users.IdMap, ...], own: int) -> tuple[users.IdMap, ...]:
    """The user is `own` inside too: 0 of the namespace that we are in; the rest moves aside."""
    total = sum(one.size for one in maps)
    below, above = min(own, total - 1), max(total - 1 - own, 0)
    found = [users.IdMap(own, 0, 1)]
    if below:
        found.insert(0, users.IdMap(0, 1, below))
    if above:
        found.append(users.IdMap(own + 1, own + 1, above))
    return tuple(found)


def _of_root(here: Here, maps: Maps) -> Maps:
    """The maps by which the image's owners must be shown: only root's containers need it."""
    return ((), ()) if here.rootless else maps


# --- the end ----------------------------------------------------------------------------------


def clean(path: str) -> None:
    """Take away all that a container left: processes, cgroup, network, mounts, files.

    May be called again, and by another process than the one that started the container.
    """
    from labcontainer.engine import connect, contained

    contained.delete(path)
    connect.detach(path)
    rootdir.unmake(path)
    leftovers.remove(path)
