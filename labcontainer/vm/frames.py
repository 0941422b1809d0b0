"""The messages on the one line between host and guest: kind, number of the program, bytes.

        host                                   guest (agent.py, the first process)
         |  <------------------------  READY    |
         |  EXEC n program  ---------------->  |  fork, exec
         |  STDIN n bytes … STDIN n (empty) ->  |  answered by an empty STDIN n, before the next
         |  <------  STDOUT n / STDERR n bytes  |
         |  SIGNAL n number  ---------------->  |
         |  <----------------  EXIT n status    |  after the last byte of its output

A program is words that end with a NUL, as in /proc/PID/cmdline: the user, the directory, how many
words the command has, these, and the environment. JSON would make the agent's start a third longer.
There is no message for the end: the host ends the kernel, or closes the line, and all is gone.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY, EXEC, STDIN, STDOUT, STDERR, SIGNAL, EXIT = b"REiosSX"
# The guest's terminal line holds 4096 bytes; a line that was full once may stay silent for ever.
PIECE = 2048
HEAD = struct.Struct(">BIxxxI")  # kind, number, length


def pack(kind: int, number: int, data: bytes = b"") -> bytes:
    """One message as it goes over the line."""
    return HEAD.pack(kind, number, len(data)) + data


def pack_program(uid: int, cwd: str, argv: Sequence[str], env: Mapping[str, str]) -> bytes:
    """A program as EXEC carries it. Raises ValueError where a word has a NUL in it."""
    words = [str(uid), cwd, str(len(argv)), *argv, *map("=".join, env.items())]
    data = b"".join(os.fsencode(word) + b"\0" for word in words)
    if data.count(b"\0") != len(words):
        raise ValueError(f"a NUL in {words!r}")
    return data


def unpack_program(data: bytes) -> tuple[int, str, list[str], dict[str, str]]:
    """The user, the directory, the command and the environment."""
    uid, cwd, number, *words = [os.fsdecode(word) for word in data.split(b"\0")[:-1]]
    env = dict(word.split("=", 1) for word in words[int(number) :])
    return int(uid), cwd, words[: int(number)], env


class Reader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Add bytes; the messages that are whole by now."""
        self._held += data
        messages = []
        while len(self._held) >= HEAD.size:
            kind, number, length = HEAD.unpack_from(self._held)
            end = HEAD.size + length
            if len(self._held) < end:
                break
            messages.append((kind, number, bytes(self._held[HEAD.size : end])))
            del self._held[:end]
        return messages
