"""`RUN --mount=…`: what a command sees while it runs, and the image never has.

type=bind,from=STAGE,source=/src,target=/dst   files of the context, a stage or an image
type=cache,target=/root/.cache                 a directory that stays from build to build
type=tmpfs,target=/tmp                         memory
type=secret,id=token                           a file given with --secret, or a variable (env=)
"""

from __future__ import annotations

import re

from labcontainer.build.errors import DockerfileError
from labcontainer.record import Record

KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")


class Mount(Record):
    """One mount. `mode` is octal, `size` in bytes, 0 and "" where not given."""

    kind: str = "bind"
    target: str = ""
    source: str = ""
    origin: str = ""
    readonly: bool = True
    id: str = ""
    sharing: str = "shared"
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size: int = 0
    required: bool = False
    env: str = ""


_KEYS = {
    "type": "kind", "target": "target", "dst": "target", "destination": "target",
    "source": "source", "src": "source", "from": "origin", "readonly": "readonly",
    "ro": "readonly", "rw": "rw", "readwrite": "rw", "id": "id", "sharing": "sharing",
    "mode": "mode", "uid": "uid", "gid": "gid", "size": "size", "required": "required",
    "env": "env",
}  # fmt: skip
_SWITCHES = ("readonly", "rw", "required")


def parse_mount(text: str) -> Mount:
    """The mount that `type=…,target=…` describes.

    Raises:
        DockerfileError: it is none.
    """
    found: dict[str, str] = {}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        name = _KEYS.get(key.lower())
        if name is None:
            raise DockerfileError(f"unexpected key {key!r} in {field!r} of --mount={text}")
        if not equals and name not in _SWITCHES:
            raise DockerfileError(f"invalid field {field!r} must be a key=value pair")
        if name in _SWITCHES and value.lower() not in ("", "true", "false", "1", "0"):
            raise DockerfileError(f"invalid value for {key}: {value}")
        found[name] = value
    return _checked(found)


def _checked(found: dict[str, str]) -> Mount:
    kind = found.get("kind", "bind")
    if kind not in KINDS:
        raise DockerfileError(f"unsupported mount type {kind!r}: {', '.join(KINDS)}")
    if kind == "ssh":
        raise DockerfileError(
            "--mount=type=ssh is not supported: give a key by --mount=type=secret"
        )
    sharing = found.get("sharing", "shared")
    if sharing not in SHARING:
        raise DockerfileError(f"unsupported sharing value {sharing!r}: {', '.join(SHARING)}")
    target = found.get("target", "")
    if kind == "secret":
        name = found.get("id") or target.rpartition("/")[2]
        if not name:
            raise DockerfileError("--mount=type=secret requires an id or a target")
        found["id"] = name
        target = target or ("" if "env" in found else f"/run/secrets/{name}")
    elif not target:
        raise DockerfileError(f"invalid mount config for type {kind!r}: field target must not be "
                              "empty")  # fmt: skip
    readonly = kind in ("bind", "secret")
    if _on(found, "rw"):
        readonly = False
    if "readonly" in found:
        readonly = _on(found, "readonly")
    return Mount(
        kind, target, found.get("source", ""), found.get("origin", ""), readonly,
        id=found.get("id", ""), sharing=sharing, mode=_number(found, "mode", 8),
        uid=_number(found, "uid") or 0, gid=_number(found, "gid") or 0,
        size=_size(found.get("size", "0")), required=_on(found, "required"),
        env=found.get("env", ""),
    )  # fmt: skip


def _on(found: dict[str, str], name: str) -> bool:
    return name in found and found[name].lower() in ("", "true", "1")


def _number(found: dict[str, str], name: str, base: int = 10) -> int | None:
    text = found.get(name)
    if text is None:
        return None
    digits = r"[0-7]{1,5}" if base == 8 else r"[0-9]{1,9}"
    if not re.fullmatch(digits, text):
        raise DockerfileError(f"invalid value {text!r} for {name} of --mount")
    return int(text, base)


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,15})([kmgt]?)b?", text.lower())
    if match is None:
        raise DockerfileError(f"invalid value {text!r} for size of --mount")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[match[2]]
