"""Plans of networks without root. What the programs do is in tests/system/test_usernet.py."""

from __future__ import annotations

import os
import socket

import pytest

from labcontainer import ports, usernet
from labcontainer.errors import ExistsError, UnsupportedError

PORTS = (*ports.parse("8080:80"), *ports.parse("127.0.0.1:5353:53/udp"))


def test_slirp4netns_in_one_line() -> None:
    plan = usernet.plan(42, PORTS, "/usr/bin/slirp4netns")
    assert str(plan) == (
        "/usr/bin/slirp4netns --configure --mtu=65520 --disable-host-loopback --enable-sandbox "
        "--enable-seccomp --ready-fd={ready} --exit-fd={end} --api-socket={socket} 42 eth0"
    )
    assert plan.resolver == "10.0.2.3"
    assert "api-socket" not in str(usernet.plan(42, (), "slirp4netns"))


def test_pasta_in_one_line() -> None:
    line = str(usernet.plan(os.getpid(), PORTS, "/usr/bin/pasta"))
    assert line.endswith("--netns-only -t 8080:80 -u 127.0.0.1/5353:53")
    assert str(usernet.plan(os.getpid(), (), "pasta")).endswith("-t none -u none")


def test_pasta_joins_namespaces_that_we_opened() -> None:
    line = str(usernet.plan(0, (), "pasta"))  # no process of that number: another's namespace
    assert "--netns /proc/self/fd/{net} --userns /proc/self/fd/{user}" in line


def test_ports_are_settled_before_a_tool_binds_them() -> None:
    (port,) = usernet.settled(ports.parse("127.0.0.1::80"))
    assert port.host_port > 0
    taken = socket.create_server(("127.0.0.1", port.host_port))
    with taken, pytest.raises(ExistsError, match="already allocated"):
        usernet.settled([port])


def test_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usernet, "_TUN", "/nowhere")
    with pytest.raises(UnsupportedError, match="a network without root: /nowhere is missing"):
        usernet.choose()
    monkeypatch.setattr(usernet, "_TUN", "/dev/null")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnsupportedError, match="installed; install the package slirp4netns"):
        usernet.choose()
