"""Unix sockets as descriptors, with the passing of descriptors: unix(7), cmsg(3); the loopback.

By `_socket`, the C half of Python's `socket`: the other half costs 8 ms of import.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import struct

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)
_IFREQ = "16sH22x"  # struct ifreq, with ifr_flags
_SCM = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
_MOST = 16  # descriptors in one message
SEQPACKET = int(_socket.SOCK_SEQPACKET)  # keeps messages apart


def pair() -> tuple[int, int]:
    """Two connected sockets that keep messages apart (SOCK_SEQPACKET)."""
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    return one.detach(), other.detach()


def _borrow(fd: int) -> _socket.socket:
    return _socket.socket(fileno=fd)


def send(fd: int, data: bytes, descriptors: tuple[int, ...] = ()) -> None:
    """Send one message, with descriptors if there are any.

    Raises:
        BrokenPipeError, ConnectionResetError: the other end is gone.
    """
    sock = _borrow(fd)
    try:
        extra = [(*_SCM, struct.pack(f"{len(descriptors)}i", *descriptors))] if descriptors else []
        sock.sendmsg([data], extra, _socket.MSG_NOSIGNAL)
    finally:
        sock.detach()


def receive(fd: int, size: int) -> tuple[bytes, tuple[int, ...]]:
    """One message of at most `size` bytes, and its descriptors; (b"", ()) at the end."""
    sock = _borrow(fd)
    try:
        room = _socket.CMSG_SPACE(_MOST * 4)
        data, messages, _, _ = sock.recvmsg(size, room, _socket.MSG_CMSG_CLOEXEC)
    finally:
        sock.detach()
    found: list[int] = []
    for level, kind, payload in messages:
        if (level, kind) == _SCM:
            found += struct.unpack(f"{len(payload) // 4}i", payload[: len(payload) // 4 * 4])
    return data, tuple(found)


def _in_directory(path: str) -> tuple[int, str]:
    """A path has at most 107 bytes in a socket address: name the directory by a descriptor."""
    folder, _, name = path.rpartition("/")
    directory = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return directory, f"/proc/self/fd/{directory}/{name}"


def listen(path: str, kind: int = _socket.SOCK_STREAM, backlog: int = 8) -> int:
    """A listening socket at a path that must be free."""
    sock = _socket.socket(_socket.AF_UNIX, kind | _socket.SOCK_CLOEXEC)
    directory, short = _in_directory(path)
    try:
        sock.bind(short)
        sock.listen(backlog)
        return sock.detach()
    finally:
        sock.close()
        os.close(directory)


def accept(fd: int) -> int:
    """Wait for somebody to connect."""
    sock = _borrow(fd)
    try:
        return sock._accept()[0]  # type: ignore[attr-defined,no-any-return]
    finally:
        sock.detach()


def peer(fd: int) -> int:
    """The process number of who listens at the other end: SO_PEERCRED, unix(7)."""
    sock = _borrow(fd)
    try:
        credentials = sock.getsockopt(_socket.SOL_SOCKET, 17, 12)  # struct ucred: pid, uid, gid
        return int(struct.unpack("3i", credentials)[0])
    finally:
        sock.detach()


def connect(path: str, kind: int = _socket.SOCK_STREAM) -> int:
    """Connect to the socket at a path.

    Raises:
        FileNotFoundError, ConnectionRefusedError: nobody listens there.
    """
    sock = _socket.socket(_socket.AF_UNIX, kind | _socket.SOCK_CLOEXEC)
    directory, short = _in_directory(path)
    try:
        sock.connect(short)
        return sock.detach()
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        sock.close()
        os.close(directory)


def raise_loopback() -> None:
    """Bring `lo` of the network namespace up: it is born down, and 127.0.0.1 unreachable.

    Raises:
        OSError: the caller may not (CAP_NET_ADMIN in the namespace's user namespace).
    """
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        asked = fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, struct.pack(_IFREQ, b"lo", 0))
        name, found = struct.unpack(_IFREQ, asked)
        fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, struct.pack(_IFREQ, name, found | _IFF_UP))
    finally:
        sock.close()
