"""One RUN of a build, in a process of its own: see buildsteps for the two ends.

It is told to end when the builder dies (PR_SET_PDEATHSIG), and cleans up; killed itself, its
watcher does, as for `labcontainer run`.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from labcontainer import errors, overlay, users
from labcontainer.build.runner import Bind, File, Memory, Program
from labcontainer.engine import (
    connect,
    contained,
    hostconfig,
    initlayer,
    leftovers,
    ociconfig,
    request,
    rootdir,
)
from labcontainer.image import diff, inside, packing
from labcontainer.image.snapshots import About, Snapshots
from labcontainer.image.store import Store
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS, PR
from labcontainer.runtime import container as runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from labcontainer.image.diff import Writable

PARENT = "cgroup_parent"  # of Program.limits; the others are fields of a Request
FAILED = 70  # of the process: the container could not be run
_PARTS = {"binds": Bind, "memories": Memory, "files": File}


def decode(data: bytes) -> Program:
    """The program that was encoded."""
    found: dict[str, Any] = json.loads(data)
    for name, kind in _PARTS.items():
        found[name] = tuple(kind(**one) for one in found[name])
    for name in ("layers", "args", "env"):
        found[name] = tuple(found[name])
    found["hosts"] = tuple((name, ip) for name, ip in found["hosts"])
    ulimits = found["limits"].get("ulimits", ())
    found["limits"]["ulimits"] = tuple((name, soft, hard) for name, soft, hard in ulimits)
    return Program(**found)


class Stopped(BaseException):
    """The builder wants an end, or is dead."""


def main(words: list[str]) -> int:
    """Run the program of standard input, and answer to the descriptor of the second word."""
    path, answer = words[0], int(words[1])
    os.set_inheritable(answer, False)  # it is for us, and no program's of the image
    parent = os.getppid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        syscalls.prctl(PR.SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return FAILED
        program = decode(sys.stdin.buffer.read())
        found = _run(program, Store(path))
    except Stopped:
        return FAILED
    except (errors.LabError, OSError) as error:
        found = {"error": " ".join(str(error).split())}
    os.write(answer, json.dumps(found).encode())
    return 0


def _stop(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what follows is cleaning up
    raise Stopped


def _run(program: Program, store: Store) -> dict[str, Any]:
    folder = f"{store.path}/builds"
    syscalls.unshare(CLONE.NEWNS)
    syscalls.mount(None, "/", None, MS.SLAVE | MS.REC)
    for path in leftovers.abandoned(folder):
        clean(path)
    path = leftovers.claim(folder, program.id or os.urandom(6).hex())
    watcher = leftovers.watch(path, lambda: clean(path))
    try:
        return _in_container(program, store, path)
    finally:
        clean(path)
        os.write(watcher, b"x")
        os.close(watcher)


def clean(path: str) -> None:
    """Take away all that a RUN left; may be called again, and by another process."""
    contained.delete(path)
    connect.detach(path)
    rootdir.unmake(path)
    initlayer.unmount(path)
    leftovers.remove(path)


def _in_container(program: Program, store: Store, path: str) -> dict[str, Any]:
    rootless = inside.in_user_namespace()
    asked = _request(program)
    network = connect.choose(asked, rootless, _tell)
    hostname = "buildkitsandbox"
    hosts = network.hosts(hostname, connect.Address())
    files = rootdir.host_files(path, hostname, hosts, network.resolv_conf())
    shown = initlayer.prepare(program, path, files, user_xattr=rootless)
    asked = asked.replace(volumes=shown)
    place = _place(asked, path, rootless, network.kind).replace(
        hostname=hostname, files=files, cgroups_path="" if rootless else _cgroup(program, path)
    )
    with open(f"{path}/cgroup", "w") as file:
        file.write(place.cgroups_path)
    created = runtime.create(runtime.Create(
        contained.NAME, bundle=path, root=f"{path}/runtime", gate=False, die_with_parent=True,
        document=ociconfig.config(asked, place),
    ))  # fmt: skip
    own = network.attach(created.pid, path)
    rootdir.write(f"{path}/hosts", network.hosts(hostname, own))
    created.start()
    status = created.wait()
    contained.delete(path)
    if status:
        return {"status": status, "layer": None}
    return {"status": 0, "layer": _packed(program, store, path)}


def _tell(text: str) -> None:
    os.write(2, f"{text}\n".encode(errors="surrogateescape"))


def _request(program: Program) -> request.Request:
    network = "" if program.network == "default" else program.network
    memories = tuple(
        request.Tmpfs(
            one.target, ("rw", "nosuid", "nodev", *([f"size={one.size}"] * bool(one.size)))
        )
        for one in program.memories
    )
    return request.Request(
        image="", command=program.args, env=program.env, workdir=program.cwd, user=program.user,
        network=network, privileged=program.insecure, add_host=program.hosts, tmpfs=memories,
        **{name: value for name, value in program.limits.items() if name != PARENT},
    )  # fmt: skip


def _cgroup(program: Program, path: str) -> str:
    parent = str(program.limits.get(PARENT) or "labcontainer").strip("/")
    return f"/{parent}/{os.path.basename(path)}"


def _place(asked: request.Request, path: str, rootless: bool, network: str) -> ociconfig.Place:
    root_fd = os.open(f"{path}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user = users.lookup_user(asked.user, root_fd)
    finally:
        os.close(root_fd)
    return ociconfig.Place(
        root=f"{path}/root", user=user, args=asked.command, hostname="", rootless=rootless,
        all_ids=not rootless or inside.has_all_ids(), network=network,
        profile=hostconfig.profile(asked),
    )  # fmt: skip


def _packed(program: Program, store: Store, path: str) -> dict[str, Any]:
    """What was written, as a layer in the store; the directory itself becomes the unpacked one."""
    if initlayer.is_copied(path):
        layer = packing.store_layer(store, lambda out: _changes(path, out, program.newest))
        return {**layer.as_dict(), "descriptor": layer.descriptor.to_json()}
    overlay.unmount(f"{path}/root")
    fd = os.open(f"{path}/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        layer = packing.store_layer(
            store, lambda out: diff.pack_upper(fd, out, newest=program.newest)
        )
    finally:
        os.close(fd)
    about = About(layer.diff_id, layer.size, layer.entries)
    Snapshots(store).adopt(f"{path}/upper", about)
    return {**layer.as_dict(), "descriptor": layer.descriptor.to_json()}


def _changes(path: str, out: Writable, newest: int | None) -> diff.Packed:
    """What is different from before, where the root is a copy."""
    before, after = (
        os.open(f"{path}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in ("before", "root")
    )
    try:
        return diff.pack_changes(before, after, out, newest=newest)
    finally:
        os.close(before)
        os.close(after)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
