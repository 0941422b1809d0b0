"""Requests to a registry: tried again, shown who asks, followed, and bounded.

A registry is a stranger: what it sends is bounded in size and time, redirects lead to no plain HTTP
and take no password along. What it wants to know (RFC 9110, 11) is answered once for each scope.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3

from labcontainer import errors
from labcontainer.image import auth
from labcontainer.image.registries import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Body = bytes | Iterator[bytes] | None

CHUNK = 1 << 20
TIMEOUT = urllib3.Timeout(connect=10, read=30)
TRIES = 4
PAUSES = (0.2, 0.6, 1.5)  # seconds before the second, third, fourth try
MOST_REDIRECTS = 5
ERROR_BYTES = 64 << 10
SLOWEST, LOOKED_AT = 1024, 30  # bytes a second, over so many seconds: slower is given up
# No name, no route, a bad certificate: it will not be there in a second either.
_HOPELESS = (urllib3.exceptions.NameResolutionError, urllib3.exceptions.NewConnectionError,
             urllib3.exceptions.SSLError)  # fmt: skip
_OWN_OBJECT = re.compile(r"^(?:<.*>|HTTPS?Connection\w*\([^)]*\)): ")  # urllib3 puts it first
_AGAIN = (408, 429, 500, 502, 503, 504)


class RegistryError(errors.LabError):
    """The registry refused, or did not answer as a registry does. `status` is its HTTP status."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class DeniedError(RegistryError):
    """It wants to know who asks, or does not let them."""


class MissingError(RegistryError, errors.NotFoundError):
    """It has no such thing."""


class Session:
    """One registry server and who we are for it; tokens are kept by scope."""

    def __init__(self, place: Place, credentials: auth.Credentials | bool | None = True) -> None:
        """`credentials`: True looks them up when they are asked for, None has none."""
        self.place = place
        self._credentials = credentials
        self._tokens: dict[str, str] = {}
        self._basic = ""
        self.identity_token = ""  # what a login got to ask for tokens with, without a password
        options: dict[str, Any] = {"timeout": TIMEOUT, "retries": False, "maxsize": 8}
        if place.ca:
            options["ca_certs"] = place.ca
        if place.cert:
            options |= {"cert_file": place.cert, "key_file": place.key}
        self._pool = urllib3.PoolManager(**options)

    @property
    def credentials(self) -> auth.Credentials | None:
        """Who we are for this registry."""
        if self._credentials is True:
            self._credentials = auth.find(self.place.registry)
        return self._credentials or None

    # --- one request ------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        scope: str = "",
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Body] | None = None,
        length: int | None = None,
        wanted: tuple[int, ...] = (200,),
    ) -> urllib3.BaseHTTPResponse:
        """Ask, show who we are when asked, follow redirects, and try again what may pass.

        `body` makes the body anew for each try. The answer's body is still to be read.

        Raises:
            RegistryError: refused, or no answer; names the address and what was said.
        """
        url = urljoin(self.place.url + "/", path.lstrip("/")) if path.startswith("/") else path
        for turn in range(TRIES):
            try:
                answer = self.send(method, url, scope, dict(headers or {}), body, length)
            except urllib3.exceptions.HTTPError as error:
                if turn == TRIES - 1 or isinstance(error, _HOPELESS):
                    raise self.unreachable(error) from None
            else:
                if answer.status not in _AGAIN or answer.status in wanted or turn == TRIES - 1:
                    return self.checked(answer, method, url, wanted)
                answer.drain_conn()
                answer.release_conn()
            time.sleep(PAUSES[turn])
        raise AssertionError

    def send(
        self,
        method: str,
        url: str,
        scope: str,
        headers: dict[str, str],
        body: Callable[[], Body] | None,
        length: int | None,
    ) -> urllib3.BaseHTTPResponse:
        """One try, which shows who we are when the registry asks."""
        if length is not None:
            headers["Content-Length"] = str(length)
        for _ in range(2):
            answer, end = self._follow(method, url, self._with_authorization(headers, scope), body)
            # Another host that asks who we are is told nothing: the password is this registry's.
            if answer.status != 401 or not self._is_own(end) or not self._answer(answer, scope):
                break
            answer.drain_conn()
            answer.release_conn()
        return answer

    def _follow(
        self, method: str, url: str, headers: dict[str, str], body: Callable[[], Body] | None
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        """The answer at the end of all redirects, and the address that gave it."""
        for _ in range(MOST_REDIRECTS):
            if self.place.url.startswith("https:") and not url.startswith("https:"):
                raise RegistryError(f"{self.place.registry} leads from HTTPS to {url[:100]!r}")
            if not self._is_own(url):
                headers = {name: value for name, value in headers.items()
                           if name != "Authorization"}  # fmt: skip
            answer = self._pool.request(
                method, url, headers=headers, body=body() if body else None, redirect=False,
                preload_content=False, decode_content=False,
            )  # fmt: skip
            target = answer.headers.get("Location", "")
            if answer.status not in (301, 302, 303, 307, 308) or not target:
                return answer, url
            answer.drain_conn()
            answer.release_conn()
            url = urljoin(url, target)
        raise RegistryError(f"{self.place.registry} leads from one address to the next without end")

    def _is_own(self, url: str) -> bool:
        """Whether an address is the registry's own, and not where it has sent us."""
        there, here = urlsplit(url), urlsplit(self.place.url)
        return (there.scheme, there.netloc) == (here.scheme, here.netloc)

    def unreachable(self, error: Exception) -> RegistryError:
        """The error that says why the registry gave no answer."""
        return RegistryError(f"cannot reach {self.place.url}: {reason_of(error)}")

    def checked(
        self, answer: urllib3.BaseHTTPResponse, method: str, url: str, wanted: tuple[int, ...]
    ) -> urllib3.BaseHTTPResponse:
        """The answer, if it has a status that is wanted; else a RegistryError of what it says."""
        if answer.status in wanted:
            return answer
        said = _message(answer)
        answer.release_conn()
        where = f"{self.place.registry}: {method} {urlsplit(url).path}"
        if answer.status in (401, 403):
            hint = f"; log in by `labcontainer login {self.place.registry}`"
            raise DeniedError(f"{where}: {said}{hint}", answer.status)
        if answer.status == 404:
            raise MissingError(f"{where}: {said}", 404)
        raise RegistryError(f"{where}: {said}", answer.status)

    # --- who we are -------------------------------------------------------------------------------

    def _with_authorization(self, headers: dict[str, str], scope: str) -> dict[str, str]:
        if scope in self._tokens:
            return {**headers, "Authorization": f"Bearer {self._tokens[scope]}"}
        return {**headers, "Authorization": self._basic} if self._basic else headers

    def _answer(self, answer: urllib3.BaseHTTPResponse, scope: str) -> bool:
        """Get what a challenge asks for; whether it is worth asking again."""
        for challenge in auth.challenges(answer.headers.get("WWW-Authenticate", "")):
            if challenge.scheme == "bearer" and scope not in self._tokens:
                self._tokens[scope] = self._token(challenge, scope)
                return True
            if challenge.scheme == "basic" and self.credentials and not self._basic:
                self._basic = self.credentials.basic
                return True
        return False

    def _token(self, challenge: auth.Challenge, scope: str) -> str:
        realm = challenge.get("realm")
        if urlsplit(realm).scheme not in ("http", "https") or (
            self.place.url.startswith("https:") and not realm.startswith("https:")
        ):
            raise RegistryError(f"{self.place.registry}: tokens from {realm[:100]!r} are refused")
        words = {"service": challenge.get("service"), "scope": scope or challenge.get("scope")}
        words = {name: value for name, value in words.items() if value}
        who = self.credentials
        if who is not None and who.registry_token:
            return who.registry_token
        if not scope and who is not None and who.user:
            words["offline_token"] = "true"  # a login: it may be remembered without its password
        try:
            answer = self._ask_for_token(realm, words, who)
            data = answer.read(ERROR_BYTES)
        except urllib3.exceptions.HTTPError as error:
            raise self.unreachable(error) from None
        if answer.status != 200:
            raise DeniedError(f"{self.place.registry}: no token: {_said(data, answer.status)}",
                              answer.status)  # fmt: skip
        try:
            found = json.loads(data)
            self.identity_token = str(found.get("refresh_token") or "")
            return str(found.get("token") or found["access_token"])
        except (ValueError, KeyError, AttributeError):
            raise RegistryError(f"{self.place.registry}: the token server sent no token") from None

    def _ask_for_token(
        self, realm: str, words: dict[str, str], who: auth.Credentials | None
    ) -> urllib3.BaseHTTPResponse:
        options: dict[str, Any] = {"redirect": False, "preload_content": False}
        if who is not None and who.identity_token:
            form = {**words, "grant_type": "refresh_token", "refresh_token": who.identity_token,
                    "client_id": "labcontainer"}  # fmt: skip
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._pool.request("POST", realm, body=urlencode(form), headers=kind, **options)
        headers = {"Authorization": who.basic} if who is not None else {}
        mark = "&" if "?" in realm else "?"
        return self._pool.request("GET", f"{realm}{mark}{urlencode(words)}", headers=headers,
                                  **options)  # fmt: skip

    def ping(self) -> None:
        """Whether it is a registry and lets us in: `login`.

        Raises:
            RegistryError: it is not, or does not.
        """
        answer = self.request("GET", "/v2/", wanted=(200,))
        answer.drain_conn()
        answer.release_conn()

    def bounded(self, answer: urllib3.BaseHTTPResponse, most: int, what: str) -> bytes:
        """The whole body, if it is not larger than `most`."""
        parts: list[bytes] = []
        size = 0
        for data in self.body_of(answer):
            size += len(data)
            if size > most:
                answer.close()
                raise RegistryError(f"{self.place.registry}: {what} is larger than {most} bytes")
            parts.append(data)
        return b"".join(parts)

    def body_of(self, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """The bytes of an answer; one that comes too slowly is given up."""
        began, count = time.monotonic(), 0
        try:
            while data := answer.read1(CHUNK, decode_content=False):
                yield data
                count += len(data)
                if (passed := time.monotonic() - began) > LOOKED_AT:
                    if count < SLOWEST * passed:
                        answer.close()
                        raise RegistryError(
                            f"{self.place.registry} sends less than {SLOWEST} bytes a second"
                        )
                    began, count = time.monotonic(), 0
        except urllib3.exceptions.HTTPError as error:
            raise self.unreachable(error) from None
        answer.release_conn()


def reason_of(error: Exception) -> str:
    """What urllib3 says, in one line and without its own objects."""
    reason = getattr(error, "reason", None) or error
    return _OWN_OBJECT.sub("", str(reason))[:200]


def _message(answer: urllib3.BaseHTTPResponse) -> str:
    try:
        data = answer.read(ERROR_BYTES)
    except urllib3.exceptions.HTTPError:
        data = b""
    return _said(data, answer.status)


def _said(data: bytes, status: int) -> str:
    """A registry's errors in one line."""
    try:
        found = json.loads(data)
        texts = [f"{one.get('code', '')}: {one.get('message', '')}".strip(": ")
                 for one in found["errors"]]  # fmt: skip
        text = "; ".join(texts)
    except (ValueError, KeyError, TypeError, AttributeError):
        text = ""
    words = "".join(one if one.isprintable() else " " for one in text).split()  # no escapes
    return " ".join(words)[:300] or f"HTTP status {status}"
