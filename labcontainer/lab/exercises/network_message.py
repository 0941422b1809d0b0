"""network.message: one netlink message, byte by byte."""

from __future__ import annotations

import os
import struct

from labcontainer.kernel import rtnetlink
from labcontainer.lab import places
from labcontainer.lab.exercise import Exercise, Outcome, Wrong, done, not_yet
from labcontainer.lab.trial import Trial

HOLE = '''\
import socket
import struct

NEWADDR, REQUEST_ACK_CREATE_EXCL = 20, 0x605
IFA_ADDRESS, IFA_LOCAL = 1, 2


def message(index: int, address: str, length: int) -> bytes:
    """The whole request "link number `index` gets this IPv4 address, with a prefix of `length`".

    nlmsghdr:  u32 length of all · u16 kind · u16 flags · u32 sequence number · u32 0
    ifaddrmsg: u8 family · u8 prefix length · u8 0 · u8 0 · u32 link
    attribute: u16 its length, 4 and the data · u16 kind · the data; one of each IFA_ kind
    """
    data = socket.inet_aton(address)
    ...
'''

SOLUTION = HOLE.replace(
    "    ...\n",
    """\
    body = struct.pack("=BBBBI", socket.AF_INET, length, 0, 0, index)
    for kind in (IFA_LOCAL, IFA_ADDRESS):
        body += struct.pack("=HH", 4 + len(data), kind) + data
    head = struct.pack("=IHHII", 16 + len(body), NEWADDR, REQUEST_ACK_CREATE_EXCL, 1, 0)
    return head + body
""",
)

ONLY_BODY = SOLUTION.replace("16 + len(body)", "len(body)")
NETWORK_ORDER = SOLUTION.replace('"=', '">')
DATA_ONLY = SOLUTION.replace("4 + len(data)", "len(data)")
HOST_ORDER = SOLUTION.replace("+ data\n", "+ data[::-1]\n")

# Bytes come back as text.
IN_HEX = "\n\ndef _hex(index, address, length):\n    return message(index, address, length).hex()\n"


def check(trial: Trial) -> Outcome:
    address = f"10.{trial.number('net', 20, 200)}.{trial.number('host', 2, 99)}.7"
    length = trial.number("length", 17, 29)
    place = places.new("box")
    place.do(rtnetlink.add_link("eth0", "bridge"))
    links = {link["name"]: link["index"] for link in place.facts()["links"]}
    trial.code += IN_HEX
    sent = bytes.fromhex(trial.call("_hex", links["eth0"], address, length))
    if found := _says(sent):
        return found
    answer = _ask(place, sent)
    wanted = {"index": links["eth0"], "address": f"{address}/{length}"}
    there = place.facts()["addresses"]
    if there != [wanted]:
        shown = ", ".join(one["address"] for one in there) or "no address"
        return not_yet(
            expected=f"eth0 has {address}/{length}",
            observed=f"the kernel answers {answer}; eth0 has {shown}",
            where="the body",
            hint="An address stands in network order, as inet_aton gives it."
            if there
            else "The length of an attribute counts its own four bytes too."
            if answer == "OK"
            else "Compare the fields with ifaddrmsg, and the attributes' lengths.",
        )
    return done(f"{len(sent)} bytes, and the link has its address", f"{len(sent)} bytes")


def _says(sent: bytes) -> Outcome | None:
    """What can be said of the head without the kernel, which is silent about a torn message."""
    length = struct.unpack_from("=I", sent.ljust(4, b"\0"))[0]
    if length == len(sent):
        return None
    swapped = struct.unpack_from(">I", sent.ljust(4, b"\0"))[0]
    return not_yet(
        expected=f"the first field says {len(sent)}, all bytes that are sent",
        observed=str(length),
        where="nlmsghdr",
        hint="Netlink speaks the machine's own byte order: `=` in struct, not `>`."
        if swapped == len(sent)
        else "The head counts itself: its 16 bytes and the body's.",
    )


def _ask(place: places.Place, sent: bytes) -> str:
    """Send it as it is; the kernel's answer as a word."""
    try:
        code = place.ask(sent)
    except TimeoutError:
        return "nothing"
    return os.strerror(code) if code else "OK"


EXERCISE = Exercise(
    id="network.message",
    notebook="08_network",
    title="A netlink message by hand",
    hole=HOLE,
    solution=SOLUTION,
    check=check,
    needs=("sandbox", "netns"),
    hints=(
        'struct.pack("=BBBBI", …) makes the ifaddrmsg; `=` is this machine\'s order, no padding.',
        "Each attribute: struct.pack('=HH', 4 + len(data), kind) + data. Two of them.",
        "The head last, as it needs the length: struct.pack('=IHHII', 16 + len(body), …).",
    ),
    wrong=(
        Wrong(ONLY_BODY, "The head counts itself"),
        Wrong(NETWORK_ORDER, "own byte order"),
        Wrong(DATA_ONLY, "attributes' lengths"),
        Wrong(HOST_ORDER, "in network order"),
    ),
)
