"""One request: its words and its body read, and the ways to answer it.

An answer is one of three: a JSON document, a stream that goes on for as long as there is something
to tell, or the connection itself, which then carries a container's bytes both ways (`take_over`).
"""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from labcontainer import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from labcontainer.daemon.body import Body
    from labcontainer.daemon.server import Handler
    from labcontainer.engine.engine import Engine

Wanted = TypeVar("Wanted")

BODY_LIMIT = 4 << 20  # bytes of a JSON body
JSON = "application/json"
TAR = "application/x-tar"
RAW = "application/vnd.docker.raw-stream"
FRAMES = "application/vnd.docker.multiplexed-stream"
FALSE = ("", "0", "no", "false", "none")  # Docker's: everything else is true


class Call:
    """A request and its answer. `words` are those of the path, by the route's names."""

    def __init__(self, engine: Engine, handler: Handler, version: tuple[int, int]) -> None:
        self.engine = engine
        self.method = str(handler.command)
        self.debug = handler.server.debug
        self.version = version
        self.headers = handler.headers
        try:
            parts = urlsplit(handler.path)
        except ValueError as error:
            raise errors.UsageError(f"bad request: {error}") from None
        self.path = unquote(parts.path)
        self.words: dict[str, str] = {}
        self._query = parse_qs(parts.query, keep_blank_values=True)
        self._handler = handler
        self.answered = False

    # --- what is asked ---------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether the query has a word of that name."""
        return name in self._query

    def text(self, name: str, default: str = "") -> str:
        """A word of the query."""
        return self._query.get(name, [default])[0]

    def texts(self, name: str) -> list[str]:
        """All words of one name."""
        return [word for word in self._query.get(name, []) if word]

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no of the query, as Docker reads it."""
        words = self._query.get(name)
        return default if words is None else words[0].strip().lower() not in FALSE

    def number(self, name: str, default: int = 0) -> int:
        """A whole number of the query.

        Raises:
            UsageError: it is none.
        """
        word = self.text(name)
        try:
            return int(word) if word else default
        except ValueError:
            raise errors.UsageError(f"bad parameter {name}: {word!r} is not a number") from None

    def filters(self, name: str = "filters") -> dict[str, list[str]]:
        """The filters: JSON of `{"key": ["value"]}`, or of the older `{"key": {"value": true}}`.

        Raises:
            UsageError: it is neither.
        """
        word = self.text(name)
        if not word:
            return {}
        try:
            found = msgspec.json.decode(word)
            return {key: [str(one) for one in values] for key, values in found.items()}
        except (msgspec.DecodeError, AttributeError, TypeError, RecursionError):
            raise errors.UsageError(f"invalid filter: {word[:100]!r}") from None

    def document(self, name: str) -> Any:
        """A JSON value in a word of the query, None without it.

        Raises:
            UsageError: it is no JSON.
        """
        word = self.text(name)
        try:
            return msgspec.json.decode(word) if word else None
        except (msgspec.DecodeError, RecursionError) as error:
            raise errors.UsageError(f"bad parameter {name}: {error}") from None

    def body(self, kind: type[Wanted]) -> Wanted:
        """The JSON body, checked against a type; an empty one has the type's own defaults.

        Raises:
            UsageError: it is no JSON, too large, or has a value of another kind.
        """
        data = self.stream.read(BODY_LIMIT + 1)
        if len(data) > BODY_LIMIT:
            raise errors.UsageError(f"the body is larger than {BODY_LIMIT >> 20} MB")
        try:
            found = msgspec.json.decode(data) if data.strip() else None
            return msgspec.convert({} if found is None else _without_null(found), kind)
        except msgspec.ValidationError as error:
            raise errors.UsageError(f"invalid JSON: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise errors.UsageError(f"invalid JSON: {error}") from None

    @property
    def stream(self) -> Body:
        """The body as a file, however long it is."""
        return self._handler.body

    # --- answers ---------------------------------------------------------------------------------

    def reply(self, document: Any, status: int = 200) -> None:
        """Answer with a JSON document."""
        self._answer(status, JSON, msgspec.json.encode(document) + b"\n")

    def empty(self, status: int = 204) -> None:
        """Answer that it is done, with nothing to say."""
        self._answer(status, "", b"")

    def plain(self, text: str, headers: dict[str, str]) -> None:
        """Answer with a word and headers (`/_ping`)."""
        self._answer(200, "text/plain; charset=utf-8", text.encode(), headers)

    def _answer(
        self, status: int, kind: str, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        self.answered = True
        handler = self._handler
        handler.begin(status, kind, headers)
        if status != 204 or data:
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if self.method != "HEAD":
            handler.wfile.write(data)

    def answer_stream(self, kind: str = JSON, headers: dict[str, str] | None = None) -> Stream:
        """Begin an answer that is told bit by bit, in chunks (RFC 9112, 7.1)."""
        self.answered = True
        handler = self._handler
        handler.begin(200, kind, headers)
        chunked = handler.request_version == "HTTP/1.1"
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.close_connection = True
        handler.end_headers()
        handler.wfile.flush()
        return Stream(handler, chunked)

    def take_over(self, kind: str = RAW) -> tuple[socket.socket, bytes]:
        """Make the connection the client's and ours: (the socket, bytes that have come already).

        A client that sent `Upgrade` gets 101 and the type of what follows; an older one gets 200.
        """
        self.answered = True
        handler = self._handler
        upgrade = "upgrade" in (self.headers.get("Connection") or "").lower()
        handler.begin(101 if upgrade else 200, kind)
        if upgrade:
            handler.send_header("Connection", "Upgrade")
            handler.send_header("Upgrade", "tcp")
        handler.end_headers()
        handler.wfile.flush()
        handler.close_connection = True
        return handler.connection, handler.early()

    def stream_type(self, tty: bool) -> str:
        """How a container's output is sent to this client, since 1.42 in words of its own."""
        return FRAMES if not tty and self.version >= (1, 42) else RAW

    def fileno(self) -> int:
        """The connection's descriptor: ready with POLLRDHUP when the client hangs up."""
        return self._handler.connection.fileno()


class Stream:
    """The body of an answer that goes on."""

    def __init__(self, handler: Handler, chunked: bool) -> None:
        self._file = handler.wfile
        self._chunked = chunked

    def write(self, data: bytes) -> int:
        """Send some of it now."""
        if data:
            if self._chunked:
                self._file.write(b"%x\r\n%b\r\n" % (len(data), data))
            else:
                self._file.write(data)
            self._file.flush()
        return len(data)

    def tell(self, document: Any) -> None:
        """Send a JSON document, as a line of its own."""
        self.write(msgspec.json.encode(document) + b"\r\n")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._chunked and kind is None:
            self._file.write(b"0\r\n\r\n")
            self._file.flush()


def _without_null(value: Any) -> Any:
    """A document without its nulls: where Docker's clients mean "not given" they write null.

    But a network that is named in EndpointsConfig is wanted, whatever is said of it.
    """
    if isinstance(value, dict):
        return {
            key: _without_null({name: one or {} for name, one in found.items()}
                               if key == "EndpointsConfig" and isinstance(found, dict) else found)
            for key, found in value.items()
            if found is not None
        }  # fmt: skip
    if isinstance(value, list):
        return [_without_null(one) for one in value]
    return value
