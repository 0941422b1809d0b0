"""What the API description says of answers: which fields must be there, and of what kind.

{"Id": str}        an object that has at least this field
[str]              a list of texts
{str: int}         an object with any names
Maybe(str)         the same, or null
"""

from __future__ import annotations

from typing import Any


class Maybe:
    """A value that may be null."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


def check(value: Any, shape: Any, where: str = "answer") -> None:
    """Compare a value with a shape; an AssertionError names the place."""
    if isinstance(shape, Maybe):
        if value is not None:
            check(value, shape.shape, where)
    elif isinstance(shape, list):
        assert isinstance(value, list), f"{where}: {value!r} is no list"
        for place, one in enumerate(value):
            check(one, shape[0], f"{where}[{place}]")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), f"{where}: {value!r} is no object"
        if str in shape:
            for name, one in value.items():
                check(one, shape[str], f"{where}.{name}")
            return
        missing = sorted(set(shape) - set(value))
        assert not missing, f"{where}: {missing} are missing"
        for name, inner in shape.items():
            check(value[name], inner, f"{where}.{name}")
    else:
        wrong = not isinstance(value, shape) or (shape is int and isinstance(value, bool))
        assert not wrong, f"{where}: {value!r} is no {shape.__name__}"


# --- images ---------------------------------------------------------------------------------------

IMAGE_SUMMARY = {
    "Id": str, "ParentId": str, "RepoTags": [str], "RepoDigests": [str], "Created": int,
    "Size": int, "SharedSize": int, "Labels": {str: str}, "Containers": int,
}  # fmt: skip
IMAGE_CONFIG = {
    "User": str, "Env": Maybe([str]), "Cmd": Maybe([str]), "Volumes": Maybe({str: dict}),
    "WorkingDir": str, "Entrypoint": Maybe([str]), "OnBuild": Maybe([str]),
    "Labels": Maybe({str: str}), "Hostname": str, "Domainname": str, "AttachStdin": bool,
    "AttachStdout": bool, "AttachStderr": bool, "Tty": bool, "OpenStdin": bool, "StdinOnce": bool,
    "Image": str,
}  # fmt: skip
IMAGE_INSPECT = {
    "Id": str, "RepoTags": [str], "RepoDigests": [str], "Parent": str, "Comment": str,
    "Created": str, "DockerVersion": str, "Author": str, "Config": IMAGE_CONFIG,
    "Architecture": str, "Os": str, "Size": int, "GraphDriver": {"Name": str, "Data": {str: str}},
    "RootFS": {"Type": str, "Layers": [str]}, "Metadata": {"LastTagTime": str},
}  # fmt: skip
IMAGE_HISTORY = {
    "Id": str, "Created": int, "CreatedBy": str, "Tags": Maybe([str]), "Size": int, "Comment": str,
}  # fmt: skip
IMAGE_DELETED = {str: str}  # Untagged or Deleted
IMAGES_PRUNED = {"ImagesDeleted": Maybe([IMAGE_DELETED]), "SpaceReclaimed": int}
DISTRIBUTION = {
    "Descriptor": {"mediaType": str, "digest": str, "size": int},
    "Platforms": [{"architecture": str, "os": str}],
}
BUILD_CACHE = {
    "ID": str, "Type": str, "Description": str, "InUse": bool, "Shared": bool, "Size": int,
    "CreatedAt": str, "LastUsedAt": Maybe(str), "UsageCount": int,
}  # fmt: skip
BUILDS_PRUNED = {"CachesDeleted": Maybe([str]), "SpaceReclaimed": int}
AUTHENTICATED = {"Status": str, "IdentityToken": str}

# --- containers -----------------------------------------------------------------------------------

PORT = {"PrivatePort": int, "Type": str}
MOUNT = {"Type": str, "Source": str, "Destination": str, "Mode": str, "RW": bool,
         "Propagation": str}  # fmt: skip
ENDPOINT = {
    "IPAMConfig": Maybe(dict), "Links": Maybe([str]), "Aliases": Maybe([str]), "MacAddress": str,
    "DriverOpts": Maybe({str: str}), "NetworkID": str, "EndpointID": str, "Gateway": str,
    "IPAddress": str, "IPPrefixLen": int, "IPv6Gateway": str, "GlobalIPv6Address": str,
    "GlobalIPv6PrefixLen": int, "DNSNames": Maybe([str]),
}  # fmt: skip
CONTAINER_SUMMARY = {
    "Id": str, "Names": [str], "Image": str, "ImageID": str, "Command": str, "Created": int,
    "Ports": [PORT], "Labels": {str: str}, "State": str, "Status": str,
    "HostConfig": {"NetworkMode": str}, "NetworkSettings": {"Networks": {str: ENDPOINT}},
    "Mounts": [MOUNT],
}  # fmt: skip
HEALTH = {"Status": str, "FailingStreak": int,
          "Log": [{"Start": str, "End": str, "ExitCode": int, "Output": str}]}  # fmt: skip
STATE = {
    "Status": str, "Running": bool, "Paused": bool, "Restarting": bool, "OOMKilled": bool,
    "Dead": bool, "Pid": int, "ExitCode": int, "Error": str, "StartedAt": str, "FinishedAt": str,
    "Health": HEALTH,
}  # fmt: skip
HOST_CONFIG = {
    "CpuShares": int, "Memory": int, "CgroupParent": str, "BlkioWeight": int, "CpuPeriod": int,
    "CpuQuota": int, "CpusetCpus": str, "CpusetMems": str, "Devices": [dict], "Ulimits": [dict],
    "MemoryReservation": int, "MemorySwap": int, "MemorySwappiness": Maybe(int), "NanoCpus": int,
    "OomKillDisable": Maybe(bool), "Init": Maybe(bool), "PidsLimit": Maybe(int),
    "Binds": Maybe([str]), "LogConfig": {"Type": str, "Config": {str: str}}, "NetworkMode": str,
    "PortBindings": {str: [dict]}, "RestartPolicy": {"Name": str, "MaximumRetryCount": int},
    "AutoRemove": bool, "VolumesFrom": Maybe([str]), "Mounts": Maybe([dict]), "ConsoleSize": [int],
    "CapAdd": Maybe([str]), "CapDrop": Maybe([str]), "CgroupnsMode": str, "Dns": [str],
    "DnsOptions": [str], "DnsSearch": [str], "ExtraHosts": Maybe([str]), "GroupAdd": Maybe([str]),
    "IpcMode": str, "Links": Maybe([str]), "OomScoreAdj": int, "PidMode": str, "Privileged": bool,
    "PublishAllPorts": bool, "ReadonlyRootfs": bool, "SecurityOpt": Maybe([str]), "UTSMode": str,
    "Tmpfs": Maybe({str: str}), "UsernsMode": str, "ShmSize": int, "Sysctls": {str: str},
    "Runtime": str, "MaskedPaths": Maybe([str]), "ReadonlyPaths": Maybe([str]),
}  # fmt: skip
CONTAINER_INSPECT = {
    "Id": str, "Created": str, "Path": str, "Args": [str], "State": STATE, "Image": str,
    "ResolvConfPath": str, "HostnamePath": str, "HostsPath": str, "LogPath": str, "Name": str,
    "RestartCount": int, "Driver": str, "Platform": str, "MountLabel": str, "ProcessLabel": str,
    "AppArmorProfile": str, "ExecIDs": Maybe([str]), "HostConfig": HOST_CONFIG,
    "GraphDriver": {"Name": str, "Data": {str: str}}, "Mounts": [MOUNT],
    "Config": {**IMAGE_CONFIG, "ExposedPorts": {str: dict}, "StopSignal": str},
    "NetworkSettings": {"Bridge": str, "SandboxID": str, "SandboxKey": str, "EndpointID": str,
                        "Ports": {str: Maybe([{"HostIp": str, "HostPort": str}])}, "Gateway": str,
                        "IPAddress": str, "MacAddress": str, "Networks": {str: ENDPOINT}},
}  # fmt: skip
CREATED = {"Id": str, "Warnings": [str]}
TOP = {"Titles": [str], "Processes": [[str]]}
CHANGES = [{"Path": str, "Kind": int}]
CPU = {
    "cpu_usage": {"total_usage": int, "usage_in_kernelmode": int, "usage_in_usermode": int},
    "throttling_data": {"periods": int, "throttled_periods": int, "throttled_time": int},
}
STATS = {
    "name": str, "id": str, "read": str, "preread": str, "num_procs": int, "storage_stats": dict,
    "pids_stats": {"current": int}, "precpu_stats": CPU,
    "cpu_stats": {**CPU, "system_cpu_usage": int, "online_cpus": int},
    "memory_stats": {"usage": int, "limit": int, "stats": {str: int}},
    "blkio_stats": {"io_service_bytes_recursive": Maybe([dict])},
    "networks": {str: {str: int}},
}  # fmt: skip
EXEC = {
    "ID": str, "Running": bool, "ExitCode": Maybe(int), "OpenStdin": bool, "OpenStdout": bool,
    "OpenStderr": bool, "CanRemove": bool, "ContainerID": str, "DetachKeys": str, "Pid": int,
    "ProcessConfig": {"tty": bool, "entrypoint": str, "arguments": [str], "privileged": bool},
}  # fmt: skip
CONTAINERS_PRUNED = {"ContainersDeleted": Maybe([str]), "SpaceReclaimed": int}

# --- networks, volumes, the whole -----------------------------------------------------------------

NETWORK = {
    "Name": str, "Id": str, "Created": str, "Scope": str, "Driver": str, "EnableIPv6": bool,
    "IPAM": {"Driver": str, "Options": Maybe({str: str}), "Config": [{str: Maybe(object)}]},
    "Internal": bool, "Attachable": bool, "Ingress": bool, "ConfigFrom": {"Network": str},
    "ConfigOnly": bool, "Containers": {str: dict}, "Options": {str: str}, "Labels": {str: str},
}  # fmt: skip
VOLUME = {
    "Name": str, "Driver": str, "Mountpoint": str, "CreatedAt": str, "Labels": Maybe({str: str}),
    "Scope": str, "Options": Maybe({str: str}),
}  # fmt: skip
VOLUMES = {"Volumes": [VOLUME], "Warnings": Maybe([str])}
VERSION = {
    "Platform": {"Name": str}, "Components": [{"Name": str, "Version": str}], "Version": str,
    "ApiVersion": str, "MinAPIVersion": str, "GitCommit": str, "GoVersion": str, "Os": str,
    "Arch": str, "KernelVersion": str, "BuildTime": str,
}  # fmt: skip
INFO = {
    "ID": str, "Containers": int, "ContainersRunning": int, "ContainersPaused": int,
    "ContainersStopped": int, "Images": int, "Driver": str, "DriverStatus": [[str]],
    "DockerRootDir": str, "Plugins": {"Volume": [str], "Network": [str], "Log": [str]},
    "MemoryLimit": bool, "SwapLimit": bool, "PidsLimit": bool, "Debug": bool, "SystemTime": str,
    "LoggingDriver": str, "CgroupDriver": str, "CgroupVersion": str, "KernelVersion": str,
    "OperatingSystem": str, "OSType": str, "Architecture": str, "NCPU": int, "MemTotal": int,
    "IndexServerAddress": str, "Name": str, "Labels": [str], "ServerVersion": str,
    "Runtimes": {str: dict}, "DefaultRuntime": str, "SecurityOptions": [str],
    "Swarm": {"LocalNodeState": str}, "LiveRestoreEnabled": bool, "InitBinary": str,
}  # fmt: skip
EVENT = {"Type": str, "Action": str, "Actor": {"ID": str, "Attributes": {str: str}},
         "scope": str, "time": int, "timeNano": int}  # fmt: skip
DISK_USAGE = {
    "LayersSize": int, "Images": [IMAGE_SUMMARY], "Containers": [CONTAINER_SUMMARY],
    "Volumes": [{**VOLUME, "UsageData": {"RefCount": int, "Size": int}}],
    "BuildCache": [BUILD_CACHE],
}  # fmt: skip
REFUSED = {"message": str}
NETWORK_MEMBER = {
    "Name": str, "EndpointID": str, "MacAddress": str, "IPv4Address": str, "IPv6Address": str,
}  # fmt: skip
VOLUMES_PRUNED = {"VolumesDeleted": Maybe([str]), "SpaceReclaimed": int}
