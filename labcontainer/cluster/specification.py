"""A ServiceSpec of the API: checked, and as the record that decisions are made on.

Its shape is Docker's (Engine API, ServiceCreate). What is not here is refused when a service is
made, by name: it is never left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from labcontainer import errors
from labcontainer.cluster import placement
from labcontainer.cluster.placement import Reserve, Restart, Service, Update
from labcontainer.cluster.state import ServiceRecord

Document = dict[str, Any]

SECOND = 10**9  # the API's times are in nanoseconds
NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?")
NO_NETWORK = "overlay network", "nodes have no network in common here", "use --network host"
NO_INGRESS = "ingress port", "there is no routing mesh here", "use --publish mode=host,…"
PREDEFINED = ("bridge", "host", "none")  # networks that every node has of its own

# Where a specification may say what is not here: the path, and what it is called.
REFUSED = (
    ("TaskTemplate.ContainerSpec.Secrets", ("secrets", "the manager keeps none")),
    ("TaskTemplate.ContainerSpec.Configs", ("configs", "the manager keeps none")),
    ("TaskTemplate.ContainerSpec.Privileges.CredentialSpec", ("credential spec", "Windows only")),
    ("TaskTemplate.ContainerSpec.Privileges.SELinuxContext", ("SELinux context", "not supported")),
    ("TaskTemplate.Resources.Reservations.GenericResources",
     ("generic resources", "nodes offer memory and processors only")),
    ("TaskTemplate.Placement.Preferences",
     ("placement preferences", "tasks are spread over nodes only")),
    ("TaskTemplate.RestartPolicy.Window", ("restart window", "all attempts count")),
    ("TaskTemplate.PluginSpec", ("plugins", "services are of containers")),
    ("TaskTemplate.NetworkAttachmentSpec", ("network attachments", "services are of containers")),
)  # fmt: skip


def dig(document: Mapping[str, Any], path: str) -> Any:
    """What stands at `A.B.C`, None where that is nothing."""
    found: Any = document
    for word in path.split("."):
        found = found.get(word) if isinstance(found, dict) else None
    return found


def check(spec: Document) -> None:
    """Refuse a specification that is wrong, or asks for what is not here.

    Raises:
        UsageError: it is wrong, in Docker's words. UnsupportedError: it asks for too much.
    """
    if dig(spec, "TaskTemplate.ContainerSpec") is None:
        raise errors.UsageError("mismatched Runtime and *Spec fields")
    if not NAME.fullmatch(str(spec.get("Name", ""))):
        raise errors.UsageError("name must be valid as a DNS name component")
    if not dig(spec, "TaskTemplate.ContainerSpec.Image"):
        raise errors.UsageError("ContainerSpec: image reference must be provided")
    for path, words in REFUSED:
        if dig(spec, path):
            raise errors.UnsupportedError(*words)
    for mode in (spec.get("Mode") or {}).keys() - {"Replicated", "Global"}:
        raise errors.UnsupportedError(f"mode {mode}", "services run until they are removed")
    networks = [one.get("Target") for one in dig(spec, "TaskTemplate.Networks") or ()]
    if len(networks) > 1 or not set(networks) <= set(PREDEFINED):
        raise errors.UnsupportedError(*NO_NETWORK)
    for port in ports(spec):
        if port.get("PublishMode", "ingress") != "host":
            raise errors.UnsupportedError(*NO_INGRESS)
    record(ServiceRecord("", spec=spec))  # its numbers are numbers


def ports(spec: Document) -> list[Document]:
    """Its published ports: PortConfigs."""
    return list(dig(spec, "EndpointSpec.Ports") or ())


def template(spec: Document) -> Document:
    """What a task is made from: tasks made from the same are not replaced by an update."""
    return {"task": spec["TaskTemplate"], "ports": ports(spec)}


def record(service: ServiceRecord) -> Service:
    """What decisions are made on; its name there is the id: a name may be used again.

    Raises:
        UsageError: a number or word in it is wrong.
    """
    spec, rolling_back = service.spec, service.update.state.startswith("rollback")
    rules = spec.get("RollbackConfig" if rolling_back else "UpdateConfig") or {}
    task = spec["TaskTemplate"]
    return Service(
        name=service.id,
        replicas=replicas(spec),
        reserve=reserve(spec),
        constraints=_constraints(spec),
        version=service.version,
        ports=tuple(_host_ports(spec)),
        max_per_node=_number(dig(task, "Placement.MaxReplicas")),
        restart=_restart(task.get("RestartPolicy") or {}),
        update=_update(rules),
        update_state=service.update.state,
        updated=service.update.started,
    )


def replicas(spec: Document) -> int | None:
    """How many tasks; None is one on each node."""
    mode = spec.get("Mode") or {}
    if "Global" in mode:
        return None
    return _number(dig(mode, "Replicated.Replicas"), 1)


def reserve(spec: Document) -> Reserve:
    """What a task needs for itself."""
    wanted = dig(spec, "TaskTemplate.Resources.Reservations") or {}
    return Reserve(_number(wanted.get("MemoryBytes")), _number(wanted.get("NanoCPUs")) / 1e9)


def _constraints(spec: Document) -> tuple[str, ...]:
    found = tuple(dig(spec, "TaskTemplate.Placement.Constraints") or ())
    for one in found:
        placement.parse_constraint(one)
    return found


def _host_ports(spec: Document) -> Iterator[str]:
    for port in ports(spec):
        if number := _number(port.get("PublishedPort")):
            yield f"{number}/{port.get('Protocol') or 'tcp'}"


def _restart(policy: Document) -> Restart:
    condition = policy.get("Condition") or "any"
    if condition not in ("any", "on-failure", "none"):
        raise errors.UsageError(f"invalid RestartCondition: {condition!r}")
    delay = _number(policy.get("Delay"), 5 * SECOND) / SECOND
    return Restart(condition, delay, _number(policy.get("MaxAttempts")))


def _update(rules: Document) -> Update:
    order, action = rules.get("Order") or "stop-first", rules.get("FailureAction") or "pause"
    if order not in ("stop-first", "start-first"):
        raise errors.UsageError(f"unrecognized update order {order!r}")
    if action not in ("pause", "continue", "rollback"):
        raise errors.UsageError(f"unrecognized update failure action {action!r}")
    return Update(
        parallelism=_number(rules.get("Parallelism"), 1 if not rules else 0),
        delay=_number(rules.get("Delay")) / SECOND,
        order=order,
        on_failure=action,
        max_failure_ratio=float(rules.get("MaxFailureRatio") or 0),
        monitor=_number(rules.get("Monitor"), 5 * SECOND) / SECOND,
    )


def _number(value: Any, default: int = 0) -> int:
    if value is None:
        return default
    if not isinstance(value, int) or value < 0:
        raise errors.UsageError(f"{value!r} is no number that a service can have")
    return value
