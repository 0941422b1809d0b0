"""A service's words as the body of ContainerCreate: a table for what is copied, a function else.

Source: Docker Engine API, ContainerCreate; Compose Specification, "Services".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labcontainer import errors
from labcontainer.compose import bodymounts, grants, labels
from labcontainer.compose.model import Project, Service
from labcontainer.compose.observed import Containers
from labcontainer.compose.scalars import Tree
from labcontainer.engine import words as words_of

_CONFIG = {
    "hostname": "Hostname", "domainname": "Domainname", "user": "User", "tty": "Tty",
    "stdin_open": "OpenStdin", "working_dir": "WorkingDir", "stop_signal": "StopSignal",
    "command": "Cmd", "entrypoint": "Entrypoint", "mac_address": "MacAddress",
}  # fmt: skip
_HOST = {
    "annotations": "Annotations", "cap_add": "CapAdd", "cap_drop": "CapDrop",
    "cgroup": "CgroupnsMode", "cgroup_parent": "CgroupParent", "cpu_count": "CpuCount",
    "cpu_period": "CpuPeriod", "cpu_quota": "CpuQuota", "cpu_rt_period": "CpuRealtimePeriod",
    "cpu_rt_runtime": "CpuRealtimeRuntime", "cpu_shares": "CpuShares", "cpuset": "CpusetCpus",
    "device_cgroup_rules": "DeviceCgroupRules", "dns": "Dns", "dns_opt": "DnsOptions",
    "dns_search": "DnsSearch", "group_add": "GroupAdd", "init": "Init", "isolation": "Isolation",
    "mem_limit": "Memory", "mem_reservation": "MemoryReservation",
    "mem_swappiness": "MemorySwappiness", "memswap_limit": "MemorySwap",
    "oom_kill_disable": "OomKillDisable", "oom_score_adj": "OomScoreAdj",
    "pids_limit": "PidsLimit", "privileged": "Privileged", "read_only": "ReadonlyRootfs",
    "runtime": "Runtime", "shm_size": "ShmSize", "storage_opt": "StorageOpt",
    "userns_mode": "UsernsMode", "uts": "UTSMode",
}  # fmt: skip
_RESTARTS = {"none": "no", "no": "no", "any": "always"}
_BLKIO = {
    "device_read_bps": "BlkioDeviceReadBps", "device_read_iops": "BlkioDeviceReadIOps",
    "device_write_bps": "BlkioDeviceWriteBps", "device_write_iops": "BlkioDeviceWriteIOps",
}  # fmt: skip


def name_of(project: Project, service: Service, number: int) -> str:
    """What the container is called."""
    return service.get("container_name") or f"{project.name}-{service.name}-{number}"


def create(
    project: Project,
    service: Service,
    number: int,
    there: Containers,
    inherited: Mapping[str, str] | None = None,
) -> Tree:
    """The body for one container, without its networks.

    `there` are the containers whose namespaces and volumes it may share; `inherited` are targets
    and names of the anonymous volumes of the container that it replaces.

    Raises:
        LabError: what it needs of another service is not there.
    """
    hashed = labels.config_hash(service, grants.digests(project, service))
    found: Tree = {
        "Image": service.image,
        "Labels": labels.container(project, service, number, hashed),
        "Env": [key if one is None else f"{key}={one}"
                for key, one in service.get("environment", {}).items()],
        "ExposedPorts": {port: {} for port in _exposed(service)},
        "AttachStdout": True,
        "AttachStderr": True,
    }  # fmt: skip
    found |= {field: service.words[key] for key, field in _CONFIG.items() if key in service.words}
    if "healthcheck" in service.words:
        found["Healthcheck"] = healthcheck(service.words["healthcheck"])
    if "stop_grace_period" in service.words:
        found["StopTimeout"] = round(_seconds(service.words["stop_grace_period"]))
    host = _host(service, there)
    host |= bodymounts.mounts(project, service, inherited or {})
    host["NetworkMode"] = network_mode(project, service, there)
    return found | {"HostConfig": host}


def _exposed(service: Service) -> list[str]:
    found = [f"{one['target']}/{one['protocol']}" for one in service.get("ports", ())]
    for word in service.get("expose", ()):
        numbers, _, protocol = word.partition("/")
        first, _, last = numbers.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise errors.UsageError(f"services.{service.name}.expose: {word!r} is no port")
        ports = range(int(first), int(last or first) + 1)
        found += [f"{port}/{protocol or 'tcp'}" for port in ports]
    return found


def _seconds(word: str) -> float:
    from labcontainer.engine import moments

    return moments.seconds(word)


def healthcheck(words: Tree) -> Tree:
    """A Healthcheck; times are nanoseconds."""
    if words.get("disable"):
        return {"Test": ["NONE"]}
    spans = {"interval": "Interval", "timeout": "Timeout", "start_period": "StartPeriod",
             "start_interval": "StartInterval"}  # fmt: skip
    found: Tree = {
        field: int(_seconds(words[key]) * 1e9) for key, field in spans.items() if key in words
    }
    found |= {"Test": words["test"]} if "test" in words else {}
    return found | ({"Retries": words["retries"]} if "retries" in words else {})


# --- HostConfig -----------------------------------------------------------------------------------


def _host(service: Service, there: Containers) -> Tree:
    words = service.words
    found: Tree = {field: words[key] for key, field in _HOST.items() if key in words}
    found["PortBindings"] = port_bindings(words.get("ports", ()))
    found["RestartPolicy"] = restart_policy(words)
    found["ExtraHosts"] = [
        f"{name}:{ip}" for name, ips in words.get("extra_hosts", {}).items() for ip in ips
    ]
    found["Ulimits"] = [
        {"Name": name, "Soft": one["soft"], "Hard": one["hard"]}
        for name, one in words.get("ulimits", {}).items()
    ]
    found["Sysctls"] = {key: one or "" for key, one in words.get("sysctls", {}).items()}
    found["Devices"] = [
        {"PathOnHost": one["source"], "PathInContainer": one["target"],
         "CgroupPermissions": one["permissions"]}
        for one in words.get("devices", ())
    ]  # fmt: skip
    if "logging" in words:
        options = words["logging"].get("options") or {}
        found["LogConfig"] = {
            "Type": words["logging"].get("driver", ""),
            "Config": {key: str(one) for key, one in options.items() if one is not None},
        }
    for key, field in (("ipc", "IpcMode"), ("pid", "PidMode")):
        if words.get(key):
            found[field] = shared(words[key], there, key)
    security = words_of.security_options(
        service.get("security_opt", ()), "security_opt", ("unconfined", "builtin")
    )
    return found | _limits(words) | _block_devices(words) | security


def port_bindings(ports: Any) -> dict[str, list[dict[str, str]]]:
    """Each container port with its places on the host."""
    found: dict[str, list[dict[str, str]]] = {}
    for one in ports:
        places = found.setdefault(f"{one['target']}/{one['protocol']}", [])
        places.append({"HostIp": one.get("host_ip", ""), "HostPort": one.get("published", "")})
    return found


def restart_policy(words: Tree) -> Tree:
    """`restart`, or what `deploy.restart_policy` says."""
    deployed = (words.get("deploy") or {}).get("restart_policy")
    if deployed is not None:
        name, most = deployed.get("condition", "any"), deployed.get("max_attempts", 0)
    else:
        name, _, number = str(words.get("restart") or "no").partition(":")
        most = int(number) if number.isdecimal() else 0
    name = _RESTARTS.get(name, name)
    return {"Name": name, "MaximumRetryCount": most if name == "on-failure" else 0}


def _limits(words: Tree) -> Tree:
    """`cpus`, and the limits of `deploy.resources`, which count more."""
    found: Tree = {}
    resources = (words.get("deploy") or {}).get("resources") or {}
    limits = resources.get("limits") or {}
    reserved = resources.get("reservations") or {}
    if (cpus := limits.get("cpus", words.get("cpus"))) is not None:
        found["NanoCpus"] = int(cpus * 1e9)
    for part, key, field in (
        (limits, "memory", "Memory"), (limits, "pids", "PidsLimit"),
        (reserved, "memory", "MemoryReservation"),
    ):  # fmt: skip
        if key in part:
            found[field] = part[key]
    requests = [
        {"Driver": one.get("driver", ""), "Count": -1 if one.get("count") == "all" else
         int(one.get("count", 0)), "DeviceIDs": one.get("device_ids"),
         "Capabilities": [one["capabilities"]]}
        for one in reserved.get("devices", ())
    ]  # fmt: skip
    return found | ({"DeviceRequests": requests} if requests else {})


def _block_devices(words: Tree) -> Tree:
    blkio = words.get("blkio_config") or {}
    found: Tree = {
        field: [{"Path": one["path"], "Rate": one["rate"]} for one in blkio[key]]
        for key, field in _BLKIO.items()
        if key in blkio
    }
    if "weight" in blkio:
        found["BlkioWeight"] = blkio["weight"]
    if "weight_device" in blkio:
        found["BlkioWeightDevice"] = [
            {"Path": one["path"], "Weight": one["weight"]} for one in blkio["weight_device"]
        ]
    return found


# --- networks -------------------------------------------------------------------------------------


def shared(mode: str, there: Containers, what: str) -> str:
    """A namespace's mode; `service:NAME` becomes that service's first container.

    Raises:
        StateError: it has none.
    """
    kind, _, name = mode.partition(":")
    if kind != "service":
        return mode
    if not there.get(name):
        raise errors.StateError(f"cannot share {what} with service {name}: container missing")
    return f"container:{there[name][0].id}"


def by_priority(service: Service) -> list[str]:
    """The keys of a service's networks, the one with the default route first."""
    given = service.get("networks") or {}
    return sorted(given, key=lambda key: (-((given[key] or {}).get("priority") or 0), key))


def network_mode(project: Project, service: Service, there: Containers) -> str:
    """NetworkMode: what the service says, or the network that it has the default route in."""
    if mode := service.get("network_mode"):
        return shared(mode, there, "network namespace")
    keys = by_priority(service)
    return project.networks[keys[0]].name if keys else "none"


def endpoints(
    project: Project, service: Service, name: str, there: Containers, *, aliases: bool = True
) -> dict[str, Tree]:
    """EndpointSettings of all its networks by their names, that of `network_mode` first."""
    if service.get("network_mode"):
        return {}
    return {
        project.networks[key].name: endpoint(service, key, name, there, aliases=aliases)
        for key in by_priority(service)
    }


def endpoint(
    service: Service, key: str, name: str, there: Containers, *, aliases: bool = True
) -> Tree:
    """EndpointSettings in one network: by which names and addresses it is found there."""
    words = (service.get("networks") or {}).get(key) or {}
    names = [name, *([service.name, *words.get("aliases", ())] if aliases else [])]
    found: Tree = {"Aliases": list(dict.fromkeys(names)), "Links": _links(service, there)}
    addresses = {
        "ipv4_address": "IPv4Address", "ipv6_address": "IPv6Address",
        "link_local_ips": "LinkLocalIPs",
    }  # fmt: skip
    fixed = {field: words[word] for word, field in addresses.items() if word in words}
    found |= {"IPAMConfig": fixed} if fixed else {}
    found |= {"MacAddress": words["mac_address"]} if "mac_address" in words else {}
    options = {key: str(one) for key, one in words.get("driver_opts", {}).items()}
    if "interface_name" in words:
        options["com.docker.network.endpoint.ifname"] = words["interface_name"]
    return found | ({"DriverOpts": options} if options else {})


def _links(service: Service, there: Containers) -> list[str]:
    found = list(service.get("external_links", ()))
    for word in service.get("links", ()):
        name, _, alias = word.partition(":")
        found += [f"{one.name}:{alias or name}" for one in there.get(name, ())]
    return found
