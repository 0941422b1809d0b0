"""The messages on the one line between host and guest: kind, number of the program, bytes.

        host                                   guest (agent.py, the first process)
         |  <------------------------  READY    |
         |  EXEC n {argv, env, cwd, uid} ---->  |  fork, exec
         |  STDIN n bytes … STDIN n (empty) ->  |  answered by an empty STDIN n, before the next
         |  <------  STDOUT n / STDERR n bytes  |
         |  SIGNAL n number  ---------------->  |
         |  <----------------  EXIT n status    |  after the last byte of its output

There is no message for the end: the host ends the kernel, or closes the line, and all is gone.
"""

from __future__ import annotations

import struct

READY, EXEC, STDIN, STDOUT, STDERR, SIGNAL, EXIT = b"REiosSX"
# The guest's terminal line holds 4096 bytes; a line that was full once may stay silent for ever.
PIECE = 2048
HEAD = struct.Struct(">BIxxxI")  # kind, number, length


def pack(kind: int, number: int, data: bytes = b"") -> bytes:
    """One message as it goes over the line."""
    return HEAD.pack(kind, number, len(data)) + data


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
