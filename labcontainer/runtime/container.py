"""The runtime's side of a container: create, start, kill, delete, and what else an engine asks.

Everything that `create` makes is pushed on a stack of undo steps: a create that fails leaves no
process, no cgroup and no directory. The first process's side is init.py.
"""

from __future__ import annotations

import os

from labcontainer import cgroups, namespaces, rootfs, users
from labcontainer.errors import NotFoundError, SpecError
from labcontainer.kernel import files, sockets, syscalls
from labcontainer.kernel.signals import signal
from labcontainer.record import Record
from labcontainer.runtime import birth, handshake, init, jsontext, lifecycle, starting, state
from labcontainer.runtime.confine import compiled
from labcontainer.runtime.spec import Spec, read_spec
from labcontainer.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

WALL = 0x40000000  # waitid(2): children of every kind


class Create(Record):
    """What is asked of `create`.

    `gate` true: the container waits for a `start` from any process, as the OCI verbs need it.
    False: it waits for this process, which runs it to its end (`run`, the monitor).
    `console` is the path of a socket, or a connected one, that gets the terminal's master.
    `born` is told the first process's pid and pidfd when it is in its namespaces, long before it
    is ready: what is done to them from outside can be done meanwhile.
    """

    id: str
    bundle: str
    root: str = ""
    document: Any = None  # config.json's value; None reads BUNDLE/config.json
    pid_file: str = ""
    console: str | int = -1
    preserve_fds: int = 0
    no_pivot: bool = False
    new_keyring: bool = True
    gate: bool = True
    die_with_parent: bool = False
    born: Callable[[int, int], object] | None = None


class Container:
    """A container that this process has created and may start."""

    def __init__(
        self, directory: state.Directory, spec: Spec, pid: int, pidfd: int, channel: int
    ) -> None:
        self.directory = directory
        self.spec = spec
        self.pid = pid
        self.pidfd = pidfd
        self._channel = handshake.Channel(channel)

    def start(self) -> None:
        """Let the program run; returns when it does.

        Raises:
            StepError: a startContainer hook failed, or the program could not be executed.
        """
        self._channel.send("go")
        data, _ = sockets.receive(self._channel.fd, 65536)
        while data.startswith(b"warning"):
            data, _ = sockets.receive(self._channel.fd, 65536)
        self._channel.close()
        if problem := handshake.read_outcome(data):
            raise problem
        starting.poststart(self.directory, self.spec)

    def wait(self) -> int:
        """The program's exit status: its own, or 128 and the number of the signal that ended it."""
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | WALL)
        return exit_status(ended)

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        group = cgroups.reopen(self.directory.load().cgroup)
        return group.oom_kills() if group is not None else 0


def exit_status(ended: os.waitid_result | None) -> int:
    """What waitid(2) found, as a shell has it."""
    if ended is None:
        return 255
    if ended.si_code == os.CLD_EXITED:
        return ended.si_status
    return 128 + ended.si_status


# --- create -------------------------------------------------------------------------------------


def create(asked: Create) -> Container:
    """Make a container and wait until only its program is missing.

    Raises:
        SpecError: config.json is off.
        ExistsError: the id is taken.
        StepError, OSError, UnsupportedError: a step failed; everything is taken back.
    """
    document, text = _document(asked)
    spec = read_spec(document, asked.bundle)
    if spec.process is None:
        raise SpecError("process", "is missing: there is nothing to start")
    if spec.process.terminal and asked.console == -1:
        raise SpecError("process.terminal", "needs --console-socket, to pass the terminal on")
    if not spec.process.terminal and asked.console != -1:
        raise SpecError("process.terminal", "is false: --console-socket would get nothing")
    directory = state.Directory(asked.root or state.default_root(), asked.id)
    with Undo() as undo:
        directory.make()
        undo.push(directory.remove)
        _save_config(directory, text)
        return _create(asked, spec, document, directory, undo)


def _document(asked: Create) -> tuple[Any, str]:
    if asked.document is not None:
        return asked.document, jsontext.dumps(asked.document)
    return read_document(asked.bundle)


def read_document(bundle: str) -> tuple[Any, str]:
    """A bundle's config.json, as a value and as the text that it is.

    Raises:
        NotFoundError: there is none.
        SpecError: it is no JSON.
    """
    path = f"{bundle}/config.json"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError(f"JSON specification file {path} not found") from None
    try:
        text = jsontext.read_fd(fd, path)
    finally:
        os.close(fd)
    return jsontext.loads(text, path), text


def _save_config(directory: state.Directory, text: str) -> None:
    files.write_atomically(f"{directory.path}/config.json", text.encode())


def _remembered(asked: Create, spec: Spec, document: Any) -> state.State:
    """What is known of the container before it has a process."""
    hooks = document.get("hooks") or {}
    return state.State(
        id=asked.id,
        bundle=asked.bundle,
        created=state.now(),
        rootfs=spec.root.path,
        owner=str(os.geteuid()),
        version=spec.version,
        annotations=dict(spec.annotations),
        hooks={kind: hooks.get(kind) for kind in ("poststart", "poststop") if hooks},
        new_keyring=asked.new_keyring,
    )


def _create(
    asked: Create, spec: Spec, document: Any, directory: state.Directory, undo: Undo
) -> Container:
    remembered = _remembered(asked, spec, document)
    limits = cgroups.from_oci(spec.resources or {})
    group = cgroups.for_container(spec.cgroups_path, asked.id, limits)
    if group is not None:
        group.create()
        undo.push(group.delete)
    opened: list[int] = []
    undo.push(_close_all, opened)
    launch = _launch(asked, spec, remembered, directory, opened)
    if group is not None:
        launch = launch.replace(doors=group.doors())
        opened += launch.doors
    mine, theirs = handshake.Channel.pair()
    opened += [mine.fd, theirs.fd]
    if not spec.has_new("user"):
        mine.send("mapped")  # there are none to write: it need not wait for us
    pid, pidfd = _bear(spec, launch, mine, theirs, group)
    undo.push(end, pidfd)
    os.close(opened.pop())
    if spec.has_new("user"):
        users.write_maps(pid, spec.uid_maps, spec.gid_maps)
        mine.send("mapped")
    if asked.born is not None:
        asked.born(pid, pidfd)
    if group is not None:
        group.apply(limits)  # while the first process mounts: only its program has to be held
    assert spec.process is not None
    init.set_oom_score(pid, spec.process.oom_score_adj)
    remembered = remembered.replace(
        pid=pid, started=state.start_time(pid), cgroup=group.record() if group is not None else {}
    )
    directory.save(remembered)
    found = compiled(spec.seccomp) if spec.seccomp else None
    if found is not None and found.listener >= 0:
        opened.append(found.listener)
    _meet(spec, directory, remembered, mine)
    if found is not None:
        passed = (found.listener,) if found.listener >= 0 else ()
        mine.send("filter", str(found.flags), str(pid), found.metadata, descriptors=passed)
        mine.send_raw(found.code)
    if asked.pid_file:
        state.write_pid(asked.pid_file, pid)
    mine.send("created")
    opened.remove(mine.fd)
    _close_all(opened)
    undo.commit()
    return Container(directory, spec, pid, pidfd, mine.fd)


def _meet(
    spec: Spec, directory: state.Directory, remembered: state.State, channel: handshake.Channel
) -> None:
    """Run the hooks when the first process stands before its new root; wait until it is ready."""
    name, _, _ = channel.expect("mounted", "ready")
    if name == "mounted":
        from labcontainer.runtime import hooks

        about = state.to_oci(directory, remembered) | {"status": lifecycle.CREATING}
        text = jsontext.dumps(about).encode()
        for kind in ("prestart", "createRuntime"):
            hooks.run_all(kind, spec.hooks_of(kind), text)
        channel.send("hooked")
        channel.expect("ready")


def _launch(
    asked: Create,
    spec: Spec,
    remembered: state.State,
    directory: state.Directory,
    opened: list[int],
) -> init.Launch:
    """Open everything that the first process will need and may not be able to reach itself."""
    assert spec.process is not None
    root = spec.root
    try:
        root_fd = os.open(root.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = os.strerror(error.errno or 0).lower()
        raise SpecError("root.path", f"{root.path}: {reason}") from None
    opened.append(root_fd)
    root = _with_id_maps(spec, root, opened)
    if spec.mount_label:
        from labcontainer.runtime import labels

        root = labels.with_mount_label(root, spec.mount_label)
    if _needs_open_sources(spec):
        root = rootfs.open_sources(root)
        opened += rootfs.opened_sources(root)
    gate = -1
    if asked.gate:
        gate = sockets.listen(directory.gate)
        opened.append(gate)
    console = open_console(asked.console)
    if console != asked.console:
        opened.append(console)
    about = state.to_oci(directory, remembered) | {"status": lifecycle.CREATED}
    return init.Launch(
        spec=spec,
        process=spec.process,
        root=root,
        state=jsontext.dumps(about).encode(),
        root_fd=root_fd,
        gate=gate,
        console=console,
        preserve_fds=asked.preserve_fds,
        no_pivot=asked.no_pivot,
        new_keyring=asked.new_keyring,
        die_with_parent=asked.die_with_parent,
    )


def open_console(console: str | int) -> int:
    """The socket that gets the terminal's master: connected already, or by its path."""
    return console if isinstance(console, int) else sockets.connect(console)


def _needs_open_sources(spec: Spec) -> bool:
    """Whether binds are to be opened outside: in a user namespace they may be out of reach."""
    enters_user = spec.has_new("user") or "user" in dict(spec.namespaces.join)
    may_mount = syscalls.capget()[0] >> 21 & 1  # CAP_SYS_ADMIN
    return bool(spec.mount_maps) or (enters_user and bool(may_mount))


def _with_id_maps(spec: Spec, root: rootfs.Rootfs, opened: list[int]) -> rootfs.Rootfs:
    """Give id-mapped mounts a user namespace with their maps, or the container's."""
    if not spec.mount_maps:
        return root
    mounts = list(root.mounts)
    for index, uid_maps, gid_maps in spec.mount_maps:
        fd = users.open_mapped_namespace(uid_maps or spec.uid_maps, gid_maps or spec.gid_maps)
        opened.append(fd)
        mounts[index] = mounts[index].replace(idmap_fd=fd)
    return root.replace(mounts=tuple(mounts))


def _bear(
    spec: Spec,
    launch: init.Launch,
    mine: handshake.Channel,
    theirs: handshake.Channel,
    group: cgroups.Cgroup | None,
) -> tuple[int, int]:
    """Fork the first process."""
    joined = namespaces.open_joined(spec.namespaces) if spec.namespaces.join else ()

    def main() -> Any:
        mine.close()
        init.main(launch, theirs)

    # A process takes its working directory along into a new mount namespace, even one that its
    # user could not reach by name: so it is born standing in the root file system.
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(launch.root_fd)
    try:
        enter = (lambda: namespaces.enter(joined)) if joined else None
        cgroup = group.descriptor() if group is not None else -1
        return birth.new_process(spec.namespaces.new, enter, main, cgroup)
    finally:
        os.fchdir(here)
        for fd in (here, *(fd for _, fd in joined)):
            os.close(fd)


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def end(pidfd: int) -> None:
    """End a first process that is not to live, and wait for it."""
    try:
        syscalls.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | WALL)
    except (ProcessLookupError, ChildProcessError):
        pass
    os.close(pidfd)
