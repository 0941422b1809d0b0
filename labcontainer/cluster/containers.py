"""A task as a container: the body that creates it, and what a container says of its task.

Labels tie the two: com.docker.swarm.task.id and its kin, Docker's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labcontainer import errors
from labcontainer.cluster import placement
from labcontainer.cluster.specification import PREDEFINED, SECOND, dig

Document = dict[str, Any]

NODE_ID = "com.docker.swarm.node.id"
TASK_ID = "com.docker.swarm.task.id"
GRACE = 10  # seconds between the stop signal and the kill, when the service says nothing


@dataclass(frozen=True, slots=True)
class Names:
    """All the names that a task's container bears, and may use in `{{.Task.Slot}}`."""

    service: str
    service_id: str
    node: str
    node_id: str
    task_id: str
    slot: str

    @property
    def task(self) -> str:
        """The container's name: `web.1.kx3…`."""
        return f"{self.service}.{self.slot}.{self.task_id}"

    def labels(self) -> dict[str, str]:
        """Those by which the container is found again."""
        return {
            NODE_ID: self.node_id,
            "com.docker.swarm.service.id": self.service_id,
            "com.docker.swarm.service.name": self.service,
            "com.docker.swarm.task": "",
            TASK_ID: self.task_id,
            "com.docker.swarm.task.name": self.task,
        }

    def filled(self, text: str) -> str:
        """A text with its placeholders filled in: Docker's, those without a function."""
        for word, value in (
            ("Service.ID", self.service_id), ("Service.Name", self.service),
            ("Node.ID", self.node_id), ("Node.Hostname", self.node),
            ("Task.ID", self.task_id), ("Task.Name", self.task), ("Task.Slot", self.slot),
        ):  # fmt: skip
            text = text.replace(f"{{{{.{word}}}}}", value)
        return text


def create_body(template: Document, ports: list[Document], names: Names) -> Document:
    """ContainerCreate for a task of a TaskSpec.

    Raises:
        UnsupportedError: the specification has a field that is not known here.
    """
    spec: Document = template["ContainerSpec"]
    config: Document = {"Labels": {**(spec.get("Labels") or {}), **names.labels()}}
    host: Document = {}
    for name, value in spec.items():
        if value and name not in IGNORED:
            if name not in FIELDS:
                raise errors.UnsupportedError(f"ContainerSpec.{name}", "services here have none")
            FIELDS[name](config, host, value)
    if "Hostname" in config:
        config["Hostname"] = names.filled(config["Hostname"])
    config["Env"] = [names.filled(one) for one in spec.get("Env") or ()]
    limits = dig(template, "Resources.Limits") or {}
    host |= {"Memory": limits.get("MemoryBytes") or 0, "NanoCpus": limits.get("NanoCPUs") or 0,
             "PidsLimit": limits.get("Pids") or None}  # fmt: skip
    if driver := template.get("LogDriver"):
        host["LogConfig"] = {"Type": driver.get("Name"), "Config": driver.get("Options") or {}}
    for network in template.get("Networks") or ():
        host["NetworkMode"] = network["Target"]
        assert network["Target"] in PREDEFINED
    _publish(config, host, ports)
    return {**config, "HostConfig": host}


def _publish(config: Document, host: Document, ports: list[Document]) -> None:
    for port in ports:
        target = f"{port['TargetPort']}/{port.get('Protocol') or 'tcp'}"
        config.setdefault("ExposedPorts", {})[target] = {}
        number = port.get("PublishedPort")
        bound = {"HostIp": "", "HostPort": str(number) if number else ""}
        host.setdefault("PortBindings", {}).setdefault(target, []).append(bound)


Setter = Callable[[Document, Document, Any], None]


def _config(name: str) -> Setter:
    def put(config: Document, _host: Document, value: Any) -> None:
        config[name] = value

    return put


def _host(name: str) -> Setter:
    def put(_config: Document, host: Document, value: Any) -> None:
        host[name] = value

    return put


def _stop_timeout(config: Document, _host: Document, value: int) -> None:
    config["StopTimeout"] = round(value / SECOND)


def _hosts(_config: Document, host: Document, lines: list[str]) -> None:
    """Lines of hosts(5), `IP NAME ALIAS`, as Docker's `NAME:IP`."""
    split = [line.split() for line in lines]
    host["ExtraHosts"] = [f"{name}:{words[0]}" for words in split for name in words[1:]]


def _dns(_config: Document, host: Document, value: Document) -> None:
    for theirs, ours in (("Nameservers", "Dns"), ("Search", "DnsSearch"),
                         ("Options", "DnsOptions")):  # fmt: skip
        if value.get(theirs):
            host[ours] = value[theirs]


def _ulimits(_config: Document, host: Document, value: list[Document]) -> None:
    host["Ulimits"] = value


def _privileges(_config: Document, host: Document, value: Document) -> None:
    if value.get("NoNewPrivileges"):
        host["SecurityOpt"] = ["no-new-privileges"]


IGNORED = {"Labels", "Env", "Isolation", "StopGracePeriod"}
FIELDS: dict[str, Setter] = {
    "Image": _config("Image"),
    "Command": _config("Entrypoint"),
    "Args": _config("Cmd"),
    "Hostname": _config("Hostname"),
    "Dir": _config("WorkingDir"),
    "User": _config("User"),
    "TTY": _config("Tty"),
    "OpenStdin": _config("OpenStdin"),
    "StopSignal": _config("StopSignal"),
    "Healthcheck": _config("Healthcheck"),
    "Groups": _host("GroupAdd"),
    "ReadOnly": _host("ReadonlyRootfs"),
    "Mounts": _host("Mounts"),
    "Init": _host("Init"),
    "Sysctls": _host("Sysctls"),
    "CapabilityAdd": _host("CapAdd"),
    "CapabilityDrop": _host("CapDrop"),
    "OomScoreAdj": _host("OomScoreAdj"),
    "Ulimits": _ulimits,
    "Hosts": _hosts,
    "DNSConfig": _dns,
    "Privileges": _privileges,
}


def stop_seconds(template: Document) -> int:
    """How long a container may take to end before it is killed."""
    period = dig(template, "ContainerSpec.StopGracePeriod")
    return GRACE if period is None else round(period / SECOND)


# --- what a container says ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """A container as its node told of it: the state of its task, and what is shown of it.

    `runs` is whether it must be stopped to be over.
    """

    task: str
    container: str
    state: str
    runs: bool = False
    exit_code: int = 0
    pid: int = 0
    error: str = ""


def seen(inspected: Document) -> Seen:
    """The task's state by ContainerInspect."""
    state = inspected["State"]
    task, identity = inspected["Config"]["Labels"][TASK_ID], inspected["Id"]
    if state.get("Running"):
        health = dig(state, "Health.Status")
        word, error = placement.RUNNING, ""
        if health == "starting":
            word = placement.STARTING
        elif health == "unhealthy":
            word, error = placement.FAILED, "task: unhealthy container"
        return Seen(task, identity, word, True, pid=state.get("Pid", 0), error=error)
    if state.get("Status") == "created" or state.get("Restarting"):
        return Seen(task, identity, placement.PREPARING)
    code = state.get("ExitCode", 0)
    if code == 0:
        return Seen(task, identity, placement.COMPLETE)
    return Seen(task, identity, placement.FAILED, exit_code=code,
                error=state.get("Error") or f"task: non-zero exit ({code})")  # fmt: skip
