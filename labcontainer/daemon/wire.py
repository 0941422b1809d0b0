"""Bodies of requests about containers, as the Docker Engine API describes them, checked by type.

A field that is not given has Docker's own zero value, so that `inspect` shows all of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

_NAMES = {
    "uts_mode": "UTSMode",
    "container_id_file": "ContainerIDFile",
    "io_maximum_iops": "IOMaximumIOps",
    "io_maximum_bandwidth": "IOMaximumBandwidth",
    "blkio_device_read_iops": "BlkioDeviceReadIOps",
    "blkio_device_write_iops": "BlkioDeviceWriteIOps",
    "kernel_memory_tcp": "KernelMemoryTCP",
}


def docker_name(name: str) -> str:
    """`nano_cpus` -> `NanoCpus`."""
    return _NAMES.get(name) or "".join(word.capitalize() for word in name.split("_"))


class Body(msgspec.Struct, rename=docker_name, frozen=True):
    """Base of all: attributes are Python's names of Docker's fields."""

    def as_dict(self) -> dict[str, Any]:
        """The document, in Docker's names."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


Words = list[str]
Pairs = dict[str, str]
Documents = list[dict[str, Any]]


class Config(Body, frozen=True):
    """What an image can say too: the program and its surroundings."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Any] = {}
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: Words = []
    cmd: Words | str | None = None
    healthcheck: dict[str, Any] | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, Any] = {}
    working_dir: str = ""
    entrypoint: Words | str | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: Words | None = None
    labels: Pairs = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: Words | None = None


class Resources(Body, frozen=True):
    """Limits: sizes in bytes, times in microseconds, NanoCpus in billionths of a processor."""

    cpu_shares: int = 0
    memory: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: Documents = []
    blkio_device_read_bps: Documents = []
    blkio_device_write_bps: Documents = []
    blkio_device_read_iops: Documents = []
    blkio_device_write_iops: Documents = []
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: Documents = []
    device_cgroup_rules: Words | None = None
    device_requests: Documents | None = None
    kernel_memory: int = 0
    kernel_memory_tcp: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    nano_cpus: int = 0
    oom_kill_disable: bool | None = None
    init: bool | None = None
    pids_limit: int | None = None
    ulimits: Documents = []
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0


class LogConfig(Body, frozen=True):
    """Where its output is kept."""

    type: str = ""
    config: Pairs = {}


class RestartPolicy(Body, frozen=True):
    """When it is started again."""

    name: str = ""
    maximum_retry_count: int = 0


class HostConfig(Resources, frozen=True):
    """What only this host's engine decides."""

    binds: Words | None = None
    container_id_file: str = ""
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, list[Pairs]] = {}
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: Words | None = None
    mounts: Documents | None = None
    console_size: tuple[int, int] = (0, 0)
    annotations: Pairs = {}
    cap_add: Words | str | None = None
    cap_drop: Words | str | None = None
    cgroupns_mode: str = ""
    dns: Words = []
    dns_options: Words = []
    dns_search: Words = []
    extra_hosts: Words | None = None
    group_add: list[str | int] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: Words | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: Words | None = None
    storage_opt: Pairs | None = None
    tmpfs: Pairs | None = None
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: Pairs = {}
    runtime: str = ""
    isolation: str = ""
    masked_paths: Words | None = None
    readonly_paths: Words | None = None


class NetworkingConfig(Body, frozen=True):
    """Networks by name, each with the container's place in it."""

    endpoints_config: dict[str, dict[str, Any]] = {}


class Create(Config, frozen=True):
    """POST /containers/create."""

    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()

    def parts(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """(Config, HostConfig, NetworkingConfig)."""
        config = self.as_dict()
        host, networking = config.pop("HostConfig"), config.pop("NetworkingConfig")
        return config, host, networking


class Update(Resources, frozen=True):
    """POST /containers/{id}/update: only what is given changes."""

    restart_policy: RestartPolicy | None = None


class Exec(Body, frozen=True):
    """POST /containers/{id}/exec."""

    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    console_size: list[int] | None = None
    detach_keys: str = ""
    tty: bool = False
    env: Words | None = None
    cmd: Words | str = []
    privileged: bool = False
    user: str = ""
    working_dir: str = ""


class ExecStart(Body, frozen=True):
    """POST /exec/{id}/start."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None
