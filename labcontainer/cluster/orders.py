"""What a user orders: services made, changed and removed, nodes changed.

Each is checked, saved, and told to the manager's loop, which does the rest. A change names the
index of what it changes, so that nobody overwrites what he has not seen.
"""

from __future__ import annotations

import time
from typing import Any

from labcontainer import errors
from labcontainer.cluster import containers, placement, reconcile, specification
from labcontainer.cluster.manager import Manager
from labcontainer.cluster.state import NodeRecord, Remembered, ServiceRecord, UpdateStatus, new_id
from labcontainer.engine import naming

Document = dict[str, Any]


class OutOfSequenceError(errors.LabError):
    """It was changed since it was read."""


def _same_index(thing: Remembered, index: int) -> None:
    if thing.index != index:
        raise OutOfSequenceError("update out of sequence")


def _check(spec: Document) -> None:
    specification.check(spec)
    names = containers.Names("", "", "", "", "", "")
    containers.create_body(spec["TaskTemplate"], specification.ports(spec), names)


def create_service(manager: Manager, spec: Document, auth: str = "") -> ServiceRecord:
    """Want a service; one without a name gets one.

    Raises:
        UsageError, UnsupportedError: it can't be. ExistsError: its name is taken.
    """
    spec = {"Labels": {}, "Mode": {"Replicated": {"Replicas": 1}}, **spec}
    with manager.lock:
        names = {one.name for one in manager.state.services.values()}
        spec["Name"] = spec.get("Name") or naming.choose(names.__contains__)
        _check(spec)
        if spec["Name"] in names:
            raise errors.ExistsError(
                f"name conflicts with an existing object: service {spec['Name']} already exists"
            )
        record = ServiceRecord(new_id(), spec=spec, auth=auth)
        manager.state.save(record)
    manager.tell("service", "create", record.id, name=record.name)
    manager.wake()
    return record


def update_service(
    manager: Manager, word: str, index: int, spec: Document, auth: str = ""
) -> ServiceRecord:
    """Want it otherwise. Its tasks are replaced when what they are made from has changed.

    Raises:
        NotFoundError: there is none. UsageError, UnsupportedError: it can't be.
        OutOfSequenceError: somebody else was quicker.
    """
    with manager.lock:
        record = manager.state.service(word)
        _same_index(record, index)
        _check(spec)
        if spec["Name"] != record.name:
            raise errors.UsageError("renaming services is not supported")
        if ("Global" in spec.get("Mode", {})) != ("Global" in record.spec["Mode"]):
            raise errors.UsageError("service mode change is not allowed")
        changes = _replicas(record.spec, spec)
        if specification.template(spec) != specification.template(record.spec):
            record.previous_version, record.newest_version = (
                record.version, record.newest_version + 1)  # fmt: skip
            record.version = record.newest_version
            record.update = UpdateStatus(
                reconcile.UPDATING, time.time(), message="update in progress"
            )
            changes = {**changes, "updatestate.new": reconcile.UPDATING}
        else:
            record.previous_version = record.version
        record.previous, record.spec = record.spec, spec
        record.auth = auth or record.auth
        manager.state.save(record)
    manager.tell("service", "update", record.id, name=record.name, **changes)
    manager.wake()
    return record


def _replicas(old: Document, new: Document) -> dict[str, str]:
    before, after = specification.replicas(old), specification.replicas(new)
    if before == after:
        return {}
    return {"replicas.old": str(before), "replicas.new": str(after)}


def roll_back_service(manager: Manager, word: str, index: int) -> ServiceRecord:
    """Want it as it was before its last update.

    Raises:
        NotFoundError: there is none. UsageError: it was never otherwise.
        OutOfSequenceError: somebody else was quicker.
    """
    with manager.lock:
        record = manager.state.service(word)
        _same_index(record, index)
        manager.roll_back(record, "manually requested rollback")
        manager.state.save(record)
    manager.tell("service", "update", record.id, name=record.name,
                 **{"updatestate.new": record.update.state})  # fmt: skip
    manager.wake()
    return record


def remove_service(manager: Manager, word: str) -> None:
    """Want it no longer. Raises NotFoundError."""
    with manager.lock:
        record = manager.state.service(word)
        manager.state.remove(record)
    manager.tell("service", "remove", record.id, name=record.name)
    manager.wake()


def update_node(manager: Manager, word: str, index: int, spec: Document) -> NodeRecord:
    """Change a node's availability and labels.

    Raises:
        NotFoundError: there is none. UsageError: the availability is none.
        UnsupportedError: it is to be a manager. OutOfSequenceError: somebody else was quicker.
    """
    availability = spec.get("Availability", "")
    with manager.lock:
        record = manager.state.node(word)
        _same_index(record, index)
        if availability not in (placement.ACTIVE, placement.PAUSE, placement.DRAIN):
            raise errors.UsageError(f'invalid Availability: "{availability}"')
        if spec.get("Role", "worker") != "worker":
            raise errors.UnsupportedError("promote", "this cluster has one manager, a process")
        changes = {}
        if availability != record.availability:
            changes = {"availability.old": record.availability, "availability.new": availability}
        record.availability, record.labels = availability, dict(spec.get("Labels") or {})
        manager.state.save(record)
    manager.tell("node", "update", record.id, name=record.name, **changes)
    manager.wake()
    return record
