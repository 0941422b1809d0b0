"""Calls of the Engine API: a method, a path, a query, JSON both ways.

    client = Client()
    client.get("/containers/json", all=1)                     the parsed answer
    client.stream("POST", "/images/create", fromImage="busybox")     objects as they come
    client.hijack("/containers/ID/attach", stream=1, stdout=1)       a connection to talk over

Queries: True is 1, None is left out, a list repeats the name, a dictionary goes as JSON. An answer
of 400 and more is an ApiError with the daemon's own words.

A call speaks VERSION of the API without asking first. A daemon that does not know it says so, and
is spoken to in the newest that both know. A command whose meaning depends on the version asks with
`negotiate` before it begins.
"""

from __future__ import annotations

from labcontainer import errors
from labcontainer.client import address, http
from labcontainer.runtime import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

VERSION = "1.41"  # what is spoken unasked: the oldest that has all that is used here
OLDEST, NEWEST = "1.24", "1.44"  # what is spoken at all
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/:@")


class ApiError(errors.LabError):
    """The daemon refused; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def quote(text: str, safe: bytes = b"") -> str:
    """Percent-encoding, RFC 3986."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN or byte in safe else f"%{byte:02X}" for byte in data)


def query(words: dict[str, Any]) -> str:
    """`?a=1&b=…`, "" for nothing."""
    pairs: list[str] = []
    for name, value in words.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None and one is not False:
                pairs.append(f"{quote(name)}={quote(_word(one))}")
    return "?" + "&".join(pairs) if pairs else ""


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return jsontext.dumps(value)
    return "1" if value is True else str(value)


def agreed(theirs: str) -> str:
    """The newest version of the API that we and a daemon know: Docker's rule.

    A daemon that tells none (`Api-Version` came with Docker 1.12) is taken for the oldest.
    """
    return min(max(theirs, OLDEST, key=numbers), NEWEST, key=numbers)


def numbers(version: str) -> tuple[int, ...]:
    """A version to compare: `1.41` is (1, 41)."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


class Client:
    """The daemon at an address; connections are made as calls need them.

    `version` is the API's that calls speak. `patience`: seconds that the daemon may be silent
    before a call fails with TimeoutError; None is for ever.
    """

    def __init__(self, where: address.Address | None = None, patience: float | None = None) -> None:
        self.address = where or address.chosen()
        self.version = VERSION
        self.patience = patience

    def negotiate(self) -> str:
        """Speak the newest version that both know from now on; which it is.

        Raises:
            ConnectError, ProtocolError: there is no daemon, or no answer.
        """
        response = self._request("GET", "/_ping", b"", {})
        response.close()
        self.version = agreed(response.headers.get("api-version", ""))
        return self.version

    def send(
        self,
        method: str,
        path: str,
        words: dict[str, Any],
        *,
        body: bytes | Iterable[bytes] = b"",
        headers: dict[str, str] | None = None,
    ) -> http.Response:
        """Make a call; the answer's head is read, its body not.

        Raises:
            ApiError: the daemon refused.
            ConnectError, ProtocolError: there is no daemon, or no answer.
        """
        target = f"{quote(path)}{query(words)}"
        response = self._request(method, f"/v{self.version}{target}", body, headers)
        if response.status < 400:
            return response
        try:
            message = _message(response)
        finally:
            response.close()
        spoken = agreed(response.headers.get("api-version", ""))
        unknown = response.status == 400 and message.startswith("client version ")
        if unknown and spoken != self.version and isinstance(body, bytes):
            self.version = spoken
            return self.send(method, path, words, body=body, headers=headers)
        raise ApiError(response.status, message)

    def _request(
        self, method: str, target: str, body: bytes | Iterable[bytes],
        headers: dict[str, str] | None,
    ) -> http.Response:  # fmt: skip
        sock = http.connect(self.address)
        try:
            if self.patience is not None:
                sock.settimeout(self.patience)
            asked = {"User-Agent": "labcontainer", **(headers or {})}
            return http.send(sock, method, target, asked, body)
        except BaseException:
            sock.close()
            raise

    def call(self, method: str, path: str, json_body: Any = None, **words: Any) -> Any:
        """Make a call and parse the whole answer; None where it has no body."""
        headers, body = {}, b""
        if json_body is not None:
            headers = {"Content-Type": "application/json"}
            body = _encode(json_body)
        response = self.send(method, path, words, body=body, headers=headers)
        try:
            data = response.all()
        finally:
            response.close()
        return _decode(data) if data.strip() else None

    def get(self, path: str, **words: Any) -> Any:
        """GET, parsed."""
        return self.call("GET", path, **words)

    def post(self, path: str, json_body: Any = None, **words: Any) -> Any:
        """POST with a JSON body, parsed."""
        return self.call("POST", path, json_body, **words)

    def delete(self, path: str, **words: Any) -> Any:
        """DELETE, parsed."""
        return self.call("DELETE", path, **words)

    def stream(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Iterable[bytes] = b"",
        headers: dict[str, str] | None = None,
        **words: Any,
    ) -> Iterator[Any]:
        """The objects of an answer that goes on: events, statistics, progress."""
        response = self.send(method, path, words, body=body, headers=headers)
        try:
            yield from objects(response)
        finally:
            response.close()

    def download(self, path: str, **words: Any) -> http.Response:
        """GET; the body is to be read, and the response closed."""
        return self.send("GET", path, words)

    def hijack(self, path: str, json_body: Any = None, **words: Any) -> tuple[http.Socket, bytes]:
        """POST and take the connection over: (socket, bytes that came with the answer)."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp", "Content-Type": "application/json"}
        body = b"" if json_body is None else _encode(json_body)
        return self.send("POST", path, words, body=body, headers=headers).take_over()


def _encode(value: Any) -> bytes:
    return jsontext.dumps(value).encode()


def _decode(data: bytes) -> Any:
    try:
        return jsontext.loads(data.decode(), "the daemon's answer")
    except (errors.SpecError, UnicodeDecodeError):
        raise http.ProtocolError(f"the daemon's answer is no JSON: {data[:60]!r}") from None


def objects(parts: Iterable[bytes]) -> Iterator[Any]:
    """The JSON values of a stream, one after another, whatever stands between them."""
    waiting, pending = "", b""
    for data in parts:
        pending += data
        cut = pending.rfind(b"\n") + 1 or pending.rfind(b"}") + 1
        text, pending = pending[:cut].decode(errors="replace"), pending[cut:]
        waiting = (waiting + text).lstrip()
        while waiting:
            try:
                value, end = jsontext.scan(waiting)
            except (StopIteration, ValueError):
                break  # the rest of it has not come yet
            yield value
            waiting = waiting[end:].lstrip()
    if (waiting + pending.decode(errors="replace")).strip():
        raise http.ProtocolError(f"the daemon's answer is cut off: {waiting[:60]!r}")


def _message(response: http.Response) -> str:
    """The daemon's words: Docker has them in {"message": …}."""
    data = b""
    while len(data) < http.HEAD_LIMIT and (more := response.read()):
        data += more
    try:
        return str(_decode(data)["message"]).strip()
    except (http.ProtocolError, KeyError, TypeError):
        text = data.decode(errors="replace").strip().splitlines()
        return text[0][:300] if text else f"the daemon answered {response.status}"
