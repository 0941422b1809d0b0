"""Messages against bytes that `ip` was seen to send (strace), and against garbage."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer.kernel import netlink, rtnetlink, trace
from labcontainer.kernel.netlink import IFLA, NLM, RTM, attribute, message


def body(request: netlink.Request) -> bytes:
    """The request's body in a namespace where every link has the index 7."""
    return request.body(lambda _name: 7)


# strace -e trace=sendmsg -e write=3 ip …: the bytes after struct nlmsghdr, by iproute2 6.1.
SEEN = {
    "ip link add lc0 type dummy": (
        rtnetlink.add_link("lc0", "dummy"),
        "00000000 00000000 00000000 00000000 08000300 6c633000 10001200 09000100 64756d6d 79000000",
    ),
    "ip link add lc0 address 02:42:0a:e7:00:01 mtu 1400 type bridge": (
        rtnetlink.add_link("lc0", "bridge", address="02:42:0a:e7:00:01", mtu=1400),
        (
            "00000000 00000000 00000000 00000000 0a000100 02420ae7 00010000 08000400 78050000 "
            "08000300 6c633000 10001200 0a000100 62726964 67650000"
        ),
    ),
    "ip address add 10.231.0.1/24 dev lc0": (
        rtnetlink.add_address("lc0", "10.231.0.1/24"),
        "02180000 07000000 08000200 0ae70001 08000100 0ae70001",
    ),
    "ip route add default via 10.231.0.1": (
        rtnetlink.add_route("default", via="10.231.0.1"),
        "02000000 fe030001 00000000 08000500 0ae70001",
    ),
    "ip route add 10.99.0.0/16 dev lc0": (
        rtnetlink.add_route("10.99.0.0/16", dev="lc0"),
        "02100000 fe03fd01 00000000 08000100 0a630000 08000400 07000000",
    ),
}


def sections(data: bytes, fixed: int) -> tuple[bytes, dict[int, bytes]]:
    """The fixed header and the attributes: their order is each program's own."""
    return data[:fixed], netlink.parse_attributes(data[fixed:])


@pytest.mark.parametrize("command", SEEN)
def test_a_request_has_the_bytes_that_ip_sends(command: str) -> None:
    request, seen = SEEN[command]
    fixed = {"link": 16, "address": 8, "route": 12}[command.split()[1]]
    ours, theirs = sections(body(request), fixed), sections(bytes.fromhex(seen), fixed)
    assert str(request) == command
    assert ours[0] == theirs[0]
    assert {k: v.rstrip(b"\0") for k, v in ours[1].items()} == {
        k: v.rstrip(b"\0") for k, v in theirs[1].items()
    }


def test_the_peer_of_a_veth_pair_is_described_inside_it() -> None:
    request = rtnetlink.add_veth("lc0", "eth0", netns=9, peer_address="02:42:0a:e7:00:02", mtu=1400)
    outer = netlink.parse_attributes(body(request)[16:])
    info = netlink.parse_attributes(outer[IFLA.LINKINFO])
    peer = netlink.parse_attributes(netlink.parse_attributes(info[2])[1][16:])
    assert info[1] == b"veth"
    assert peer[IFLA.IFNAME] == b"eth0\0"
    assert peer[IFLA.ADDRESS].hex(":") == "02:42:0a:e7:00:02"
    assert peer[IFLA.NET_NS_FD] == struct.pack("=I", 9)
    assert outer[IFLA.MTU] == peer[IFLA.MTU] == struct.pack("=I", 1400)


def test_a_message_has_its_length_in_front_and_attributes_are_padded() -> None:
    assert message(RTM.GETLINK, NLM.REQUEST, 5, b"abcd") == struct.pack(
        "=IHHII4s", 20, 18, 1, 5, 0, b"abcd"
    )
    assert attribute(3, b"lc0\0x") == b"\x09\0\x03\0lc0\0x\0\0\0"
    assert attribute(3, b"") == b"\x04\0\x03\0"


def test_set_link_names_the_link_by_index_only_to_rename_it() -> None:
    by_name, by_index = (
        body(rtnetlink.set_link("a", up=True)),
        body(rtnetlink.set_link("a", new_name="b")),
    )
    assert struct.unpack_from("=BxHiII", by_name) == (0, 0, 0, 1, 1)
    assert struct.unpack_from("=BxHiII", by_index) == (0, 0, 7, 0, 0)
    assert netlink.parse_attributes(by_index[16:])[IFLA.IFNAME] == b"b\0"
    assert struct.unpack_from("=BxHiII", body(rtnetlink.set_link("a", up=False)))[3:] == (0, 1)


@given(
    st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), unique_by=lambda a: a[0])
)
def test_attributes_come_back_as_they_went(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, payload) for kind, payload in pairs)
    assert netlink.parse_attributes(data) == dict(pairs)


@given(st.binary(max_size=200))
def test_garbage_ends_the_parsing_and_nothing_else(data: bytes) -> None:
    netlink.parse_attributes(data)
    for _kind, _flags, _sequence, inner in netlink.parse_messages(data):
        assert len(inner) <= len(data) - 16


def test_an_error_shows_the_request_and_the_kernels_own_words() -> None:
    words = attribute(1, b"Unknown device type\0")
    answer = struct.pack("=i", -95) + bytes(16) + words
    with pytest.raises(
        OSError, match=r"Operation not supported: 'ip link add .*Unknown device"
    ) as e:
        netlink._raise_errno(answer, 0x300, "ip link add lc0 type nosuch")
    assert e.value.errno == 95


@pytest.mark.requires("root")
def test_a_refused_request_is_seen_by_whoever_watches() -> None:
    request = rtnetlink.set_link("lc-not-there", up=True)
    with netlink.Netlink() as here, trace.Recorder() as seen:  # noqa: SIM117
        with pytest.raises(OSError, match="No such device"):
            here.do(request)
    assert seen.lines == ["ip link set lc-not-there up = -1 No such device"]


def test_this_namespace_has_a_loopback_link() -> None:
    with netlink.Netlink() as here:
        assert here.link("lo") in here.links()
        assert here.link("lo").index == 1
