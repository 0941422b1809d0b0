"""The keys by which a terminal lets go of a container, looked for in what is typed."""

from __future__ import annotations

from labcontainer import errors

DETACH_KEYS = "ctrl-p,ctrl-q"


def detach_keys(word: str) -> bytes:
    """The bytes of `ctrl-p,ctrl-q`: letters, and `ctrl-` with one of a-z @ [ \\ ] ^ _ .

    Raises:
        UsageError: it is something else.
    """
    found = b""
    for key in (word or DETACH_KEYS).split(","):
        if len(key) == 1 and key.isascii():
            found += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and "@" <= key[5].upper() <= "_":
            found += bytes([ord(key[5].upper()) & 0x1F])
        else:
            raise errors.UsageError(f"Invalid escape keys ({word}) provided")
    return found


class Keys:
    """Looks for the keys that detach in what is typed; those that only begin so are passed on."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._seen = 0
        self.found = False

    def take(self, data: bytes) -> bytes:
        """What is to be passed on of what was typed."""
        passed = b""
        for byte in data:
            if byte == self._keys[self._seen]:
                self._seen += 1
                if self._seen == len(self._keys):
                    self.found = True
                    return passed
                continue
            passed += self._keys[: self._seen]
            self._seen = 0
            if byte == self._keys[0]:
                self._seen = 1
            else:
                passed += bytes([byte])
        return passed
