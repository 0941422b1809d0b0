"""The name server: messages, garbage, and a conversation on the loopback."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import nameserver
from labcontainer.errors import LabError
from labcontainer.nameserver import AAAA, PTR, A, Names, Server

TABLE = {"db": ["10.231.0.2", "fd00::2"], "Web.Example": ["10.231.0.3"], "db-alias": ["10.231.0.2"]}


def question(name: str, kind: int = A, ident: int = 7, flags: int = 0x100) -> bytes:
    head = struct.pack(">6H", ident, flags, 1, 0, 0, 0)
    return head + nameserver.encode_name(name) + struct.pack(">HH", kind, 1)


def answers(data: bytes) -> tuple[int, list[bytes]]:
    """The code, and the data of each answer."""
    _id, flags, _questions, count, *_rest = struct.unpack_from(">6H", data)
    at = data.index(b"\0", 12) + 5
    found = []
    for _ in range(count):
        assert data[at : at + 2] == b"\xc0\x0c"
        (length,) = struct.unpack_from(">H", data, at + 10)
        found.append(data[at + 12 : at + 12 + length])
        at += 12 + length
    assert at == len(data)
    return flags & 15, found


def ask(name: str, kind: int = A) -> tuple[int, list[bytes]] | None:
    found = Names(TABLE).answer(nameserver.parse(question(name, kind)))
    return None if found is None else answers(found)


def test_names_are_answered_whatever_their_case() -> None:
    assert ask("db") == (0, [bytes([10, 231, 0, 2])])
    assert ask("DB", AAAA) == (0, [socket.inet_pton(socket.AF_INET6, "fd00::2")])
    assert ask("web.example") == (0, [bytes([10, 231, 0, 3])])


def test_a_name_without_an_address_of_that_kind_exists_all_the_same() -> None:
    assert ask("web.example", AAAA) == (0, [])


def test_a_name_that_is_not_ours_is_for_others() -> None:
    assert ask("example.org") is None


def test_of_several_addresses_each_comes_first_in_its_turn() -> None:
    names = Names({"web": ["10.231.0.2", "10.231.0.3", "10.231.0.4"]})
    asked = nameserver.parse(question("web"))
    found = [answers(names.answer(asked) or b"")[1] for _ in range(3)]
    assert [one[0][3] for one in found] == [2, 3, 4]
    assert all(sorted(one) == sorted(found[0]) for one in found)


def test_an_address_has_the_first_of_its_names() -> None:
    assert ask("2.0.231.10.in-addr.arpa", PTR) == (0, [b"\x02db\0"])
    assert ask(nameserver.reverse_name("fd00::2"), PTR) == (0, [b"\x02db\0"])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"short", "too few"),
        (question("db", flags=0x8000), "an answer"),
        (question("db")[:4] + b"\0\2" + question("db")[6:], "2 questions"),
        (question("db")[:12] + b"\xc0\x0c\0\1\0\1", "bad name at byte 12"),
        (question("db")[:-1], "no type"),
        (question("db")[:-2] + b"\0\3", "class 3"),
        (question("db")[:14], "bad name"),
        (question(".".join(["a" * 60] * 5)), "bad name"),
    ],
)
def test_junk_is_named_in_one_line(data: bytes, why: str) -> None:
    with pytest.raises(nameserver.JunkError, match=why):
        nameserver.parse(data)


@given(st.binary(max_size=300))
def test_garbage_is_junk_or_a_question_and_never_anything_else(data: bytes) -> None:
    try:
        found = nameserver.parse(data)
    except nameserver.JunkError:
        return
    Names(TABLE).answer(found)
    nameserver.reply(found, 2)


@given(st.binary(max_size=60).map(lambda tail: question("db")[:12] + tail))
def test_a_garbled_question_after_a_good_head(data: bytes) -> None:
    test_garbage_is_junk_or_a_question_and_never_anything_else.hypothesis.inner_test(data)  # type: ignore[attr-defined]


# --- a conversation -----------------------------------------------------------------------------


@contextmanager
def served(resolvers: list[str]) -> Iterator[tuple[Server, tuple[str, int], list[str]]]:
    log: list[str] = []
    sockets = nameserver.listen("127.0.0.1", 0)
    server = Server("", Names(TABLE), resolvers, log=log.append, sockets=sockets)
    with server:
        yield server, sockets[0].getsockname(), log


def by_udp(where: tuple[str, int], data: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(60)
        sock.sendto(data, where)
        return sock.recv(4096)


def by_tcp(where: tuple[str, int], *questions: bytes) -> list[bytes]:
    with socket.create_connection(where, 60) as sock:
        for data in questions:
            sock.sendall(struct.pack(">H", len(data)) + data)
        return [nameserver._receive(sock) for _ in questions]


def test_both_ways_of_asking() -> None:
    with served([]) as (_server, where, _log):
        assert answers(by_udp(where, question("db"))) == (0, [bytes([10, 231, 0, 2])])
        first, second = by_tcp(where, question("db"), question("web.example"))
        assert answers(first)[1] == [bytes([10, 231, 0, 2])]
        assert answers(second)[1] == [bytes([10, 231, 0, 3])]


def test_what_others_know_is_passed_on_and_handed_back_as_it_is() -> None:
    upstream = nameserver.listen("127.0.0.1", 0)
    others = Server("", Names({"example.org": ["192.0.2.9"]}), sockets=upstream)
    port = upstream[0].getsockname()[1]
    with others, served([f"127.0.0.1#{port}"]) as (_server, where, _log):
        expected = (0, [bytes([192, 0, 2, 9])])
        assert answers(by_udp(where, question("example.org"))) == expected
        assert answers(by_tcp(where, question("example.org"))[0]) == expected


def test_nobody_to_ask_is_servfail() -> None:
    with served([]) as (_server, where, _log):
        assert answers(by_udp(where, question("example.org"))) == (2, [])


def test_junk_gets_formerr_and_one_line_and_the_server_goes_on() -> None:
    with served([]) as (_server, where, log):
        bad = by_udp(where, question("db")[:13])
        assert struct.unpack(">HH", bad[:4]) == (7, 0x8081)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", where)
            sock.sendto(question("db", flags=0x8000), where)
        assert answers(by_udp(where, question("db")))[0] == 0
        assert len(log) == 3
        assert all("127.0.0.1 udp: " in line and "\n" not in line for line in log)


def test_more_questions_than_it_passes_on_at_once_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nameserver, "FORWARDS", 1)
    go = threading.Event()

    def slow(data: bytes, *_args: object) -> bytes:
        go.wait(60)
        return nameserver.reply(nameserver.parse(data), 0)

    monkeypatch.setattr(nameserver, "forward", slow)
    with served([]) as (_server, where, log), socket.socket(type=socket.SOCK_DGRAM) as first:
        first.settimeout(60)
        first.sendto(question("slow"), where)
        assert answers(by_udp(where, question("second"))) == (2, [])
        go.set()
        assert answers(first.recv(512)) == (0, [])
        assert "under way" in log[0]


def test_an_answer_too_long_for_a_datagram_asks_for_tcp() -> None:
    many = {"many": [f"10.231.1.{n}" for n in range(60)]}
    with served([]) as (server, where, _log):
        server.names.replace(many)
        short = by_udp(where, question("many"))
        assert struct.unpack(">H", short[2:4])[0] & 0x200
        assert len(answers(by_tcp(where, question("many"))[0])[1]) == 60


def test_a_port_that_is_taken_is_told() -> None:
    udp, tcp = nameserver.listen("127.0.0.1", 0)
    with pytest.raises(LabError, match=r"no name server on 127.0.0.1 port .*: Address already"):
        nameserver.listen("127.0.0.1", tcp.getsockname()[1])
    udp.close()
    tcp.close()


# --- files --------------------------------------------------------------------------------------

HOST = """\
# made by hand
nameserver 127.0.0.53
nameserver 192.0.2.53
search example.org
options edns0
"""


def test_a_containers_resolv_conf() -> None:
    assert nameserver.resolv_conf(HOST) == (
        "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n"
    )
    assert nameserver.resolv_conf(HOST, "10.231.0.1", ["lab"]) == (
        "nameserver 10.231.0.1\nsearch lab\noptions edns0\n"
    )
    assert "# no name server" in nameserver.resolv_conf("nameserver ::1\n")


def test_a_containers_hosts_file() -> None:
    text = nameserver.hosts("web", "10.231.0.2", [("10.231.0.9", "db")])
    assert text.startswith("127.0.0.1\tlocalhost\n")
    assert text.endswith("10.231.0.9\tdb\n10.231.0.2\tweb\n")
