"""The hash of a configuration, the same as Docker Compose's (2.35 and later), so that neither makes
the other's containers, networks and volumes anew.

It is the SHA-256 of JSON as Go writes it: fields in the order of a structure, those that are empty
left out, maps sorted. The tables here are those structures, as compose-go/types has them. What has
a deeper shape than they tell has another hash, and is made anew once. Source: docker/compose,
pkg/compose/hash.go.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from labcontainer import durations
from labcontainer.compose.scalars import Tree

_SERVICE = """
    annotations blkio_config cap_add cap_drop cgroup_parent cgroup cpu_count cpu_percent cpu_period
    cpu_quota cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares command configs container_name
    credential_spec deploy device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint
    environment expose external_links extra_hosts group_add gpus hostname healthcheck image init ipc
    isolation labels links logging mem_limit mem_reservation memswap_limit mem_swappiness
    mac_address network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports
    privileged read_only restart runtime secrets security_opt shm_size stdin_open stop_grace_period
    stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes
    volumes_from working_dir post_start pre_stop
"""
_SHARED = """
    name driver driver_opts ipam external internal attachable labels enable_ipv4 enable_ipv6
"""
_INNER = {
    "bind": "selinux propagation create_host_path recursive",
    "config": "subnet gateway ip_range aux_addresses",
    "deploy": "mode labels resources restart_policy placement endpoint_mode",
    "devices": "source target permissions",
    "healthcheck": "test timeout interval retries start_period start_interval disable",
    "ipam": "driver config",
    "limits": "cpus memory pids",
    "logging": "driver options",
    "ports": "name mode host_ip target published protocol app_protocol",
    "reservations": "cpus memory pids",
    "resources": "limits reservations",
    "restart_policy": "condition delay max_attempts window",
    "volumes": "type source target read_only consistency bind volume tmpfs image",
}
_PLACE = """
    aliases driver_opts gw_priority interface_name ipv4_address ipv6_address link_local_ips
    mac_address priority
"""
_BYTES = {"mem_limit", "mem_reservation", "memswap_limit", "mem_swappiness", "shm_size", "memory"}
_SPANS = {"stop_grace_period", "timeout", "interval", "start_period", "start_interval", "delay",
          "window"}  # fmt: skip
# What stands there though it is empty: pointers to nothing, false or nought, and inner structures.
_KEPT = {"command", "entrypoint", "init", "retries", "max_attempts", "bind", "volume", "resources",
         "placement", "ipam", "enable_ipv4", "enable_ipv6"}  # fmt: skip


def service(words: Tree) -> str:
    """The hash of a service."""
    return _hashed(_structure({"command": None, "entrypoint": None, **words}, _SERVICE))


def shared(words: Tree) -> str:
    """The hash of a network, with `ipam`, or of a volume, with `driver`."""
    return _hashed(_structure(words, _SHARED))


def _structure(words: Tree, order: str) -> Tree:
    found = {key: _value(key, words[key]) for key in order.split() if key in words}
    return {key: one for key, one in found.items() if one or key in _KEPT}


def _value(key: str, value: Any) -> Any:
    if key in _BYTES:
        return str(value) if value else 0
    if key in _SPANS:
        return durations.text(durations.parse(value))
    if key == "extra_hosts":
        return sorted(f"{name}={ip}" for name, ips in value.items() for ip in ips)
    if key == "ulimits":
        return {name: one["soft"] if one["soft"] == one["hard"] else one
                for name, one in sorted(value.items())}  # fmt: skip
    if key == "networks":
        return {name: _structure(one, _PLACE) if one else None
                for name, one in sorted(value.items())}  # fmt: skip
    if key == "volumes":  # the short form of one has an empty structure
        value = [{"volume": {}, **one} if one["type"] == "volume" else one for one in value]
    if key == "deploy":
        value = {"resources": {}, "placement": {}, **value}
    return _plain(value, _INNER.get(key, ""))


def _plain(value: Any, order: str) -> Any:
    if isinstance(value, list):
        return [_plain(one, order) for one in value]
    if isinstance(value, dict):
        return _structure(value, order) if order else dict(sorted(value.items()))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _hashed(found: Tree) -> str:
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")  # as Go does, for HTML
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
