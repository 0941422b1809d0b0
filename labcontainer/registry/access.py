"""Who may use a registry: an htpasswd file of bcrypt lines, as htpasswd(1) -B writes it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading

from labcontainer import errors


class Passwords:
    """The users of a file. A right password is remembered as a keyed hash, since bcrypt is slow by
    intent and a pull asks many times."""

    def __init__(self, path: str) -> None:
        """Read the file.

        Raises:
            SpecError: a line is no bcrypt line.
        """
        self._hashes: dict[str, bytes] = {}
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if not text or text.startswith("#"):
                    continue
                user, colon, hashed = text.partition(":")
                if not colon or not hashed.startswith(("$2a$", "$2b$", "$2y$")):
                    raise errors.SpecError(f"{path} line {number}", "no bcrypt line: htpasswd -B")
                self._hashes[user] = hashed.encode()
        self._key = secrets.token_bytes(32)
        self._known: set[tuple[str, bytes]] = set()
        self._lock = threading.Lock()

    def allows(self, header: str) -> bool:
        """Whether an Authorization header (RFC 7617) names a user with the right password."""
        scheme, _, word = header.partition(" ")
        try:
            user, _, password = base64.b64decode(word, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        if scheme.lower() != "basic" or user not in self._hashes:
            return False
        mark = hmac.new(self._key, f"{user}\0{password}".encode(), hashlib.sha256).digest()
        with self._lock:
            if (user, mark) in self._known:
                return True
        import bcrypt

        data = password.encode()[:72]  # what bcrypt looks at
        if not bcrypt.checkpw(data, self._hashes[user].replace(b"$2y$", b"$2b$", 1)):
            return False
        with self._lock:
            self._known.add((user, mark))
        return True
