"""The daemon's own process: what it starts, in which order, and how it ends.

user namespace (an ordinary user) ── zygote ── engine, recover ── sockets ── threads
                                                                     │
SIGTERM, SIGINT, long idleness ── sockets closed ── containers stopped, unless they are to
                                                    outlive it ── engine closed
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

from labcontainer import users
from labcontainer.daemon import server
from labcontainer.image import inside, roots
from labcontainer.kernel import syscalls
from labcontainer.kernel.flags import CLONE, MS
from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator

    from labcontainer.engine.engine import Engine


class Place(Record):
    """Where to listen: a Unix socket's `path`, or a `host` and `port`."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix://{self.path}" if self.path else f"tcp://{host}:{self.port}"


class Options(Record):
    """What the daemon was asked to be. `certificates` are (authority, certificate, key) files.

    `idle`: seconds without a running container and without a client after which it ends; 0: never.
    `using`: a learner's package, whose functions containers are made with; "" for none.
    `ready`: a descriptor that is told, by one byte, when it listens; -1: nobody waits for that.
    """

    home: str
    places: tuple[Place, ...]
    group: str = ""
    certificates: tuple[str, str, str] | None = None
    live_restore: bool = False
    idle: int = 0
    ready: int = -1
    debug: bool = False
    using: str = ""


def serve(options: Options) -> int:
    """Be the daemon until a signal, or idleness, ends it.

    Raises:
        LabError, OSError: it could not begin; nothing is left.
    """
    os.umask(0o022)
    os.chdir("/")
    os.makedirs(options.home, exist_ok=True)
    os.chmod(options.home, roots.closed_mode())
    with listening(options.places, options.group, options.certificates) as listeners:
        _enter(options.home)
        return _serve(options, listeners)


@contextmanager
def listening(
    places: Iterable[Place], group: str, certificates: tuple[str, str, str] | None
) -> Iterator[list[socket.socket]]:
    """Listening sockets; Unix ones for a group too, those on TCP with TLS by certificates.

    Raises:
        ExistsError: somebody listens there. UsageError, OSError: one can't be made.
    """
    with ExitStack() as stack:
        found = []
        for place in places:
            found.append(stack.enter_context(_listen(place, group, certificates)))
            if place.path:
                stack.callback(_unlink, place.path)
        yield found


def _listen(
    place: Place, group: str, certificates: tuple[str, str, str] | None
) -> socket.socket:  # fmt: skip
    if place.path:
        os.makedirs(os.path.dirname(place.path), exist_ok=True)
        return server.listen_unix(place.path, group)
    context = server.tls(*certificates) if certificates else None
    return server.listen_tcp(place.host, place.port, context)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # somebody else has taken it away, or it can't be reached from in here


def _enter(home: str) -> None:
    """An ordinary user becomes root of a namespace, in which he may mount.

    Where containers of a daemon before this one run, it is theirs: from another user namespace
    nobody could reach into them, user_namespaces(7).
    """
    if os.geteuid() != 0 and not _enter_that_of_containers(home):
        maps = users.rootless_maps(os.geteuid(), os.getegid())
        inside.enter_user_namespace(maps, CLONE.NEWNS)
        syscalls.mount(None, "/", None, MS.SLAVE | MS.REC)


def _enter_that_of_containers(home: str) -> bool:
    from labcontainer.runtime.zygote import watcher

    folder = f"{home}/engine/containers"
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if pid := watcher(f"{folder}/{name}"):
            opened = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in ("user", "mnt")]
            for fd, kind in zip(opened, (CLONE.NEWUSER, CLONE.NEWNS), strict=True):
                syscalls.setns(fd, kind)
                os.close(fd)
            return True
    return False


def _serve(options: Options, listeners: list[socket.socket]) -> int:
    from labcontainer.engine.engine import Engine
    from labcontainer.runtime.zygote import Zygote

    if options.using:
        from labcontainer.runtime import using

        using.install(options.using)  # networks are connected in this process
    zygote = Zygote.start(using=options.using)
    try:
        engine = Engine(options.home, zygote, options.using)
    except BaseException:
        zygote.close()
        raise
    engine.live_restore = options.live_restore
    engine.recover()
    servers = [server.Server(one, engine, debug=options.debug) for one in listeners]
    with Ends() as ends:
        begin("labcontainer daemon", servers, options.places, options.ready)
        ends.wait(options.idle, lambda: _is_idle(engine, servers))
        for one in servers:
            one.ending = True
    engine.close(stop=not options.live_restore)
    return 0


def begin(
    title: str, servers: Iterable[server.Server], places: Iterable[Place], ready: int
) -> None:  # fmt: skip
    """Answer from now on, and say so; `ready` is a descriptor that is told, -1 for none."""
    for one in servers:
        threading.Thread(target=one.serve_forever, args=(3600,), daemon=True).start()
    for place in places:
        print(f"{title}: listening on {place}", file=sys.stderr, flush=True)
    if ready >= 0:
        os.write(ready, b"x")
        os.close(ready)


def _is_idle(engine: Engine, servers: list[server.Server]) -> float:
    """Since when nothing runs and nobody asks (monotonic); 0 where that is not so."""
    busy = any(one.connections for one in servers)
    if busy or any(one.state.running for one in engine.containers.all()):
        return 0
    return max(one.last_seen for one in servers)


class Ends:
    """The signals that end a process of ours, as bytes of a pipe."""

    NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __enter__(self) -> Ends:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in self.NUMBERS:
            signal.signal(number, lambda *_: None)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def wait(self, idle: int, idle_since: Callable[[], float]) -> None:
        """Return when a signal has come, or after so many idle seconds."""
        while True:
            since = idle_since() if idle else 0
            left = since + idle - time.monotonic() if since else float(idle)
            if idle and since and left <= 0:
                return
            if select.select([self._read], [], [], max(left, 0.01) if idle else None)[0]:
                return

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before)
        os.close(self._read)
        os.close(self._write)
