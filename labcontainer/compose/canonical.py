"""The short forms of a Compose file written out, so that everything after it knows one form.

    ports: ["8080:80"]      ->  {target: 80, published: "8080", protocol: tcp, mode: ingress}
    environment: [A=b, C]   ->  {A: b, C: None}
    ./data:/data:ro         ->  {type: bind, source: /…/data, target: /data, read_only: true, …}

Paths become absolute here, relative to the directory of the project that the file belongs to.
Source: Compose Specification, "Services top-level elements".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labcontainer import errors
from labcontainer.compose import shortforms
from labcontainer.compose.document import Document
from labcontainer.compose.scalars import (
    Form,
    Place,
    Tree,
    command,
    file,
    labels,
    number,
    pairs,
    size,
    span,
    texts,
    truth,
    whole,
)


def document(found: Document, directory: str, *, lenient: bool = False) -> Tree:
    """The data of a checked document in its long form.

    `lenient` leaves what is malformed as it is: a variable may stand there.

    Raises:
        SpecError: a short form is malformed, with file, line and key.
    """
    place = Place(found, (), directory, lenient)
    data = dict(found.data)
    for kind, forms in _KINDS.items():
        if kind in data:
            data[kind] = {
                name: _mapped(one or {}, forms, place.at(kind, name))
                for name, one in (data[kind] or {}).items()
            }
    return data


def _mapped(values: Tree, forms: dict[str, Form], place: Place) -> Tree:
    """Each value by the form of its key; others as they are."""
    return {
        key: _formed(forms[key], value, place.at(key))
        if key in forms and value is not None else value
        for key, value in values.items()
    }  # fmt: skip


def _formed(form: Form, value: Any, place: Place) -> Any:
    try:
        return form(value, place)
    except errors.SpecError:
        if not place.lenient:
            raise
        return value


def _each(form: Form) -> Form:
    return lambda value, place: [form(one, place.at(at)) for at, one in enumerate(value)]


def _within(forms: dict[str, Form]) -> Form:
    return lambda value, place: _mapped(value, forms, place)


def depends_on(value: Any, place: Place) -> Tree:
    """Each service with its condition; a list means that they have started."""
    if isinstance(value, list):
        value = {name: {"condition": "service_started"} for name in value}
    return {
        name: {"required": True, **_mapped(one, {"restart": truth}, place.at(name))}
        for name, one in value.items()
    }


def networks(value: Any, _place: Place) -> Tree:
    """Each network with what is special in it."""
    return dict.fromkeys(value) if isinstance(value, list) else dict(value)


def env_files(value: Any, place: Place) -> list[Tree]:
    """Files with `path` and whether they are `required`."""
    given = [value] if isinstance(value, str) else value
    found = [{"path": one} if isinstance(one, str) else one for one in given]
    return [
        {"required": True, **_mapped(one, {"path": file, "required": truth}, place.at(at))}
        for at, one in enumerate(found)
    ]


def hosts(value: Any, place: Place) -> dict[str, list[str]]:
    """`[name=ip]`, `[name:ip]` or a mapping: each name with its addresses."""
    if isinstance(value, dict):
        return {name: texts(one, place) for name, one in value.items()}
    found: dict[str, list[str]] = {}
    for one in value:
        name, mark, ip = one.partition("=") if "=" in one else one.partition(":")
        if not mark or not ip:
            raise place.refuse(f"{one!r} is no NAME=IP")
        found.setdefault(name, []).append(ip.strip("[]"))
    return found


def healthcheck(value: Tree, place: Place) -> Tree:
    """A test that is one word is the shell's."""
    found = _mapped(value, _HEALTH, place)
    if isinstance(found.get("test"), str):
        found["test"] = ["CMD-SHELL", found["test"]]
    test = found.get("test")
    if test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise place.at("test").refuse(f"begins with {test[0]!r}; it is NONE, CMD or CMD-SHELL")
    return found


def ulimits(value: Tree, place: Place) -> Tree:
    """A number is both limits."""
    found: Tree = {}
    for name, one in value.items():
        both = one if isinstance(one, dict) else {"soft": one, "hard": one}
        found[name] = _mapped(both, {"soft": whole, "hard": whole}, place.at(name))
    return found


def extends(value: Any, place: Place) -> Tree:
    """The service, and its file if it is another one."""
    return {"service": value} if isinstance(value, str) else _mapped(value, {"file": file}, place)


def context(value: str, place: Place) -> str:
    """A build's directory, absolute; an address of the network as it is."""
    return value if shortforms.is_remote(value) else place.absolute(value)


def build(value: Any, place: Place) -> Tree:
    """A word alone is the context."""
    found = {"context": value} if isinstance(value, str) else dict(value)
    found.setdefault("context", ".")
    if "dockerfile" in found and "dockerfile_inline" in found:
        raise place.refuse("can't have both dockerfile and dockerfile_inline")
    return _mapped(found, _BUILD, place)


def external(value: Any, place: Place) -> bool | Tree:
    """A truth; `{name: x}` is the old way to say true and to give the name."""
    return value if isinstance(value, dict) else truth(value, place)


def _listed(cut: Callable[[Any, Place], list[Tree]]) -> Form:
    """A list of short forms, each of which may be several long ones."""
    return lambda value, place: [
        long for at, one in enumerate(value) for long in cut(one, place.at(at))
    ]


_LABELED: dict[str, Form] = {"labels": labels}
_HEALTH: dict[str, Form] = {
    "disable": truth, "interval": span, "timeout": span, "start_period": span,
    "start_interval": span, "retries": whole,
}  # fmt: skip
_BUILD: dict[str, Form] = {
    "args": pairs, "labels": labels, "additional_contexts": pairs, "extra_hosts": hosts,
    "no_cache": truth, "pull": truth, "privileged": truth, "shm_size": size, "ulimits": ulimits,
    "ssh": pairs, "no_cache_filter": texts, "context": context,
    "secrets": _listed(shortforms.grant),
}  # fmt: skip
_HOOK: dict[str, Form] = {"command": command, "environment": pairs, "privileged": truth}
_LIMITS: dict[str, Form] = {"cpus": number, "memory": size, "pids": whole}
_DEPLOY: dict[str, Form] = {
    "replicas": whole, "labels": labels,
    "resources": _within({"limits": _within(_LIMITS), "reservations": _within(_LIMITS)}),
    "restart_policy": _within({"delay": span, "max_attempts": whole, "window": span}),
}  # fmt: skip
_WATCH: dict[str, Form] = {
    "path": file, "ignore": texts, "include": texts, "initial_sync": truth, "exec": _within(_HOOK),
}  # fmt: skip
_BLKIO: dict[str, Form] = {
    "weight": whole,
    **dict.fromkeys(
        ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"),
        _each(_within({"rate": size})),
    ),
    "weight_device": _each(_within({"weight": whole})),
}

SERVICE: dict[str, Form] = {
    **dict.fromkeys(("cap_add", "cap_drop", "dns", "dns_opt", "dns_search", "expose", "group_add",
                     "security_opt", "tmpfs", "device_cgroup_rules", "profiles"), texts),
    **dict.fromkeys(("environment", "sysctls", "annotations"), pairs),
    **dict.fromkeys(("attach", "init", "oom_kill_disable", "privileged", "read_only", "stdin_open",
                     "tty", "use_api_socket"), truth),
    **dict.fromkeys(("command", "entrypoint"), command),
    **dict.fromkeys(("cpu_count", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime",
                     "cpu_shares", "mem_swappiness", "oom_score_adj", "pids_limit", "scale"),
                    whole),
    **dict.fromkeys(("cpus", "cpu_percent"), number),
    **dict.fromkeys(("mem_limit", "mem_reservation", "memswap_limit", "shm_size"), size),
    **dict.fromkeys(("post_start", "pre_stop"), _each(_within(_HOOK))),
    "blkio_config": _within(_BLKIO),
    "build": build,
    "configs": _listed(shortforms.grant),
    "depends_on": depends_on,
    "deploy": _within(_DEPLOY),
    "develop": _within({"watch": _each(_within(_WATCH))}),
    "devices": _listed(shortforms.device),
    "env_file": env_files,
    "extends": extends,
    "extra_hosts": hosts,
    "healthcheck": healthcheck,
    "label_file": lambda value, place: [place.absolute(one) for one in texts(value, place)],
    "labels": labels,
    "networks": networks,
    "ports": _listed(shortforms.port),
    "secrets": _listed(shortforms.grant),
    "stop_grace_period": span,
    "ulimits": ulimits,
    "volumes": _listed(shortforms.mount),
}  # fmt: skip
_SHARED: dict[str, Form] = {
    **_LABELED, "internal": truth, "attachable": truth, "enable_ipv4": truth, "enable_ipv6": truth,
    "file": file, "external": external,
}  # fmt: skip
_KINDS: dict[str, dict[str, Form]] = {
    "services": SERVICE,
    **dict.fromkeys(("networks", "volumes", "secrets", "configs"), _SHARED),
}
