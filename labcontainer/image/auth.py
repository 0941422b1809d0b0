"""Who we are for a registry: docker's config.json, credential helpers, and challenges.

Nothing here ever puts a secret into a message. Source: docker/docker-credential-helpers, README;
RFC 9110, 11.6.1 (WWW-Authenticate); distribution, "Token Authentication Specification".
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from typing import Any

from labcontainer import errors
from labcontainer.image import reference
from labcontainer.kernel import files
from labcontainer.record import Record

HUB_KEY = "https://index.docker.io/v1/"  # what docker login has always called Docker Hub
HELPER_SECONDS = 30
_TOKEN_USER = "<token>"  # a helper's way to say that the secret is an identity token
_PARAMETER = re.compile(r'([A-Za-z][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*,?\s*')


class Credentials(Record):
    """A name and its password, or an identity token of an earlier login.

    With a `registry_token` no token server is asked: the registry is shown this one.
    """

    user: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class Challenge(Record):
    """What a registry asks for: `scheme` in lower case, and its parameters."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """A parameter, "" if it is not there."""
        return dict(self.parameters).get(name, "")


def challenges(header: str) -> list[Challenge]:
    """The challenges of a WWW-Authenticate header."""
    found: list[Challenge] = []
    rest = header.strip()
    while rest:
        scheme = re.match(r"[A-Za-z][\w-]*(?=\s|$)", rest)
        if scheme is None:
            break
        rest = rest[scheme.end() :].lstrip()
        parameters: list[tuple[str, str]] = []
        while match := _PARAMETER.match(rest):
            quoted = match[2]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match[3]
            parameters.append((match[1].lower(), value))
            rest = rest[match.end() :]
        found.append(Challenge(scheme[0].lower(), tuple(parameters)))
        rest = rest.lstrip(", ")
    return found


# --- config.json ----------------------------------------------------------------------------------


def config_path() -> str:
    """Docker's own file, where `docker login` writes."""
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    return f"{folder}/config.json"


def read_config() -> dict[str, Any]:
    """The file's content, empty if there is none.

    Raises:
        SpecError: it is no JSON object.
    """
    path = config_path()
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError:
        raise errors.SpecError(path, "it is no JSON") from None
    if not isinstance(found, dict):
        raise errors.SpecError(path, "it is no JSON object")
    return found


def key_of(registry: str) -> str:
    """What a registry is called in the file."""
    return HUB_KEY if registry == reference.HUB else registry


def find(registry: str) -> Credentials | None:
    """What is known for a registry: by its helper, the store of all, or the file itself.

    Raises:
        LabError: a helper that is named can't be run.
    """
    config = read_config()
    key = key_of(registry)
    helper = (config.get("credHelpers") or {}).get(key) or config.get("credsStore")
    if helper:
        return _from_helper(str(helper), key)
    return _from_file(config.get("auths") or {}, registry)


def _from_file(entries: dict[str, Any], registry: str) -> Credentials | None:
    names = {key_of(registry), registry, f"https://{registry}", f"https://{registry}/v1/",
             f"https://{registry}/v2/", f"http://{registry}"}  # fmt: skip
    for name, entry in entries.items():
        if name in names and isinstance(entry, dict):
            user, password = _decoded(str(entry.get("auth", "")))
            token = str(entry.get("identitytoken", ""))
            if user or token:
                return Credentials(user, password, token)
    return None


def _decoded(text: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(text).decode().partition(":")
    except ValueError:
        raise errors.SpecError(config_path(), "an entry of auths is no base64") from None
    return user, password.rstrip("\0")


def _from_helper(helper: str, key: str) -> Credentials | None:
    answer = _run_helper(helper, "get", key)
    if answer is None:
        return None
    try:
        found = json.loads(answer)
        user, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise errors.LabError(f"docker-credential-{helper}: its answer is not as agreed") from None
    if user == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(user, secret) if user else None


def _run_helper(helper: str, verb: str, text: str) -> str | None:
    """What a helper prints; None if it knows nothing."""
    if "/" in helper:
        raise errors.SpecError(config_path(), f"{helper!r} is no credential helper's name")
    name = f"docker-credential-{helper}"
    try:
        done = subprocess.run([name, verb], input=text, capture_output=True, text=True,
                              timeout=HELPER_SECONDS, check=False)  # fmt: skip
    except FileNotFoundError:
        raise errors.NotFoundError(
            f"the credential helper {name} of {config_path()} does not exist"
        ) from None
    except subprocess.TimeoutExpired:
        raise errors.LabError(f"{name} gave no answer within {HELPER_SECONDS} s") from None
    if done.returncode == 0:
        return done.stdout
    if "not found" in done.stdout.lower():
        return None
    raise errors.LabError(f"{name} {verb}: {done.stdout.strip()[:200] or 'it failed'}")


def remember(registry: str, credentials: Credentials) -> str:
    """Keep what a login proved right; where it was kept.

    Raises:
        LabError, OSError: it could not be kept.
    """
    config = read_config()
    key = key_of(registry)
    helper = (config.get("credHelpers") or {}).get(key) or config.get("credsStore")
    if helper:
        user = _TOKEN_USER if credentials.identity_token else credentials.user
        secret = credentials.identity_token or credentials.password
        _run_helper(str(helper), "store",
                    json.dumps({"ServerURL": key, "Username": user, "Secret": secret}))  # fmt: skip
        return f"docker-credential-{helper}"
    entry: dict[str, str] = {}
    if credentials.user:
        entry["auth"] = credentials.basic.removeprefix("Basic ")
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    config.setdefault("auths", {})[key] = entry
    _write_config(config)
    return config_path()


def forget(registry: str) -> bool:
    """Forget a registry; whether anything was known."""
    config = read_config()
    key = key_of(registry)
    helper = (config.get("credHelpers") or {}).get(key) or config.get("credsStore")
    if helper:
        return _run_helper(str(helper), "erase", key) is not None
    if (config.get("auths") or {}).pop(key, None) is None:
        return False
    _write_config(config)
    return True


def _write_config(config: dict[str, Any]) -> None:
    path = config_path()
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    data = json.dumps(config, indent="\t").encode()
    files.write_atomically(path, data, 0o600)
