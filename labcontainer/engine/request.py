"""What a user asks of one container: one frozen record, whatever the words were."""

from __future__ import annotations

from labcontainer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from labcontainer.ports import Port


class Volume(Record):
    """A directory or file put into the container. `source` "" is a fresh, empty one."""

    source: str
    target: str
    readonly: bool = False
    recursive: bool = True
    propagation: str = "rprivate"
    create: bool = False


class Tmpfs(Record):
    """A file system in memory, at `target`."""

    target: str
    options: tuple[str, ...] = ("rw", "nosuid", "nodev", "noexec")


class HostDevice(Record):
    """A device node of the host, shown in the container."""

    source: str
    target: str
    access: str = "rwm"


class Request(Record):
    """One `labcontainer run`: sizes in bytes, times in microseconds, None or "" where not asked."""

    image: str
    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    name: str = ""
    hostname: str = ""
    domainname: str = ""
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    interactive: bool = False
    tty: bool = False
    init: bool = False
    stop_signal: int = 0  # what TERM becomes
    volumes: tuple[Volume, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    read_only: bool = False
    shm_size: int = 64 << 20
    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    oom_score_adj: int | None = None
    cpu_quota: int | None = None
    cpu_period: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    seccomp: str = ""
    apparmor: str = ""  # the profile's name; without AppArmor there is nothing to be done
    no_new_privileges: bool = False
    unmasked: bool = False
    network: str = ""
    ports: tuple[Port, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_option: tuple[str, ...] = ()
    add_host: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    devices: tuple[HostDevice, ...] = ()
    userns: str = ""
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroupns: str = ""
    using: str = ""
    pull: str = "missing"
    masked_paths: tuple[str, ...] | None = None  # None: Docker's
    readonly_paths: tuple[str, ...] | None = None
    device_rules: tuple[str, ...] = ()  # `c 1:3 rwm`, as --device-cgroup-rule has them
    annotations: tuple[tuple[str, str], ...] = ()
    limits: Mapping[str, Any] = {}  # more of linux.resources, by its own words
