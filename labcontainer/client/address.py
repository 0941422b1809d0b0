"""Where a daemon listens, in the words of Docker's `-H`: unix:///PATH, tcp://HOST:PORT.

`parse` is for who calls, `split` for who listens.
"""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.kernel import files
from labcontainer.record import Record

SOCKET = "labcontainer.sock"  # of a user's daemon
PORT, TLS_PORT = 2375, 2376
LOOPBACK = "127.0.0.1"


class Tls(Record):
    """Certificate files, as `docker --tlscacert --tlscert --tlskey` has them."""

    ca: str
    cert: str
    key: str


class Address(Record):
    """A socket's `path`, or a `host` and `port`, the latter with TLS unless it is loopback."""

    path: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix://{self.path}" if self.path else f"tcp://{host}:{self.port}"


def standard_path(name: str = SOCKET) -> str:
    """The socket of this user's daemon: root's in /run, another's in their runtime directory, which
    is made where the session has none.

    Raises:
        PermissionError: somebody else has made that directory: their daemon would get our secrets.
    """
    if os.geteuid() == 0:
        return f"/run/{name}"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"{runtime or files.own_directory(f'/tmp/labcontainer-{os.geteuid()}')}/{name}"


def chosen() -> Address:
    """What LABCONTAINER_HOST says, else this user's own daemon.

    Raises:
        UsageError: the variable holds no address.
    """
    word = os.environ.get("LABCONTAINER_HOST", "")
    return parse(word) if word else Address(standard_path())


def parse(word: str) -> Address:
    """The address that a word names.

    Raises:
        UsageError: it names none.
    """
    tls = certificates()
    path, host, port = split(word, TLS_PORT if tls else PORT)
    if path:
        return Address(path)
    if not port:
        raise errors.UsageError(f"invalid host {word!r}: nobody answers at port 0")
    return Address(host=host, port=port, tls=tls)


def split(word: str, usual: int) -> tuple[str, str, int]:
    """(path, host, port) of `unix:///PATH` or `/PATH`, `tcp://HOST[:PORT]` or `HOST[:PORT]`.

    No host is this machine's loopback; `usual` is the port that need not be said. Port 0 is a
    listener's word for any free one.

    Raises:
        UsageError: it is none of them.
    """
    kind, mark, rest = word.partition("://")
    if not mark:
        kind, rest = ("unix", word) if word.startswith("/") else ("tcp", word)
    if kind == "unix" and rest.startswith("/"):
        return rest, "", 0
    rest = rest.rstrip("/")
    if kind not in ("tcp", "http", "https") or not rest:
        raise errors.UsageError(f"invalid host {word!r}: it is unix:///PATH or tcp://HOST[:PORT]")
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, str(usual)
    if not port.isdecimal() or int(port) > 65535:
        raise errors.UsageError(f"invalid host {word!r}: {port!r} is no port")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise errors.UsageError(f"invalid host {word!r}: an IPv6 address stands in brackets")
    return "", host.strip("[]") or LOOPBACK, int(port)


def certificates() -> Tls | None:
    """The files in LABCONTAINER_CERT_PATH (ca.pem, cert.pem, key.pem), if it is set."""
    folder = os.environ.get("LABCONTAINER_CERT_PATH", "")
    if not folder:
        return None
    return Tls(f"{folder}/ca.pem", f"{folder}/cert.pem", f"{folder}/key.pem")
