"""The daemon's sockets: HTTP/1.1 over a Unix socket, over TCP with TLS client certificates.

    main thread ── accepts ──> a thread for each connection ──> route ──> handler

Threads, since a container's streams take the connection over and end one direction before the
other; see docs/decisions. What a request may cost is bounded: headers, bodies, connections, time.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn

from labcontainer import errors
from labcontainer.daemon import api
from labcontainer.daemon.api import NEWEST, OLDEST
from labcontainer.daemon.body import Body
from labcontainer.daemon.call import JSON, Call
from labcontainer.daemon.off import NoSwarmError
from labcontainer.daemon.routing import Route, Router
from labcontainer.engine.copying import ReadOnlyError
from labcontainer.engine.networkspec import ForbiddenError
from labcontainer.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import BufferedIOBase
    from typing import Any

    from labcontainer.engine.engine import Engine

CONNECTIONS = 1024  # at once; the next ones wait in the kernel's queue
IDLE = 300  # seconds that a connection may be silent between two requests
LINGER = 5  # seconds that a refused body is read on
PATIENCE = 60  # seconds that the next bytes of a request may take


class EndingError(errors.LabError):
    """Asked too late."""


STATUS = (
    (EndingError, 503),
    (NoSwarmError, 503),
    (ReadOnlyError, 403),
    (ForbiddenError, 403),
    (errors.NotFoundError, 404),
    (errors.ExistsError, 409),
    (errors.StateError, 409),
    (errors.UsageError, 400),
    (errors.SpecError, 400),
    (errors.CommandNotFoundError, 400),
    (errors.CommandNotExecutableError, 400),
    (errors.UnsupportedError, 501),
)


class Handler(BaseHTTPRequestHandler):
    """One connection: its requests, one after the other."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    server: Server
    connection: socket.socket
    wfile: BufferedIOBase

    def setup(self) -> None:
        """Shake hands in this connection's own thread: a slow client holds up nobody else."""
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(PATIENCE)
            self.request.do_handshake()
        super().setup()

    def handle_one_request(self) -> None:
        """Wait for a request, answer it."""
        self.connection.settimeout(IDLE)
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                self.close_connection = True
                return
            self.connection.settimeout(PATIENCE)
            if len(self.raw_requestline) > 65536:
                self.requestline = self.request_version = self.command = ""
                self.send_error(414)
            elif self.parse_request():
                self._serve()
                self.wfile.flush()
        except (TimeoutError, ConnectionError, ssl.SSLError):
            self.close_connection = True

    def _serve(self) -> None:
        """Answer one request; what a handler raises becomes an answer too."""
        self.body = Body(self.rfile, 0)
        call: Call | None = None
        try:
            self._take_body()
            if self.server.ending:
                raise EndingError("the daemon is shutting down")
            version, path = _version(self.path.partition("?")[0])
            call = Call(self.server.engine, self, version)
            call.path = path
            found = self.server.router.find(self.command, path)
            if found is None:
                raise _NoSuchPageError(self.server.router.knows(path))
            handler, call.words = found
            handler(call)
        except _NoSuchPageError as error:
            self._refuse(error.status, "page not found")
        except (errors.LabError, OSError) as error:
            if isinstance(error, (ConnectionError, TimeoutError)):
                raise
            self._fail(call, error)
        except Exception as error:
            self.log_exception()
            self._fail(call, error)
        finally:
            self._end_of_body()

    def _take_body(self) -> None:
        try:
            self.body = Body.of(self)
        except errors.UsageError:
            self.close_connection = True  # nobody knows where the next request would begin
            raise

    def _end_of_body(self) -> None:
        """What a handler has not read of a body would be taken for the next request."""
        if not self.close_connection and not self.body.drain():
            self.close_connection = True
            self._linger()

    def _linger(self) -> None:
        """Read on for a while after the answer: a client that still sends would not see it.

        A socket closed with bytes unread resets the connection (RFC 9112, 9.6).
        """
        self.wfile.flush()
        ends = time.monotonic() + LINGER
        try:
            self.connection.settimeout(LINGER)
            if not isinstance(self.connection, ssl.SSLSocket):
                self.connection.shutdown(socket.SHUT_WR)
            while time.monotonic() < ends and self.rfile.read1(65536):
                pass
        except OSError:
            pass

    def _fail(self, call: Call | None, error: Exception) -> None:
        if call is not None and call.answered:  # half of it is told: only the end can tell more
            self.close_connection = True
            return
        self._refuse(status_of(error), str(error))

    def _refuse(self, status: int, message: str) -> None:
        import msgspec

        data = msgspec.json.encode({"message": message}) + b"\n"
        self.begin(status, JSON)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class can't read is answered as everything else is."""
        self.close_connection = True
        self.request_version, self.command = "HTTP/1.1", self.command or "GET"
        self._refuse(int(code), explain or message or self.responses[code][0])

    def begin(self, status: int, kind: str, headers: dict[str, str] | None = None) -> None:
        """The status line and the headers that every answer has."""
        self.send_response(status, "UPGRADED" if status == 101 else None)
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in {**api.HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        # What is sent from here on may wait for its reader as long as it takes.
        self.connection.settimeout(None)

    def early(self) -> bytes:
        """Bytes that the client has sent after the request, read already with it."""
        self.connection.settimeout(0)
        try:
            return self.rfile.peek()  # type: ignore[attr-defined,no-any-return]
        except (BlockingIOError, ssl.SSLWantReadError, ValueError):
            return b""
        finally:
            self.connection.settimeout(None)

    def handle_expect_100(self) -> bool:
        """Tell a client that waits for it (curl, with a body over 1 kB) to go on."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def address_string(self) -> str:
        """A Unix socket's client has no address."""
        return self.client_address[0] if self.client_address else "local"

    def version_string(self) -> str:
        """The Server header."""
        return api.SERVER

    def log_message(self, format: str, *args: Any) -> None:
        """Each request would be a line: only with --debug."""
        if self.server.debug:
            super().log_message(format, *args)

    def log_exception(self) -> None:
        """A fault of ours: the whole traceback goes to the daemon's log."""
        import traceback

        sys.stderr.write(f"{self.command} {self.path}\n{traceback.format_exc()}")

    def __getattr__(self, name: str) -> Any:
        """`do_GET` and the others are all the same: the table of routes decides."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)


class _NoSuchPageError(Exception):
    def __init__(self, other_method: bool) -> None:
        self.status = 405 if other_method else 404


def status_of(error: Exception) -> int:
    """Docker's status for an error."""
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status
    return 500


def _version(path: str) -> tuple[tuple[int, int], str]:
    """`/v1.41/info` -> ((1, 41), "/info"); without a version, the newest.

    Raises:
        UsageError: this daemon does not speak it.
    """
    from urllib.parse import unquote

    first, slash, rest = path[1:].partition("/")
    major, dot, minor = first.removeprefix("v").partition(".")
    if not (first.startswith("v") and dot and major.isdecimal() and minor.isdecimal()):
        return NEWEST, unquote(path)
    version = (int(major[:9]), int(minor[:9]))
    if version > NEWEST:
        raise errors.UsageError(
            f"client version {major}.{minor} is too new. "
            f"Maximum supported API version is {NEWEST[0]}.{NEWEST[1]}"
        )
    if version < OLDEST:
        raise errors.UsageError(
            f"client version {major}.{minor} is too old. Minimum supported API version is "
            f"{OLDEST[0]}.{OLDEST[1]}, please upgrade your client to a newer version"
        )
    return version, unquote(slash + rest)


class Server(ThreadingMixIn, HTTPServer):
    """A listening socket and the threads of its connections."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(
        self, listener: socket.socket, engine: Engine, *, debug: bool = False,
        routes: Iterable[Route] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.engine = engine
        self.debug = debug
        self.router = Router(api.routes() if routes is None else routes)
        api.prepare_types()
        self.ending = False  # what is asked from now on is refused
        self.connections = 0
        self.last_seen = time.monotonic()
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._counting = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection, when there is room for one."""
        self._room.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The connection's own thread, from its first byte to its last."""
        self._count(1)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self.connections += change
            self.last_seen = time.monotonic()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault of ours; anything else is told."""
        error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)


# --- the sockets --------------------------------------------------------------------------------


def listen_unix(path: str, group: str = "") -> socket.socket:
    """A socket at a path, for its owner and its group alone: 0660.

    One that a killed daemon left is replaced.

    Raises:
        ExistsError: a daemon listens there. OSError: it can't be made.
    """
    with Undo() as undo:
        sock = socket.socket(socket.AF_UNIX)
        undo.push(sock.close)
        with_mode = os.umask(0o117)
        try:
            _bind(sock, path)
        finally:
            os.umask(with_mode)
        undo.push(os.unlink, path)
        if group:
            _give_to_group(path, group)
        sock.listen(Server.request_queue_size)
    return sock


def _bind(sock: socket.socket, path: str) -> None:
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        _refuse_living(path)
        os.unlink(path)
        sock.bind(path)


def _refuse_living(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        try:
            other.connect(path)
        except OSError:
            return
    raise errors.ExistsError(f"a daemon listens at {path} already")


def _give_to_group(path: str, group: str) -> None:
    import grp

    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except KeyError:
        raise errors.UsageError(f"there is no group {group!r} on this machine") from None


def listen_tcp(host: str, port: int, context: ssl.SSLContext | None) -> socket.socket:
    """A socket at an address; without TLS only on loopback.

    Raises:
        UsageError: plain TCP off loopback: whoever reaches it would be root here.
        OSError: the address is taken, or not ours.
    """
    family, kind, protocol, _, place = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    loopback = place[0] == "::1" or str(place[0]).startswith("127.")
    if context is None and not loopback:
        raise errors.UsageError(
            f"tcp://{host}:{port} without TLS would make everybody who reaches it root of this "
            "machine: give --tlsverify with certificates, or listen on 127.0.0.1"
        )
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(place)
    sock.listen(Server.request_queue_size)
    if context is None:
        return sock
    return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)


def tls(ca: str, cert: str, key: str) -> ssl.SSLContext:
    """TLS that lets in only clients with a certificate of the authority `ca`.

    Raises:
        UsageError: a file is missing or is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise errors.UsageError(f"the certificates {ca}, {cert}, {key}: {error}") from None
    context.verify_mode = ssl.CERT_REQUIRED
    return context
