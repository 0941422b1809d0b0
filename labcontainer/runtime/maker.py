"""Creates a monitor's container in a process of its own, which ends when the program runs.

    monitor ──fork──> maker ──clone3──> container
       └── its parent when the maker has ended: PR_SET_CHILD_SUBREAPER ──┘

Creating writes to 2 MB of Python's memory. In the maker that memory is given back a moment later;
the monitor, which stays for as long as the container does, goes on sharing the zygote's.

The maker is forked before there is a request, and has its copy of the memory made then, at one
stroke: to copy page by page, each when it is written to, would be a third of a create.
"""

from __future__ import annotations

import os

from labcontainer.errors import LabError, StepError
from labcontainer.kernel import files, mounts, sockets, syscalls
from labcontainer.kernel.flags import AT, CLONE, MADV, MOVE_MOUNT, MS
from labcontainer.record import Record
from labcontainer.runtime import container, ending, handshake, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn


LIMIT = 65536  # bytes of a request


class Request(Record):
    """What the zygote is asked for.

    `home` is a directory of the container's own for log.json, exit.json, attach and control; the
    bundle has its config.json. `once`: the input ends with the first client that ends its own.

    `overlay` has the fields of an Overlay and its `target`: the root file system, to be mounted
    where only this container sees it, so that it is gone with the container. `shm` is a /dev/shm
    that containers share: its `target`, and the `size` of a new one in bytes, or `of`, the pid of
    the container that has it. `outward` has the sources of binds on which mounts made inside are
    to reach the host: (source, place, whether with all below), to be found at that place then.
    `log_size` and `log_files` bound the log: bytes of a file, and how
    many there are; 0 bytes is without a bound, -1 without a log. With `process`, the path of a
    process.json, it is one more process in the running container of that id, made when it is
    started.
    """

    id: str
    bundle: str
    root: str
    home: str
    terminal: bool = False
    stdin: bool = False
    once: bool = True
    remove: bool = False  # forget the container when it has ended
    no_pivot: bool = False
    overlay: dict[str, Any] = {}
    shm: dict[str, Any] = {}
    outward: tuple[tuple[str, str, bool], ...] = ()
    log_size: int = 0
    log_files: int = 1
    process: str = ""


def read_request(data: bytes) -> Request:
    """A request as it comes over the socket.

    Raises:
        SpecError, StepError: it is none.
    """
    try:
        return Request(**jsontext.loads(data.decode(), "the request"))
    except TypeError as error:
        raise StepError("zygote", str(error)) from error


class Maker:
    """The monitor's end of the conversation with a maker."""

    def __init__(self) -> None:
        """Fork one; it waits for `make`."""
        mine, theirs = sockets.pair()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(mine)
            _main(handshake.Channel(theirs))
        os.close(theirs)
        self.channel = handshake.Channel(mine)

    def make(self, request: bytes, streams: tuple[int, ...]) -> None:
        """Have a container created; `born` with its pid and its pidfd and then `ready`, with the
        terminal's master where it has one, come back, or `failed` does.

        Args:
            request: which container, as the zygote was asked for it.
            streams: what the container gets as 0, 1 and 2; none where it has a terminal.
        """
        self.channel.send_raw(request, streams)


def _main(channel: handshake.Channel) -> NoReturn:
    """Create, tell, start when told, end. Who only hears the end of the channel takes it back."""
    import gc

    status = 1
    try:
        gc.disable()  # it ends before there is garbage
        _own_all_memory()
        data, streams = sockets.receive(channel.fd, LIMIT)
        if data:
            _make(read_request(data), streams, channel)
        status = 0
    except BaseException as error:  # a fork must not go on as the zygote
        known = isinstance(error, (LabError, OSError))
        shown = error if known else StepError("maker", repr(error))
        channel.send_raw(handshake.failure("", shown))
    finally:
        os._exit(status)


def _make(request: Request, streams: tuple[int, ...], channel: handshake.Channel) -> None:
    for fd, given in enumerate(streams):
        os.dup2(given, fd)
        os.close(given)
    if request.process:
        _add_process(request, channel)
        return
    if request.overlay or request.shm or request.outward:
        _own_mounts(request.outward)
    if request.overlay:
        _mount_root(**request.overlay)
    if request.shm:
        _mount_shm(**request.shm)
    created, masters = _create(request, channel)
    channel.send("ready", descriptors=masters)
    name, _, _ = channel.receive()
    if name == "start":
        created.start()
        channel.send("started")
    else:
        ending.delete(request.root, request.id, force=True)


def _add_process(request: Request, channel: handshake.Channel) -> None:
    """One more process in a container; it runs when `started` is told, with its descriptors."""
    from labcontainer.runtime import joining
    from labcontainer.runtime.spec import read_process

    mine = theirs = -1
    if request.terminal:
        mine, theirs = sockets.pair()
    document = jsontext.load(request.process)
    asked = joining.Exec(
        request.id, request.root, lambda _own: read_process(document), console=theirs
    )
    pid, pidfd = joining.execute(asked)
    masters = sockets.receive(mine, 4096)[1] if request.terminal else ()
    channel.send("started", str(pid), descriptors=(pidfd, *masters))


def _own_mounts(outward: Sequence[tuple[str, str, bool]]) -> None:
    """A mount namespace of the container's own.

    What the host mounts later comes in, as volumes need it; what is mounted here never goes out,
    but on the copies that were taken of some of the host's mounts while they were its peers.
    """
    trees = [mounts.copy(source, recursive=deep) for source, _, deep in outward]
    syscalls.unshare(CLONE.NEWNS)
    syscalls.mount(None, "/", None, MS.SLAVE | MS.REC)
    for tree, (_, place, _) in zip(trees, outward, strict=True):
        syscalls.move_mount(tree, "", AT.FDCWD, place, MOVE_MOUNT.F_EMPTY_PATH)
        os.close(tree)


def _mount_root(target: str, **fields: Any) -> None:
    from labcontainer import overlay

    lowers = tuple(fields.pop("lowers"))
    overlay.mount(overlay.Overlay(lowers, **fields), target)


def _mount_shm(target: str, size: int = 0, of: int = 0) -> None:
    """Mount a /dev/shm where the configuration binds it from: a new one, or another container's.

    No other process needs to hold it: it lives for as long as a container has it, and is gone with
    the last one.
    """
    if not of:
        flags = MS.NOSUID | MS.NODEV | MS.NOEXEC
        syscalls.mount("shm", target, "tmpfs", flags, f"mode=1777,size={size}")
        return
    tree = mounts.copy_from(of, "/dev/shm")
    try:
        syscalls.move_mount(tree, "", AT.FDCWD, target, MOVE_MOUNT.F_EMPTY_PATH)
    finally:
        os.close(tree)


def _own_all_memory() -> None:
    """Copy now what is shared with the zygote. A kernel before 5.14 copies when it has to."""
    for line in files.read("/proc/self/maps").splitlines():
        place, rights, *_ = line.split()
        if rights == "rw-p":
            start, end = (int(edge, 16) for edge in place.split("-"))
            try:
                syscalls.madvise(start, end - start, MADV.POPULATE_WRITE)
            except OSError:
                return


def _asked(request: Request, channel: handshake.Channel, console: int = -1) -> container.Create:
    return container.Create(
        request.id,
        bundle=request.bundle,
        root=request.root,
        console=console,
        no_pivot=request.no_pivot,
        gate=False,
        born=lambda pid, pidfd: channel.send("born", str(pid), descriptors=(pidfd,)),
    )


def _create(
    request: Request, channel: handshake.Channel
) -> tuple[container.Container, tuple[int, ...]]:
    """The container, and the master of its terminal if it has one."""
    if not request.terminal:
        return container.create(_asked(request, channel)), ()
    mine, theirs = sockets.pair()
    created = container.create(_asked(request, channel, theirs))
    return created, sockets.receive(mine, 4096)[1]
