"""The short forms of ports, mounts, devices and grants, each cut into its parts.

| form | parts |
|---|---|
| port | `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, each port or range |
| mount | `[SOURCE:]TARGET[:OPTIONS]`; a SOURCE with a slash or dot is a path, else a volume |
| device | `SOURCE[:TARGET[:rwm]]` |
| grant | the name of a secret or config |

Source: Compose Specification, "ports", "volumes", "devices", "secrets".
"""

from __future__ import annotations

from typing import Any

from labcontainer.compose import scalars
from labcontainer.compose.scalars import Form, Place, Tree, text

_PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_INNER: dict[str, dict[str, Form]] = {
    "bind": {"create_host_path": scalars.truth},
    "volume": {"nocopy": scalars.truth, "labels": scalars.labels},
    "tmpfs": {"size": scalars.size, "mode": scalars.octal},
}
_REMOTE = ("http://", "https://", "git://", "git@", "ssh://", "github.com/")


def is_remote(value: str) -> bool:
    """Whether a build context is an address of the network."""
    return value.startswith(_REMOTE)


# --- ports ----------------------------------------------------------------------------------------


def port(value: Any, place: Place) -> list[Tree]:
    """One entry of `ports`, a long form for each container port."""
    if isinstance(value, dict):
        return [_long_port(value, place)]
    word = text(value)
    outer, _, protocol = word.partition("/")
    address, published, target = _port_parts(outer)
    inner = _range(target, word, place)
    outside = _range(published, word, place) if published else []
    shared: Tree = {"mode": "ingress", "protocol": protocol.lower() or "tcp"}
    shared |= {"host_ip": address} if address else {}
    if len(outside) > 1 and len(inner) == 1:
        return [{**shared, "target": inner[0], "published": published}]  # the first that is free
    if outside and len(outside) != len(inner):
        raise place.refuse(f"{word!r}: the two ranges are not of one length")
    if not outside:
        return [{**shared, "target": one} for one in inner]
    both = zip(inner, outside, strict=True)
    return [{**shared, "target": one, "published": str(two)} for one, two in both]


def _port_parts(word: str) -> tuple[str, str, str]:
    """(address, published, target)"""
    front, _, target = word.rpartition(":")
    if front.startswith("["):  # [::1]:8080
        address, _, published = front[1:].partition("]")
        return address, published.lstrip(":"), target
    address, _, published = front.rpartition(":")
    return address, published, target


def _range(word: str, whole: str, place: Place) -> list[int]:
    first, dash, last = word.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise place.refuse(f"invalid containerPort: {whole!r} is no [[IP:]HOST:]CONTAINER[/PROTO]")
    ports = range(int(first), int(last or first) + 1)
    if not ports or ports[-1] > 65535:
        raise place.refuse(f"{whole!r}: ports are 0 to 65535, the smaller one first")
    return list(ports)


def _long_port(value: Tree, place: Place) -> Tree:
    found = {"mode": "ingress", "protocol": "tcp", **value}
    found["target"] = _range(text(value["target"]), text(value["target"]), place)[0]
    if "published" in value:
        found["published"] = text(value["published"])
        if found["published"]:
            _range(found["published"], found["published"], place)
        else:
            del found["published"]
    return found


# --- mounts ---------------------------------------------------------------------------------------


def mount(value: Any, place: Place) -> list[Tree]:
    """One entry of `volumes`."""
    found = dict(value) if isinstance(value, dict) else _short_mount(value, place)
    kind = found["type"]
    if not found.get("target"):
        raise place.refuse("missing property 'target'")
    if kind == "bind":
        if not found.get("source"):
            raise place.refuse("a bind needs a source")
        found["source"] = place.absolute(found["source"])
        found["bind"] = {"create_host_path": True, **(found.get("bind") or {})}
    _words(found, place)
    return [found]


def _words(found: Tree, place: Place) -> None:
    """Words of the long form that a variable may have brought in, as what they mean."""
    if "read_only" in found:
        found["read_only"] = scalars.truth(found["read_only"], place.at("read_only"))
    for part, forms in _INNER.items():
        for key in forms.keys() & (found.get(part) or {}).keys():
            value = forms[key](found[part][key], place.at(part, key))
            found[part] = {**found[part], key: value}


def _short_mount(word: str, place: Place) -> Tree:
    parts = word.split(":")
    if len(parts) > 3 or not all(parts):
        raise place.refuse(f"invalid spec {word!r}: it is [SOURCE:]TARGET[:OPTIONS]")
    if len(parts) == 1:
        return {"type": "volume", "target": parts[0]}
    source, target = parts[:2]
    is_path = source[0] in "./~"
    found: Tree = {"type": "bind" if is_path else "volume", "source": source, "target": target}
    for option in parts[2].split(",") if len(parts) == 3 else ():
        _option(found, option, word, place)
    return found


def _option(found: Tree, option: str, word: str, place: Place) -> None:
    if option in ("ro", "rw"):
        found["read_only"] = option == "ro"
    elif option in ("z", "Z"):
        found.setdefault("bind", {})["selinux"] = option
    elif option in _PROPAGATIONS:
        found.setdefault("bind", {})["propagation"] = option
    elif option == "nocopy":
        found.setdefault("volume", {})["nocopy"] = True
    elif option not in ("cached", "delegated", "consistent"):
        raise place.refuse(f"invalid spec {word!r}: unknown option {option!r}")


# --- devices and grants ---------------------------------------------------------------------------


def device(value: Any, place: Place) -> list[Tree]:
    """One entry of `devices`."""
    if isinstance(value, str):
        parts = value.split(":")
        if len(parts) > 3 or not all(parts):
            raise place.refuse(f"{value!r} is no SOURCE[:TARGET[:rwm]]")
        value = dict(zip(("source", "target", "permissions"), parts, strict=False))
    return [{"target": value["source"], "permissions": "rwm", **value}]


def grant(value: Any, place: Place) -> list[Tree]:
    """One entry of `secrets` or `configs`."""
    found = {"source": value} if isinstance(value, str) else dict(value)
    if not found.get("source"):
        raise place.refuse("missing property 'source'")
    if "mode" in found:
        found["mode"] = scalars.octal(found["mode"], place.at("mode"))
    return [found]
