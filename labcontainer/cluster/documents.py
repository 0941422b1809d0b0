"""Nodes, services and tasks in the shapes of the API, swarm's part of it.

Source: Docker Engine API, NodeInspect, ServiceInspect, TaskInspect, SwarmInspect, SystemInfo; and
what Docker's own manager answers.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from labcontainer.client.address import Address
from labcontainer.cluster import placement, reconcile, specification
from labcontainer.cluster.manager import Manager
from labcontainer.cluster.state import NodeRecord, Remembered, ServiceRecord, State, TaskRecord
from labcontainer.engine import moments, system
from labcontainer.runtime.version import VERSION

Document = dict[str, Any]

SECOND = specification.SECOND
ABILITIES = ("MemoryLimit", "SwapLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet",
             "PidsLimit", "OomKillDisable", "IPv4Forwarding")  # fmt: skip
MESSAGES = {
    placement.PENDING: "pending task scheduling",
    placement.ASSIGNED: "scheduler assigned task to node",
    placement.PREPARING: "preparing",
    placement.STARTING: "starting",
    placement.RUNNING: "started",
    placement.COMPLETE: "finished",
    placement.FAILED: "started",
    placement.SHUTDOWN: "shutdown",
    placement.REJECTED: "preparing",
}


def moment(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339."""
    return moments.of(round(seconds * SECOND))


def _head(thing: Remembered) -> Document:
    return {
        "ID": thing.id,
        "Version": {"Index": thing.index},
        "CreatedAt": moment(thing.created),
        "UpdatedAt": moment(thing.updated),
    }


# --- nodes ----------------------------------------------------------------------------------------


def node(manager: Manager, record: NodeRecord) -> Document:
    """Node."""
    agent = manager.agents[record.id]
    said = agent.description
    status: Document = {"State": "ready" if manager.is_ready(record.id) else "down",
                        "Addr": _host(agent.where)}  # fmt: skip
    if not agent.connected:
        status["Message"] = agent.problem or "not connected yet"
    return {
        **_head(record),
        "Spec": {"Labels": record.labels, "Role": "worker", "Availability": record.availability},
        "Description": {
            "Hostname": record.name,
            "Platform": {"Architecture": said.get("Architecture", ""),
                         "OS": said.get("OSType", "")},
            "Resources": {"NanoCPUs": placement.nano(said.get("NCPU", 0)),
                          "MemoryBytes": said.get("MemTotal", 0)},
            "Engine": {"EngineVersion": said.get("ServerVersion", ""),
                       "Plugins": _plugins(said.get("Plugins") or {})},
        },
        "Status": status,
    }  # fmt: skip


def _host(where: Address) -> str:
    return where.host or where.path


def _plugins(said: Document) -> list[Document]:
    kinds = ("Log", "Network", "Volume")
    return [{"Type": kind, "Name": name} for kind in kinds for name in said.get(kind) or ()]


# --- services -------------------------------------------------------------------------------------


def service(record: ServiceRecord, *, defaults: bool = False) -> Document:
    """Service; with `defaults` it says too what was not given."""
    spec = with_defaults(record.spec) if defaults else record.spec
    endpoint: Document = {"Spec": record.spec.get("EndpointSpec") or {}}
    if ports := specification.ports(record.spec):
        endpoint["Ports"] = ports
    found = {**_head(record), "Spec": spec, "Endpoint": endpoint}
    if record.previous is not None:
        found["PreviousSpec"] = record.previous
    if record.update.state:
        status = {"State": record.update.state, "StartedAt": moment(record.update.started),
                  "Message": record.update.message}  # fmt: skip
        if record.update.completed:
            status["CompletedAt"] = moment(record.update.completed)
        found["UpdateStatus"] = status
    return found


def with_defaults(spec: Document) -> Document:
    """A specification in which all is said."""
    rules = {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5 * SECOND,
             "MaxFailureRatio": 0, "Order": "stop-first"}  # fmt: skip
    task = spec["TaskTemplate"]
    container = {"StopGracePeriod": 10 * SECOND, "DNSConfig": {}, **task["ContainerSpec"]}
    restart = {"Condition": "any", "Delay": 5 * SECOND, "MaxAttempts": 0}
    return {
        **spec,
        "TaskTemplate": {
            "Resources": {}, "Placement": {}, **task, "ContainerSpec": container,
            "RestartPolicy": {**restart, **(task.get("RestartPolicy") or {})},
        },
        "UpdateConfig": spec.get("UpdateConfig") or rules,
        "RollbackConfig": spec.get("RollbackConfig") or rules,
    }  # fmt: skip


def service_status(state: State, record: ServiceRecord) -> Document:
    """ServiceStatus: how many of its tasks run, of how many."""
    tasks = [one.task for one in state.tasks.values() if one.service == record.id]
    wanted = specification.replicas(record.spec)
    if wanted is None:
        wanted = sum(task.desired == placement.RUNNING for task in tasks)
    running = sum(task.state == placement.RUNNING and task.live for task in tasks)
    return {"RunningTasks": running, "DesiredTasks": wanted, "CompletedTasks": 0}


# --- tasks ----------------------------------------------------------------------------------------


def task(record: TaskRecord) -> Document:
    """Task."""
    one = record.task
    status: Document = {"Timestamp": moment(one.since), "State": one.state,
                        "Message": MESSAGES[one.state]}  # fmt: skip
    if one.error:
        status["Err"] = one.error
    if record.container:
        status["ContainerStatus"] = {
            "ContainerID": record.container, "PID": record.pid, "ExitCode": record.exit_code,
        }  # fmt: skip
    published = record.ports if one.state == placement.RUNNING else ()
    status["PortStatus"] = {"Ports": list(published)} if published else {}
    found = {**_head(record), "Labels": {}, "Spec": record.spec, "ServiceID": record.service}
    found["CreatedAt"] = moment(one.created)
    if isinstance(one.slot, int):
        found["Slot"] = one.slot
    if record.node:
        found["NodeID"] = record.node
    return {**found, "Status": status,
            "DesiredState": placement.SHUTDOWN if one.ended else one.desired}  # fmt: skip


# --- the whole ------------------------------------------------------------------------------------


def cluster(state: State) -> Document:
    """ClusterInfo: the swarm as a whole, with what of it there is here."""
    return {
        "ID": state.id,
        "Version": {"Index": state.index},
        "CreatedAt": moment(state.created),
        "UpdatedAt": moment(state.created),
        "Spec": {
            "Name": "default", "Labels": {},
            "Orchestration": {"TaskHistoryRetentionLimit": reconcile.HISTORY},
            "Raft": {}, "Dispatcher": {}, "CAConfig": {}, "TaskDefaults": {},
            "EncryptionConfig": {"AutoLockManagers": False},
        },
        "TLSInfo": {}, "RootRotationInProgress": False, "DefaultAddrPool": None,
        "SubnetSize": 0, "DataPathPort": 0,
    }  # fmt: skip


def info(manager: Manager) -> Document:
    """SystemInfo: of the manager, which has no containers itself; its nodes' sums."""
    agents = [agent for agent in manager.agents.values() if agent.connected]
    said = [agent.description for agent in agents]
    seen = [one for agent in agents for one in list(agent.seen.values())]
    running = sum(one.runs for one in seen)
    kernel = os.uname()
    nodes = len(manager.state.nodes)
    return {
        "ID": manager.state.id, "Name": socket.gethostname(), "ServerVersion": VERSION,
        "Containers": len(seen), "ContainersRunning": running, "ContainersPaused": 0,
        "ContainersStopped": len(seen) - running, "Images": 0,
        **{name: sum(one.get(name, 0) for one in said) for name in ("NCPU", "MemTotal")},
        **{name: all(one.get(name, False) for one in said) for name in ABILITIES},
        "OSType": "linux", "OperatingSystem": f"labcontainer cluster of {nodes} nodes",
        "Architecture": kernel.machine, "KernelVersion": kernel.release, "Driver": "",
        "SystemTime": moments.now(), "Labels": [], "SecurityOptions": [], "Runtimes": {},
        "Plugins": {"Volume": [], "Network": [], "Authorization": None, "Log": []},
        "RegistryConfig": {"InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": []},
        "IndexServerAddress": "https://index.docker.io/v1/",
        "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "active",
                  "ControlAvailable": True, "Error": "", "RemoteManagers": None,
                  "Nodes": nodes, "Managers": 1, "Cluster": cluster(manager.state)},
        "Warnings": None,
    }  # fmt: skip


def version(newest: str, oldest: str) -> Document:
    """SystemVersion: the daemon's, under another name."""
    return {**system.version(newest, oldest), "Platform": {"Name": "labcontainer cluster"}}
