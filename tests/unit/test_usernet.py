"""Plans of networks without root. What the programs do is in tests/system/test_usernet.py."""

from __future__ import annotations

import pytest

from labcontainer import ports, usernet
from labcontainer.errors import UnsupportedError

PORTS = (*ports.parse("8080:80"), *ports.parse("127.0.0.1:5353:53/udp"))


def test_slirp4netns_in_one_line() -> None:
    plan = usernet.plan(42, PORTS, "/usr/bin/slirp4netns")
    assert str(plan) == (
        "/usr/bin/slirp4netns --configure --mtu=65520 --disable-host-loopback --enable-sandbox "
        "--enable-seccomp --ready-fd={ready} --exit-fd={end} --api-socket={ready}.sock 42 eth0"
    )
    assert plan.resolver == "10.0.2.3"
    assert "api-socket" not in str(usernet.plan(42, (), "slirp4netns"))


def test_pasta_in_one_line() -> None:
    line = str(usernet.plan(42, PORTS, "/usr/bin/pasta"))
    assert line.endswith("-T none -U none -t 8080:80 -u 127.0.0.1/5353:53 42")
    assert str(usernet.plan(42, (), "pasta")).endswith("-t none -u none 42")


def test_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usernet, "_TUN", "/nowhere")
    with pytest.raises(UnsupportedError, match="a network without root: /nowhere is missing"):
        usernet.choose()
    monkeypatch.setattr(usernet, "_TUN", "/dev/null")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnsupportedError, match="installed; install the package slirp4netns"):
        usernet.choose()
