"""The port forwarder as a process: connections and datagrams of its own and of other namespaces."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from labcontainer import ports
from labcontainer.engine.forwarder import Forwarder
from tests.system import net_world
from tests.system.net_world import World

pytestmark = pytest.mark.requires("root", "netns")

LOCAL = "127.0.0.1"


@pytest.fixture
def forwarder() -> Iterator[Forwarder]:
    """One in the test's own network namespace."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    made = Forwarder.start(here)
    os.close(here)
    yield made
    made.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """What stands for a container's."""
    with socket.create_server((LOCAL, 0)) as made:
        made.settimeout(60)
        yield made


def held(server: socket.socket, protocol: str = "tcp") -> ports.Held:
    """A port of the host that is to lead to a server's."""
    wanted = ports.Port(server.getsockname()[1], protocol, 0, LOCAL)
    return ports.hold(wanted, listen=True)


def client_of(port: ports.Held) -> socket.socket:
    made = socket.create_connection((LOCAL, port.port.host_port), timeout=60)
    made.settimeout(60)
    return made


def read(sock: socket.socket) -> bytes:
    data = b""
    while part := sock.recv(1 << 16):
        data += part
    return data


def hear(port: ports.Held) -> bytes:
    with client_of(port) as client:
        return read(client)


def say(sock: socket.socket, data: bytes) -> None:
    with sock:
        sock.sendall(data)


def test_each_end_is_passed_on(forwarder: Forwarder, server: socket.socket) -> None:
    """A client that has said all still hears the whole answer."""
    port = held(server)
    forwarder.forward(port, LOCAL)
    client = client_of(port)
    inner, _ = server.accept()
    client.sendall(b"all that I say")
    client.shutdown(socket.SHUT_WR)
    assert read(inner) == b"all that I say"
    answer = os.urandom(1 << 22)
    speaker = threading.Thread(target=say, args=(inner, answer))
    speaker.start()
    assert read(client) == answer
    speaker.join()
    client.close()
    port.release()


def test_who_does_not_read_stops_nobody_else(forwarder: Forwarder, server: socket.socket) -> None:
    port = held(server)
    forwarder.forward(port, LOCAL)
    lazy = client_of(port)
    flood, _ = server.accept()
    flood.settimeout(0.5)
    with pytest.raises(TimeoutError):  # full: the client's buffers, the forwarder's, its own
        flood.sendall(bytes(1 << 28))
    pairs = []
    for number in range(300):
        client = client_of(port)
        inner, _ = server.accept()
        inner.sendall(b"%d" % number)
        pairs.append((client, inner))
    for number, (client, inner) in enumerate(pairs):
        assert client.recv(10) == b"%d" % number
        client.close()
        inner.close()
    assert lazy.recv(10) == bytes(10)  # and it was not forgotten
    for sock in (lazy, flood, port.socket):
        sock.close()


def test_a_port_that_nobody_listens_on(forwarder: Forwarder, server: socket.socket) -> None:
    port = held(server)
    server.close()
    forwarder.forward(port, LOCAL)
    with pytest.raises(ConnectionResetError):  # already of `connect`, if the client is slow
        hear(port)
    port.release()


def test_what_is_forgotten_breaks_off(forwarder: Forwarder, server: socket.socket) -> None:
    port = held(server)
    forwarder.forward(port, LOCAL)
    client = client_of(port)
    inner, _ = server.accept()
    forwarder.forget(port)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert inner.recv(1) == b""
    port.release()
    with pytest.raises(ConnectionRefusedError):
        hear(port)
    client.close()
    inner.close()


def test_it_ends_with_its_daemon_and_what_is_bound_to_it() -> None:
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    forwarder = Forwarder.start(here)
    os.close(here)
    other = subprocess.Popen(["sleep", "1000"])
    forwarder.bind(other.pid)
    assert not forwarder.has_ended()
    forwarder.close()
    assert forwarder.has_ended()
    assert not os.path.exists(f"/proc/{forwarder.pid}")
    assert other.wait(60) == -9


def carries_across(world: World) -> None:
    """Sockets of the one namespace, a server of the other: the container's side is a neighbour."""
    made: Any = Forwarder.start(world.outside.netns)
    seen = []
    for protocol, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
        with world.outside.socket(kind) as server:
            server.bind((LOCAL, 0))
            if protocol == "tcp":
                server.listen()
            port = held(server, protocol)
            made.forward(port, LOCAL)
            for word in (b"first", b"second"):
                client = socket.socket(socket.AF_INET, kind)
                client.settimeout(60)
                client.connect((LOCAL, port.port.host_port))
                client.send(word)
                if protocol == "tcp":
                    inner, sender = server.accept()
                    inner.send(inner.recv(10)[::-1])
                    inner.close()
                else:
                    data, sender = server.recvfrom(10)
                    server.sendto(data[::-1], sender)
                assert client.recv(10) == word[::-1]
                assert sender[1] != client.getsockname()[1]
                client.close()
                seen.append(sender)
            made.forget(port)
            port.release()
    assert len(set(seen)) == 4
    made.close()


def test_from_one_namespace_to_another() -> None:
    net_world.run(carries_across)
