"""Where a daemon listens, in the words of Docker's `-H`: unix:///PATH, tcp://HOST:PORT."""

from __future__ import annotations

import os

from labcontainer import errors
from labcontainer.record import Record

PORT, TLS_PORT = 2375, 2376


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
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"


def standard_path() -> str:
    """The socket of this user's daemon: root's in /run, another's in their runtime directory."""
    if os.geteuid() == 0:
        return "/run/labcontainer.sock"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/labcontainer-{os.geteuid()}"
    return f"{runtime}/labcontainer.sock"


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
    kind, mark, rest = word.partition("://")
    if not mark:
        kind, rest = ("unix", word) if word.startswith("/") else ("tcp", word)
    if kind == "unix" and rest.startswith("/"):
        return Address(rest)
    if kind == "tcp" and rest:
        return _tcp(word, rest.rstrip("/"))
    raise errors.UsageError(f"invalid host {word!r}: it is unix:///PATH or tcp://HOST[:PORT]")


def _tcp(word: str, rest: str) -> Address:
    tls = certificates()
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, str(TLS_PORT if tls else PORT)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise errors.UsageError(f"invalid host {word!r}: {port!r} is no port")
    return Address(host=host.strip("[]") or "127.0.0.1", port=int(port), tls=tls)


def certificates() -> Tls | None:
    """The files in LABCONTAINER_CERT_PATH (ca.pem, cert.pem, key.pem), if it is set."""
    folder = os.environ.get("LABCONTAINER_CERT_PATH", "")
    if not folder:
        return None
    return Tls(f"{folder}/ca.pem", f"{folder}/cert.pem", f"{folder}/key.pem")
