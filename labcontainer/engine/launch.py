"""From what is remembered of a container to a first process that waits for its start.

Container ──> Request, Place ──> config.json ──> zygote ──> monitor, first process
"""

from __future__ import annotations

import json
import os
import stat

from labcontainer import errors, users
from labcontainer.build.tree import Tree
from labcontainer.engine import hostconfig, initlayer, mountpoints, ociconfig, request, view
from labcontainer.engine.container import Container
from labcontainer.image import inside
from labcontainer.runtime.maker import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from labcontainer.engine.engine import Engine
    from labcontainer.runtime.zygote import Handle

FILES = ("hostname", "hosts", "resolv.conf")
SHARED = {"PidMode": "pid", "IpcMode": "ipc"}


def launch(engine: Engine, container: Container) -> Handle:
    """Create the container's first process, which prepares itself and then waits for `start`.

    Raises:
        LabError, OSError: a value is off, or a step failed; nothing is left.
    """
    asked = hostconfig.request_of(container)
    engine.volumes.mount(container)
    volumes, memories = engine.volumes.requests(container)
    mountpoints.check_propagation(volumes)
    outward = tuple(_outward(container, volumes))
    places = {source: place for source, place, _ in outward}
    volumes = tuple(one.replace(source=places.get(one.source, one.source)) for one in volumes)
    asked = asked.replace(volumes=volumes, tmpfs=memories)
    engine.networks.files(container)
    place = _place(engine, container, asked)
    config = ociconfig.config(asked, place)
    _write(f"{container.home}/config.json", config)
    try:
        os.unlink(f"{container.home}/exit.json")
    except FileNotFoundError:
        pass
    made = _request(engine, container).replace(shm=_shm(place, asked), outward=outward)
    return engine.zygotes.begin(made)


def _outward(
    container: Container, volumes: tuple[request.Volume, ...]
) -> Iterator[tuple[str, str, bool]]:
    """Directories on which mounts made inside reach the host, and where each is found to be bound.

    They must be taken from the host's mounts before the container's own are cut off from those.
    """
    for number, one in enumerate(volumes):
        if one.propagation in mountpoints.OUTWARD and os.path.isdir(one.source):
            place = f"{container.home}/outward/{number}"
            os.makedirs(place, exist_ok=True)
            yield one.source, place, one.recursive


def _shm(place: ociconfig.Place, asked: request.Request) -> dict[str, Any]:
    """What is to be mounted at the container's own name for a /dev/shm that it shares."""
    if not place.shm:
        return {}
    os.makedirs(place.shm, exist_ok=True)
    joined = dict(place.joined)
    if "ipc" in joined:
        return {"target": place.shm, "of": int(joined["ipc"].split("/")[2])}
    return {"target": place.shm, "size": asked.shm_size}


def _request(engine: Engine, container: Container) -> Request:
    size, count = hostconfig.log_bounds(container.host["LogConfig"])
    mounted: dict[str, Any] = {}
    if not view.is_copied(container):
        mounted = {**view.fields(container), "target": f"{container.home}/root"}
    return Request(
        id=container.id,
        bundle=container.home,
        root=engine.runtime_root,
        home=container.home,
        terminal=container.tty,
        stdin=container.config["OpenStdin"],
        once=container.config["StdinOnce"],
        remove=True,
        overlay=mounted,
        log_size=size,
        log_files=count,
    )


def _write(path: str, document: dict[str, Any]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w") as file:
        file.write(json.dumps(document))  # in C; `dump` would be ten times as long about it


def _place(engine: Engine, container: Container, asked: request.Request) -> ociconfig.Place:
    """Where it runs."""
    with _people(container) as root:
        user = users.lookup_user(asked.user, root.fd)
        extra = users.lookup_groups(asked.group_add, root.fd)
    rootless = inside.in_user_namespace()
    mode = engine.networks.mode(container)
    joined = _joined(engine, container, mode)
    shares_memory = container.host["IpcMode"] == "shareable" or "ipc" in dict(joined)
    host = container.host
    size = host["ConsoleSize"]
    return ociconfig.Place(
        root=f"{container.home}/root",
        user=user.replace(gids=(*user.gids, *extra)),
        args=(container.program, *container.args),
        hostname=hostname(container),
        cgroups_path="" if rootless else _cgroup(container),
        rootless=rootless,
        all_ids=not rootless or inside.has_all_ids(),
        network="host" if mode == "host" else "own",
        files=tuple((f"{container.home}/{name}", f"/etc/{name}") for name in FILES),
        init=_init() if asked.init else "",
        console_size=(size[0], size[1]) if all(size) else None,
        profile=hostconfig.profile(asked),
        joined=joined,
        shm=f"{container.home}/shm" if shares_memory else "",
    )


def _people(container: Container) -> view.View | view.Layer:
    """A directory with the container's etc/passwd and etc/group.

    Nearly always both are plain files of one layer, and nothing has to be mounted to read them.
    """
    if view.is_copied(container):
        return view.View(container)
    home = container.home
    tree = Tree((f"{home}/upper", f"{home}/init", *container.lowers))
    found = {path.removesuffix(f"/{name}") for name in ("etc/passwd", "etc/group")
             for path in tree.find(name)[:1]}  # fmt: skip
    plain = tree.is_directory("etc") and all(
        (about := tree.lstat(name)) is None or stat.S_ISREG(about.st_mode)
        for name in ("etc/passwd", "etc/group")
    )
    if plain and len(found) < 2:
        return view.Layer(found.pop() if found else f"{home}/init")
    return view.View(container)


def _init() -> str:
    from labcontainer.engine import single

    return single.find_init()


def _cgroup(container: Container) -> str:
    parent = container.host["CgroupParent"].strip("/")
    return f"/{parent or 'labcontainer'}/{container.id}"


def hostname(container: Container) -> str:
    """Its own name for itself."""
    if container.host["UTSMode"] == "host" or container.host["NetworkMode"] == "host":
        return container.config["Hostname"] or os.uname().nodename
    return container.config["Hostname"] or container.id[:12]


def _joined(engine: Engine, container: Container, mode: str) -> tuple[tuple[str, str], ...]:
    """The namespaces of other containers that it shares.

    Raises:
        StateError: the other one is not running, or does not share its IPC.
    """
    found: list[tuple[str, str]] = []
    for field, kind in SHARED.items():
        if container.host[field].startswith("container:"):
            other = _running(engine, container.host[field])
            found.append((kind, f"/proc/{other.state.pid}/ns/{kind}"))
            if kind == "ipc" and other.host["IpcMode"] != "shareable":
                raise errors.StateError(
                    f"can't join IPC of container {other.id}: non-shareable IPC (hint: use "
                    "IpcMode:shareable for the donor container)"
                )
    if mode.startswith("container:"):
        found.append(("network", f"/proc/{_running(engine, mode).state.pid}/ns/net"))
    return tuple(found)


def _running(engine: Engine, mode: str) -> Container:
    other = engine.containers.find(mode.partition(":")[2])
    if not other.state.running:
        raise errors.StateError(f"cannot join a non running container: {other.id}")
    return other


def make_root(engine: Engine, container: Container) -> None:
    """The directories of a new container, with the places for what is mounted in it."""
    home = container.home
    for name in ("init", "upper", "work", "root"):
        os.makedirs(f"{home}/{name}", mode=0o755)
    tree = Tree(tuple(container.lowers))
    initlayer.copy_mode(tree, f"{home}/init", f"{home}/upper")
    for name in (*initlayer.DIRECTORIES, "etc"):
        initlayer.place(tree, f"{home}/init", name, True)
    for name in FILES:
        initlayer.place(tree, f"{home}/init", f"etc/{name}", False)
    initlayer.place(tree, f"{home}/init", ".dockerenv", False)
    for mount in container.mounts:
        # Where the image's links lead: to cover a link would hide what it leads to.
        target = tree.resolve(mount["Destination"])
        mount["_new"] = not tree.is_directory(target)
        initlayer.place(tree, f"{home}/init", target, mountpoints.is_directory(mount))
    if not engine.mounts_overlays(lambda: view.probe(container)):
        _copy_image(engine, container)
    engine.volumes.fill_empty(container.mounts, lambda: view.View(container))


def _copy_image(engine: Engine, container: Container) -> None:
    """No overlay here: the image's files, once to be changed and once to compare with."""
    from labcontainer.image.snapshots import Snapshots

    image = engine.store.image(container.image_id)
    for name in ("root", "before"):
        os.makedirs(f"{container.home}/{name}", exist_ok=True)
        Snapshots(engine.store).flatten(image, f"{container.home}/{name}")


def as_docker_says(error: Exception) -> Exception:
    """A failed start in the words that the docker command looks for."""
    if not isinstance(error, errors.StepError):
        return error
    words = "failed to create task for container: failed to create shim task: OCI runtime create "
    step = f"{words}failed: {error.step}".removesuffix(": ")
    if isinstance(error, errors.CommandNotFoundError | errors.CommandNotExecutableError):
        return type(error)(step, error.problem, error.errno)
    return errors.LabError(f"{step}: {error.problem}")
